"""The paired comparison, against loops, closed forms and a small simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnbreg.analysis import (
    Group,
    Interval,
    Measure,
    Run,
    group_runs,
    paired_difference,
    paired_table,
    pairs,
    read_run,
    read_runs,
)
from snnbreg.analysis.pairs import interval, weighted_means

Make = Callable[..., Path]
Answers = dict[str, list[int]]


def answers(right: list[int], ids: list[int] | None = None, tested: int = 2) -> Answers:
    """Predictions that are right (1) or wrong (0); the last ``tested`` samples are the test's."""
    ids = list(range(len(right))) if ids is None else ids
    labels = [number % 10 for number in ids]
    predicted = [x if y else (x + 1) % 10 for x, y in zip(labels, right, strict=True)]
    cut = len(right) - tested
    parts = {"ids": ids, "labels": labels, "deployed": predicted, "published": labels}
    found = {f"valid_{name}": values[:cut] for name, values in parts.items()}
    return found | {f"test_{name}": values[cut:] for name, values in parts.items()}


@pytest.fixture
def two(make: Make) -> Callable[..., tuple[Group, Group]]:
    """A sparse and a dense group from what each of their runs got right, by (seed, fold)."""

    def write(
        sparse: dict[tuple[int, int], Answers | None], dense: dict[tuple[int, int], Answers | None]
    ) -> tuple[Group, Group]:
        def group(lam: float | None, runs: dict[tuple[int, int], Answers | None]) -> Group:
            read = [
                read_run(make({"optim.lam": lam, "seed": seed, "dataset.fold": fold},
                              predictions=found))
                for (seed, fold), found in runs.items()
            ]  # fmt: skip
            (found_group,) = group_runs(read)
            return found_group

        return group(0.1, sparse), group(None, dense)

    return write


def test_figures_by_hand(two: Any) -> None:
    one, other = two(
        {(0, 0): answers([1, 1, 0, 0]), (0, 1): answers([1, 0], [2, 9]), (3, 0): answers([0] * 4),
         (4, 0): None},
        {(0, 1): answers([1, 1], [2, 9]), (0, 0): answers([0, 1, 1, 1]), (4, 0): answers([1] * 4)},
    )  # fmt: skip
    found = paired_difference(one, other)
    # of 6 predictions of the samples 0, 1, 2, 3 and 9 the sparse runs have 3 right, the dense 5
    assert (found.pairs, found.samples, found.predictions) == (2, 5, 6)
    assert (found.sparse, found.dense) == (3 / 6, 5 / 6)
    assert found.difference == pytest.approx(-2 / 6)
    assert found.low <= found.difference <= found.high
    test = paired_difference(one, other, splits=["test"])
    assert (test.predictions, test.sparse, test.dense) == (4, 1 / 4, 4 / 4)
    assert paired_difference(one, other, evaluation="published").difference == 0


def test_where_steps_have_classes_the_labelled_ones_are_the_predictions(two: Any) -> None:
    labels = [[0, 1, -1], [1, -1, -1], [0, 0, 1]]
    parts = {"test_ids": [5, 6, 7], "test_labels": labels}
    one, other = two(
        {(0, 0): {**parts, "test_deployed": [[0, 1, 1], [1, 1, 1], [0, 1, 1]]}},
        {(0, 0): {**parts, "test_deployed": [[0, 0, 1], [0, 1, 1], [0, 0, 1]]}},
    )
    found = paired_difference(one, other, splits=["test"])
    assert (found.samples, found.predictions) == (3, 6)
    assert (found.sparse, found.dense) == (5 / 6, 4 / 6)
    # recordings are drawn anew whole: the interval is that of their sums 1, 1, -1 of 2, 1, 3 steps
    assert (found.low, found.high) == interval(
        np.array([[1.0, 1.0, -1.0]]), np.array([[2.0, 1.0, 3.0]])
    )


