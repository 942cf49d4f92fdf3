"""Sparse beside dense runs on the same samples: the difference of accuracies and its interval.

R pairs of runs, I samples, B resamples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snnbreg.analysis.confusion import UNLABELLED
from snnbreg.analysis.groups import Group
from snnbreg.analysis.settings import settings_column
from snnbreg.analysis.studies import baseline, dense_groups, is_adam, of_dataset, sweeps
from snnbreg.analysis.study_tables import optimizer_name
from snnbreg.analysis.tables import Cell, Column, Interval, Measure, Table
from snnbreg.runs import ACCURACY, Array, Run

log = logging.getLogger(__name__)

AT_ONCE = 1_000_000
"""Weights of samples that are in memory at the same time."""


@dataclass(frozen=True)
class Paired:
    """How much more accurate sparse runs are than dense ones; all figures are fractions.

    Attributes:
        difference: accuracy of the sparse runs less that of the dense ones.
        low: lower end of the 95 % interval of the difference.
        high: its upper end.
        pairs: of runs.
        samples: distinct ones, or speakers where these are drawn.
        predictions: of either kind; a sample counts once for every run that was asked about it,
            or its labelled steps do where each has a class.
        sparse: accuracy over the predictions.
        dense: likewise.
    """

    difference: float
    low: float
    high: float
    pairs: int
    samples: int
    predictions: int
    sparse: float
    dense: float


def paired_runs(group: Group, dense: Group) -> list[tuple[Run, Run]]:
    """The runs of two groups with the same seed and fold that left predictions."""

    def by_chance(runs: Group) -> dict[tuple[int, int], Run]:
        return {(run.seed, run.fold): run for run in runs.runs if run.folder.predictions.is_file()}

    others = by_chance(dense)
    return [(run, others[key]) for key, run in by_chance(group).items() if key in others]


def paired_difference(
    group: Group,
    dense: Group,
    evaluation: str = "deployed",
    splits: Sequence[str] = ("valid", "test"),
    drawn: str = "ids",
    resamples: int = 10_000,
    seed: int = 0,
) -> Paired:
    """Compare runs that were tested on the same samples; see :func:`interval`.

    Args:
        group: sparse runs.
        dense: runs to compare with; those of equal seed and fold are pairs, others do not count.
        evaluation: ``deployed`` or ``published``.
        splits: whose predictions are taken together.
        drawn: what chance draws beside runs: samples (``ids``), or ``speakers`` with all that
            they said, so that the interval speaks of other voices.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no pair, a pair was tested on different samples, or a file is damaged
            or lacks a split, an evaluation or the speakers.
    """
    pairs = paired_runs(group, dense)
    if not pairs:
        raise ValueError("No two runs with predictions.npz have the same seed and fold")
    units, answers, sparse_right, dense_right = [], [], [], []
    for runs in pairs:
        (own, labels, right), (other, other_labels, other_right) = (
            _answers(run, evaluation, splits) for run in runs
        )
        if not (np.array_equal(own, other) and np.array_equal(labels, other_labels)):
            raise ValueError(f"{runs[0].path} and {runs[1].path} were tested on different samples")
        units.append(own if drawn == "ids" else _by_id(runs[0], drawn, splits))
        answers.append((labels != UNLABELLED).sum(1))
        sparse_right.append(right)
        dense_right.append(other_right)
    samples, places = np.unique(np.concatenate(units), return_inverse=True)
    rows = np.split(places, np.cumsum([len(own) for own in units])[:-1])
    asked, sparse, other_sum = (
        np.stack([np.bincount(*pair, len(samples)) for pair in zip(rows, counts, strict=True)])
        for counts in (answers, sparse_right, dense_right)
    )
    low, high = interval(sparse - other_sum, asked, resamples, seed)
    total = int(asked.sum())
    accuracies = float(sparse.sum()) / total, float(other_sum.sum()) / total
    difference = float((sparse - other_sum).sum()) / total
    return Paired(difference, low, high, len(pairs), len(samples), total, *accuracies)


def tested_difference(group: Group, other: Group) -> Interval | None:
    """Deployed accuracy on the test samples less that of another group, where both left answers."""
    measured = group.runs[0].measure == other.runs[0].measure == ACCURACY
    if not measured or not paired_runs(group, other):
        return None
    try:
        found = paired_difference(group, other, splits=("test",))
    except ValueError as error:
        log.warning("A comparison is left out: %s", error)
        return None
    return Interval(found.difference, found.low, found.high)


def interval(
    differences: Array, asked: Array, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a mean difference, whose chance is that of runs and of samples.

    Both are drawn anew, independently and with replacement, and a prediction weighs as often as
    its run times as often as its sample: the pigeonhole bootstrap (Owen 2007, "The pigeonhole
    bootstrap", Annals of Applied Statistics), here with the percentiles 2.5 and 97.5. It is too
    wide, at most by sqrt(3), where chance is that of single predictions, and too narrow,
    by sqrt((R - 1) / R), where it is that of runs.

    Args:
        differences: (R, I), summed over a run's predictions of a sample; 0 where there are none.
        asked: (R, I), how many predictions there are.
        resamples: B.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    # samples with the same column are drawn together: their weights add up
    columns = np.concatenate([differences, asked])
    columns, counts = np.unique(columns, axis=1, return_counts=True)
    differences, asked = np.split(columns, 2)
    runs, samples = len(asked), counts.sum()
    means = []
    step = max(1, AT_ONCE // len(counts))
    for size in [step] * (resamples // step) + [resamples % step]:
        of_runs = rng.multinomial(runs, np.full(runs, 1 / runs), size)
        of_samples = rng.multinomial(samples, counts / samples, size)
        means.append(weighted_means(differences, asked, of_runs, of_samples))
    low, high = np.nanpercentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)


def weighted_means(differences: Array, asked: Array, of_runs: Array, of_samples: Array) -> Array:
    """Means over all predictions, (B,), each weighing as its run times as its sample.

    Args:
        differences: (R, I).
        asked: (R, I).
        of_runs: weights (B, R).
        of_samples: weights (B, I).

    Returns:
        NaN where no prediction has a weight.
    """
    sums, numbers = (((of_runs @ x) * of_samples).sum(1) for x in (differences, asked))
    return np.divide(sums, numbers, out=np.full(len(sums), np.nan), where=numbers > 0)


def _answers(run: Run, evaluation: str, splits: Sequence[str]) -> tuple[Array, Array, Array]:
    """Numbers of the samples, ascending, their labels (n, T), and how often the run was right (n,).

    T is 1 but for a task of one class per time step, where each labelled step is a prediction.
    """
    ids, labels, predicted = (_by_id(run, name, splits) for name in ("ids", "labels", evaluation))
    labels, predicted = (x.reshape(len(ids), -1) for x in (labels, predicted))
    return ids, labels, ((predicted == labels) & (labels != UNLABELLED)).sum(1)


def _by_id(run: Run, name: str, splits: Sequence[str]) -> Array:
    """What a run kept of its samples (n, ...), in the order of their numbers."""
    found = run.predictions()
    try:
        ids, values = (
            np.concatenate([found[f"{split}_{key}"] for split in splits]) for key in ("ids", name)
        )
    except KeyError as error:
        raise ValueError(f"{run.folder.predictions} has no {error}") from error
    return values[np.argsort(ids, kind="stable")]


def paired_table(runs: Sequence[Run], dataset: str) -> Table:
    """Every group of sparse runs on a data set beside the best dense one that shares pairs.

    Only runs that left predictions count, and groups that share two or more seeds and folds with
    one of Adam's.
    """
    kept = [run for run in of_dataset(runs, dataset) if run.folder.predictions.is_file()]
    kept = [run for run in kept if run.measure == ACCURACY]
    dense = [group for group in dense_groups(kept, dataset) if is_adam(group)]
    rows: list[list[Cell]] = []
    words = settings_column(kept)
    for sweep in sweeps(kept, dataset) if dense else []:
        for lam, group in sweep.groups.items():
            shared = [run for g in dense if len(paired_runs(group, g)) > 1 for run in g.runs]
            other = baseline(shared, sweep.first, any_schedule=True)
            if other is None:
                continue
            try:
                rows.append([lam, *_row(group, other, words)])
            except ValueError as error:
                log.warning("A comparison is left out: %s", error)
    notes = [*NOTES, *(FOLDS for run in kept[:1] if "dataset.fold" in run.settings)]
    others = {str(row[OTHER]) for row in rows}
    if len(others) == 1:  # a note instead of a column
        notes.insert(0, f"Compared with {others.pop()}.")
        rows = [[*row[:OTHER], None, *row[OTHER + 1 :]] for row in rows]
    columns = [Column("λ", "number"), Column("method"), Column("schedule"), Column("settings"),
               Column("compared with"), Column("runs", "count"), Column("density", "percent"),
               *(Column(f"{samples}, {name}", unit) for samples in SAMPLES
                 for name, unit in (("dense", "percent"), ("sparse", "percent"),
                                    ("difference", "points"))),
               Column("test, speakers drawn", "points")]  # fmt: skip
    return Table(
        f"paired_{dataset}", f"Sparse beside dense networks on the same samples of {dataset}",
        columns, rows, notes,
    ).without_empty()  # fmt: skip


OTHER = 4  # the column that says what a row is compared with
SAMPLES = {"test": ("test",), "pooled": ("valid", "test")}
"""Whose accuracy a row holds, and the splits that they are of; the result that counts is first."""
NOTES = (
    "Accuracy as deployed at the chosen checkpoint (see trainer.select), over the test split alone "
    "and, pooled, over the validation and the test split together. Runs are paired by seed and "
    "fold. Difference: sparse less dense, in points, with a 95 % interval: runs and samples are "
    "drawn anew, independently (pigeonhole bootstrap, Owen 2007; 10,000 resamples); 'speakers "
    "drawn': speakers in place of samples, each with all that was said.",
)
FOLDS = "Folds share their speakers: the interval says nothing about other speakers."


def _row(group: Group, dense: Group, words: Callable[[Run], str]) -> list[Cell]:
    pairs = paired_runs(group, dense)
    run, other = pairs[0]
    figures: list[Any] = []
    for splits in SAMPLES.values():
        found = paired_difference(group, dense, splits=splits)
        difference = Interval(found.difference, found.low, found.high)
        figures += [found.dense, found.sparse, difference]
    figures.append(None)
    if all("test_speakers" in run.predictions() for run, _ in pairs):
        spoken = paired_difference(group, dense, splits=("test",), drawn="speakers")
        figures[-1] = Interval(spoken.difference, spoken.low, spoken.high)
    paired = replace(group, runs=tuple(run for run, _ in pairs))
    partner = ", ".join(filter(None, (optimizer_name(other), other.scheduler, words(other))))
    return [optimizer_name(run), run.scheduler, words(run), partner, len(pairs),
            Measure.of(paired, "density"), *figures]  # fmt: skip
