"""What belongs in one panel or row: sweeps over lambda, their dense baseline, the chosen lambda."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from snnbreg.analysis.groups import Group, differing, group_runs, outcome_settings
from snnbreg.analysis.settings import EPOCHS, labels
from snnbreg.runs import ACCURACY, Run, chosen_key

Found = TypeVar("Found")
Kind = TypeVar("Kind", bound=Hashable)
PAPER_ORDER = ("shd", "ssc", "psmnist")
POINT = 0.01
"""The loss of accuracy that a sparse network may cost to count as equal to the dense one."""


@dataclass(frozen=True)
class Sweep:
    """Runs of one data set that differ in lambda, seed and fold only.

    Attributes:
        dataset: its config name.
        groups: runs by lambda, ascending; those of a lambda differ in seed and fold.
        label: how lambda moves, if it does, and settings that this sweep does not share with the
            data set's others.
    """

    dataset: str
    groups: dict[float, Group]
    label: str = ""

    @property
    def first(self) -> Run:
        """One of its runs, for the settings that all share."""
        return next(iter(self.groups.values())).runs[0]

    @property
    def optimizer(self) -> str:
        """Its config name."""
        return str(self.first.settings.get("optim.name", "?"))

    @property
    def scheduler(self) -> str:
        """Its config name."""
        return self.first.scheduler

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate changes."""
        return self.scheduler != "none"

    @property
    def size(self) -> int:
        """Runs."""
        return sum(len(group.runs) for group in self.groups.values())

    def chosen(self) -> float:
        """The lambda > 0 with the best mean validation score.

        Among equals the one with the least density, then the smallest.
        """

        def merit(lam: float) -> tuple[float, float, float]:
            group = self.groups[lam]
            return selection_score(group), -group.mean("density"), -lam

        return max([lam for lam in self.groups if lam > 0] or self.groups, key=merit)


def selection_score(group: Group) -> float:
    """Mean validation score in the evaluation that chose the runs' checkpoints.

    Returns:
        The higher, the better: minus the measure where less of it is better.
    """
    first = group.runs[0]
    score = group.mean(chosen_key(first.summary))
    if not math.isfinite(score):
        return -math.inf
    return score if first.higher_is_better else -score


def best_of(runs: Iterable[Run], kind: Callable[[Run], Kind]) -> dict[Kind, Group]:
    """Of every kind of runs the settings with the best score, in the order of their first runs."""
    found: dict[Kind, list[Run]] = {}
    for run in runs:
        found.setdefault(kind(run), []).append(run)
    return {each: max(group_runs(members), key=selection_score) for each, members in found.items()}


def neurons(run: Run) -> str:
    """Those of the hidden layers, such as "128-128"."""
    return "-".join(str(size) for size in run.settings.get("model.hidden", []))


def is_dense(run: Run) -> bool:
    """Whether the optimizer has no regularisation strength (Adam, SGD)."""
    return "optim.lam" not in run.settings


def is_adam(group: Group) -> bool:
    """Whether the optimizer is Adam, with or without weight decay: what sparse runs are held to."""
    return group.runs[0].settings.get("optim.name") in ("adam", "adamw")


def datasets(runs: Iterable[Run]) -> list[str]:
    """The data sets of the runs, the paper's first and in its order."""
    names = {run.dataset for run in runs}
    return [n for n in PAPER_ORDER if n in names] + sorted(names - set(PAPER_ORDER))


def by_dataset(
    runs: Sequence[Run], find: Callable[[Sequence[Run], str], Found], missing: str
) -> dict[str, Found]:
    """What there is on every data set that has any of it.

    Args:
        runs: of any data sets.
        find: from the runs and a data set to a collection, empty where there is nothing.
        missing: what to say where no data set has any.

    Raises:
        ValueError: no data set has any.
    """
    found = {name: these for name in datasets(runs) if (these := find(runs, name))}
    if not found:
        raise ValueError(missing)
    return found


def of_dataset(runs: Iterable[Run], dataset: str) -> list[Run]:
    """The runs on one data set that have ended."""
    return [r for r in runs if r.ended and r.dataset == dataset]