def test_speakers_are_drawn_with_all_that_they_said(two: Any) -> None:
    """The interval is that of their sums, not of their samples; the difference stays."""
    runs = {(0, 0): [1, 1, 1, 0, 1, 0], (1, 0): [1, 0, 1, 0, 0, 0]}
    who = {"test_speakers": [7, 7, 3, 3, 3, 9]}
    kept = {
        key: {**answers(list(reversed(right)), [9, 5, 4, 3, 1, 0], tested=6), **who}
        for key, right in runs.items()
    }
    other = {key: {**answers([0] * 6, [9, 5, 4, 3, 1, 0], tested=6), **who} for key in runs}
    found = paired_difference(*two(kept, other), splits=["test"], drawn="speakers")
    # by number: 0 was said by 9; 1, 3 and 4 by 3; 5 and 9 by 7
    sums = np.array([[2.0, 1.0, 1.0], [1.0, 0.0, 1.0]])  # of speakers 3, 7, 9
    assert (found.samples, found.predictions) == (3, 12)
    assert found.difference == pytest.approx(6 / 12)
    assert (found.low, found.high) == interval(sums, np.array([[3.0, 2.0, 1.0]] * 2))
    one, nobody = two({(0, 0): answers([1, 1])}, {(0, 0): answers([1, 1])})
    with pytest.raises(ValueError, match=r"predictions.npz has no 'test_speakers'"):
        paired_difference(one, nobody, splits=["test"], drawn="speakers")


def test_a_resample_is_a_weighted_mean_over_predictions() -> None:
    rng = np.random.default_rng(1)
    asked = rng.integers(0, 2, (3, 7))
    differences = asked * rng.integers(-1, 2, (3, 7))
    of_runs = rng.multinomial(3, [1 / 3] * 3, 5)
    of_samples = rng.multinomial(7, [1 / 7] * 7, 5)
    of_samples[4] = 0
    found = weighted_means(differences, asked, of_runs, of_samples)
    for b in range(4):
        drawn: list[int] = []
        for run in range(3):
            for sample in range(7):
                times = int(of_runs[b, run] * of_samples[b, sample] * asked[run, sample])
                drawn += [int(differences[run, sample])] * times
        assert found[b] == pytest.approx(sum(drawn) / len(drawn))
    assert math.isnan(found[4])


@pytest.mark.parametrize("runs", [1, 4])
def test_equal_runs_have_the_error_of_their_samples(two: Any, runs: int) -> None:
    """1.96 sd / sqrt(n) on both sides: repeating a run does not add samples."""
    rng = np.random.default_rng(2)
    right = rng.integers(0, 2, (2, 400))
    parts = [{(seed, 0): answers(list(r)) for seed in range(runs)} for r in right]
    found = paired_difference(*two(*parts))
    sd = (right[0] - right[1]).std()
    assert found.high - found.low == pytest.approx(2 * 1.96 * sd / 20, rel=0.04)


def test_resamples_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []

    def means(differences: Any, asked: Any, of_runs: Any, of_samples: Any) -> Any:
        parts.append(len(of_runs))
        return weighted_means(differences, asked, of_runs, of_samples)

    monkeypatch.setattr(pairs, "weighted_means", means)
    monkeypatch.setattr(pairs, "AT_ONCE", 90)  # weights of three columns that differ
    of_sample = np.random.default_rng(6).choice([-1, 0, 1], (1, 400))
    low, high = interval(of_sample, np.ones((1, 400), int), 10_007)
    assert parts == [30] * 333 + [17]
    assert high - low == pytest.approx(2 * 1.96 * of_sample.std() / 20, rel=0.04)


def test_runs_that_differ_have_the_error_of_runs() -> None:
    """With the same difference for all samples of a run, only the runs are left to chance."""
    of_run = np.random.default_rng(3).choice([-1, 0, 1], 60)
    low, high = interval(np.repeat(of_run[:, None], 50, 1), np.ones((60, 50), int))
    assert high - low == pytest.approx(2 * 1.96 * of_run.std() / math.sqrt(60), rel=0.04)