def sweeps(runs: Sequence[Run], dataset: str) -> list[Sweep]:
    """All sweeps over lambda on a data set, those with most values of lambda first.

    Of two of the same size, AdaBreg's is first.
    """
    parts: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in of_dataset(runs, dataset):
        if not is_dense(run):
            settings = outcome_settings(run)
            settings.pop("optim.lam")
            parts.setdefault(tuple(settings.items()), []).append(run)
    named = labels([dict(key) for key in parts])
    found = []
    for members, other in zip(parts.values(), named, strict=True):
        label = ", ".join(filter(None, (members[0].lam_course, other)))
        by_lam = group_runs(members, by=["optim.lam"])
        groups = {float(group.settings["optim.lam"]): group for group in by_lam}
        found.append(Sweep(dataset, dict(sorted(groups.items())), label))
    return sorted(
        found, key=lambda s: (len(s.groups), s.size, s.optimizer == "adabreg"), reverse=True
    )


def main_sweep(runs: Sequence[Run], dataset: str, scheduled: bool) -> Sweep | None:
    """The largest sweep with or without schedule, which the paper's figures show."""
    return next((s for s in sweeps(runs, dataset) if s.scheduled == scheduled), None)


def dense_groups(runs: Sequence[Run], dataset: str) -> list[Group]:
    """The dense baselines on a data set: groups without regularisation, the best on top."""
    groups = group_runs([run for run in of_dataset(runs, dataset) if is_dense(run)])
    return sorted(groups, key=selection_score, reverse=True)


def baseline(runs: Sequence[Run], like: Run, any_schedule: bool = False) -> Group | None:
    """The dense runs that a run is to be compared with.

    Only the same data set counts; then Adam, with or without weight decay; then the same schedule;
    then most equal settings of data, network and trainer; then validation score.

    Args:
        runs: any runs.
        like: a run to compare.
        any_schedule: the best of all schedules and networks on the same data, of those that were
            trained for as many epochs where there are any.
    """
    wanted = outcome_settings(like)

    def closeness(group: Group) -> tuple[float, ...]:
        own = outcome_settings(group.runs[0])
        unlike = differing([wanted, own])
        data, rest = (
            -sum(name.startswith(kept) for name in unlike)
            for kept in (("dataset.",), ("model.", "trainer."))
        )
        same_schedule = wanted.get("scheduler.name") == own.get("scheduler.name")
        if any_schedule:
            return data, is_adam(group), EPOCHS not in unlike, selection_score(group)
        return data, is_adam(group), same_schedule, rest, selection_score(group)

    groups = dense_groups(runs, like.dataset)
    return max(groups, key=closeness, default=None)


def shown_groups(runs: Sequence[Run], dataset: str) -> list[Group]:
    """The dense and the sparse group whose answers are looked at, as far as there are any.

    The sparse one is that of :func:`sparsest_within`, or where no group is close enough the best
    one on the validation split; the dense one is its baseline, or the best one. Only runs that
    left predictions of classes count.
    """
    kept = [run for run in of_dataset(runs, dataset) if run.measure == ACCURACY]
    kept = [run for run in kept if run.folder.predictions.is_file()]
    of_lambda = [group for sweep in sweeps(kept, dataset) for group in sweep.groups.values()]
    best = max(of_lambda, key=selection_score, default=None)
    sparse = sparsest_within(kept, dataset) or best
    if sparse is None:
        return dense_groups(kept, dataset)[:1]
    dense = baseline(kept, sparse.runs[0], any_schedule=True)
    return [sparse] if dense is None else [dense, sparse]


def sparsest_within(runs: Sequence[Run], dataset: str, loss: float = POINT) -> Group | None:
    """The group of least density whose validation accuracy is close to the best dense one's.

    Chosen by the deployed evaluation on the validation split, so that the test split stays unseen.

    Args:
        runs: any runs.
        dataset: its config name.
        loss: allowed loss of mean accuracy, a fraction.

    Returns:
        None where there is no baseline or no group is close enough, or where the runs are scored
        by something else than accuracy, of which a point is no measure.
    """
    best: Group | None = None
    key = f"best_deployed_val_{ACCURACY}"
    for sweep in sweeps(runs, dataset):
        dense = baseline(runs, sweep.first, any_schedule=True)
        if dense is None:
            continue
        for group in sweep.groups.values():
            close = group.mean(key) >= dense.mean(key) - loss
            if close and (best is None or group.mean("density") < best.mean("density")):
                best = group
    return best