def test_equal_answers_differ_by_nothing(two: Any) -> None:
    right = [1, 0, 1, 1, 0, 1]
    found = paired_difference(*two(*[{(s, 0): answers(right) for s in range(3)}] * 2))
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_the_order_of_samples_is_no_matter(two: Any, make: Make) -> None:
    rng = np.random.default_rng(4)
    right, worse = (rng.random((2, 30)) < [[0.9], [0.7]]).astype(int)
    order = [*rng.permutation(28).tolist(), 29, 28]
    shuffled = answers(right[order].tolist(), order)
    first = paired_difference(*two({(0, 0): answers(list(right))}, {(0, 0): answers(list(worse))}))
    second = paired_difference(*two({(0, 0): shuffled}, {(0, 0): answers(list(worse))}))
    assert first == second
    assert first.low < first.difference < first.high


def test_the_interval_covers_the_truth() -> None:
    """Runs differ, samples differ, and so do single answers; the true difference is 0."""
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        shared = rng.normal(0.8, 1.0, (1, 120))
        sparse, dense = (
            shared + rng.normal(0, 0.5, (1, 120)) + rng.normal(0, 0.3, (8, 1))
            + rng.normal(0, 0.5, (8, 120)) > 0
            for _ in range(2)
        )  # fmt: skip
        low, high = interval(sparse.astype(int) - dense, np.ones((8, 120), int), 300, trial)
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_what_cannot_be_compared(two: Any) -> None:
    some = answers([1, 0, 1])
    with pytest.raises(ValueError, match="No two runs with predictions"):
        paired_difference(*two({(0, 0): some}, {(1, 0): some, (0, 1): some}))
    for other in (answers([1, 0, 1], [0, 1, 7]), some | {"test_labels": [1, 9]}):
        with pytest.raises(ValueError, match="were tested on different samples"):
            paired_difference(*two({(0, 0): some}, {(0, 0): other}))
    one, dense = two({(0, 0): some}, {(0, 0): some})
    with pytest.raises(ValueError, match="has no 'train_ids'"):
        paired_difference(one, dense, splits=["train"])
    path = one.runs[0].path / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"predictions.npz is damaged"):
        paired_difference(one, dense)


def test_table_by_hand(make: Make, tmp_path: Path) -> None:
    def group(right: list[int], seeds: int = 2, **settings: Any) -> None:
        accuracy = settings.pop("accuracy", 0.9)
        for seed in range(seeds):
            make(
                {name.replace("__", "."): value for name, value in settings.items()}
                | {"seed": seed, "dataset.fold": 0},
                predictions=answers(right) if right else None,
                summary={"best_val_acc": accuracy},
            )

    group([1, 1, 1, 0], optim__lam=None)
    group([0, 0, 0, 0], optim__lam=None, scheduler__name="none", accuracy=0.8)  # not the best
    group([], 3, optim__lam=None, optim__lr=1.0, accuracy=1.0)  # without predictions
    group([1, 1, 1, 1], 1, optim__lam=None, optim__lr=2.0, accuracy=1.0)  # one pair only
    group([1, 0, 1, 1], 3, optim__lam=0.1)
    group([], optim__lam=0.2)
    group([1, 0, 1, 1], 1, optim__lam=0.05)  # does not end the list
    group([1, 0, 1, 1], 1, optim__lam=0.3)
    runs = read_runs(tmp_path)
    table = paired_table(runs, "spoken_digits")
    (row,) = table.rows
    named = dict(zip([column.name for column in table.columns], row, strict=True))
    assert (named["λ"], named["method"], named["schedule"]) == (0.1, "AdaBreg", "onecycle")
    assert table.notes[0] == "Compared with Adam, onecycle, lr 0.01."
    assert (named["runs"], named["density"].n) == (2, 2)
    assert (named["test, dense"], named["test, sparse"]) == (0.5, 1.0)
    assert named["test, difference"].value == 0.5
    assert (named["pooled, dense"], named["pooled, sparse"]) == (0.75, 0.75)
    assert named["pooled, difference"].value == 0.0
    assert [name.partition(",")[0] for name in list(named)[-6:]] == ["test"] * 3 + ["pooled"] * 3
    assert named["settings"] == "lr 0.01"  # Adam was tried with others
    assert "Folds share their speakers" in table.notes[-1]
    assert paired_table(runs, "shd").rows == []


def test_table_is_complete_and_names_what_differs(make: Make, tmp_path: Path) -> None:
    """All right beside all wrong, with two schedules and learning rates."""
    right, wrong = answers([1, 1, 1, 1]), answers([0, 0, 0, 0])
    for seed in (0, 1):
        same = {"seed": seed, "dataset.fold": 0}
        for schedule, accuracy in (("onecycle", 0.9), ("none", 0.8)):
            make(same | {"optim.lam": None, "scheduler.name": schedule},
                 predictions=right, summary={"best_val_acc": accuracy})  # fmt: skip
        make(same | {"optim.lam": 0.1, "optim.lr": 1}, predictions=wrong)
        make(same | {"optim.lam": 0.2, "optim.lr": 2}, predictions=right)
        make(same | {"optim.lam": 0.3, "scheduler.name": "none"}, predictions=wrong)
    table = paired_table(read_runs(tmp_path), "spoken_digits")
    assert (table.name, table.title) == (
        "paired_spoken_digits", "Sparse beside dense networks on the same samples of spoken_digits",
    )  # fmt: skip
    # the schedule of the sparse runs does not matter: all are held to the best dense ones
    assert list(table.notes) == [
        "Compared with Adam, onecycle, lr 0.01.",
        *pairs.NOTES,
        pairs.FOLDS,
    ]
    figures = [("dense", "percent"), ("sparse", "percent"), ("difference", "points")]
    assert [(column.name, column.unit) for column in table.columns] == [
        ("λ", "number"), ("method", "text"), ("schedule", "text"), ("settings", "text"),
        ("runs", "count"), ("density", "percent"),
        *((f"{samples}, {name}", unit) for samples in ("test", "pooled") for name, unit in figures),
    ]  # fmt: skip
    none, all_lost = Interval(0.0, 0.0, 0.0), Interval(-1.0, -1.0, -1.0)
    half = Measure(0.5, 0.0, 2)
    assert sorted(table.rows) == [
        [0.1, "AdaBreg", "onecycle", "lr 1", 2, half, *[1.0, 0.0, all_lost] * 2],
        [0.2, "AdaBreg", "onecycle", "lr 2", 2, half, *[1.0, 1.0, none] * 2],
        [0.3, "AdaBreg", "none", "lr 0.01", 2, half, *[1.0, 0.0, all_lost] * 2],
    ]


def test_the_table_draws_speakers_where_they_are_known(make: Make, tmp_path: Path) -> None:
    """Two samples of one speaker: nobody else can be drawn, so the interval has no width."""
    for seed in (0, 1):
        same = {"seed": seed, "dataset.fold": 0}
        who = {"test_speakers": [4, 4]}
        make(same | {"optim.lam": None}, predictions=answers([1, 1, 0, 1]) | who)
        make(same | {"optim.lam": 0.1}, predictions=answers([1, 1, 0, 0]) | who)
    table = paired_table(read_runs(tmp_path), "spoken_digits")
    assert table.columns[-1].name == "test, speakers drawn"
    (row,) = table.rows
    assert row[-1] == Interval(-0.5, -0.5, -0.5)


def test_predictions_are_opened_for_pairs_only(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    some = answers([1, 0, 1])
    for seed in (0, 1):
        make({"optim.lam": 0.1, "seed": seed}, predictions=some)
        make({"optim.lam": None, "seed": seed + 1}, predictions=some)
    opened: list[Run] = []
    read = Run.predictions
    monkeypatch.setattr(Run, "predictions", lambda run: opened.append(run) or read(run))
    assert paired_table(read_runs(tmp_path), "spoken_digits").rows == []
    assert opened == []
    make({"optim.lam": None, "seed": 0}, predictions=answers([1, 0, 1], [5, 6, 7]))
    assert paired_table(read_runs(tmp_path), "spoken_digits").rows == []
    assert "A comparison is left out: " in caplog.text
    assert "were tested on different samples" in caplog.text
