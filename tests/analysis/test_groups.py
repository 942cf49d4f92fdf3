from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from snnbreg.analysis import Group, Run, group_runs, newest, read_runs, select
from snnbreg.analysis.groups import mean_and_deviation

Make = Callable[..., Path]


def test_groups_differ_in_more_than_the_seed(make: Make, tmp_path: Path) -> None:
    for lam in (0.1, 1.0):
        for seed in (2, 0, 1):
            make({"optim.lam": lam, "seed": seed, "dataset.root": f"/data{seed}"})
    make({"optim.lam": 1.0, "optim.lr": 0.5})
    groups = group_runs(read_runs(tmp_path))
    assert [g.settings for g in groups] == [
        {"optim.lam": 0.1, "optim.lr": 0.01},
        {"optim.lam": 1.0, "optim.lr": 0.01},
        {"optim.lam": 1.0, "optim.lr": 0.5},
    ]
    assert [[run.seed for run in g.runs] for g in groups] == [[0, 1, 2], [0, 1, 2], [0]]
    by_lam = group_runs(read_runs(tmp_path), by=["optim.lam"])
    assert [len(g.runs) for g in by_lam] == [3, 4]
    runs = read_runs(tmp_path)
    assert [run.path.name for run in select(runs, {"optim.lam": 1.0, "seed": 0})] == [
        "run0004", "run0006",
    ]  # fmt: skip
    assert select(runs, {}) == runs


def test_a_null_is_what_an_older_run_does_not_say(make: Make, tmp_path: Path) -> None:
    make({"seed": 0})
    make({"seed": 1, "trainer.weight_bits": None})
    make({"seed": 2, "trainer.weight_bits": 4})
    groups = group_runs(read_runs(tmp_path))
    assert [[run.seed for run in group.runs] for group in groups] == [[0, 1], [2]]
    make({"seed": 1})
    assert len(newest(read_runs(tmp_path))) == 3


def test_folds_are_repetitions_too(make: Make, tmp_path: Path) -> None:
    for fold in (1, 0, None):
        for seed in (0, 1):
            make({"dataset.fold": fold, "seed": seed} if fold is not None else {"seed": seed + 2})
    runs = newest(read_runs(tmp_path))
    (group,) = group_runs(runs)
    assert [(run.seed, run.fold) for run in group.runs] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0),
    ]  # fmt: skip
    assert group.members == "6 runs"
    (seeds,) = group_runs(run for run in runs if not run.fold)
    assert seeds.members == "4 seeds"


def test_deviation_is_that_of_a_sample() -> None:
    values = [0.91, 0.93, 0.9]
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(statistics.mean(values))
    assert deviation == pytest.approx(statistics.stdev(values))
    assert mean_and_deviation([0.5]) == (0.5, None)


def test_curves_average_over_the_runs_that_got_there(make: Make, tmp_path: Path) -> None:
    make({"seed": 0}, losses=(3.0, 2.0, 1.0))
    make({"seed": 1}, losses=(5.0, 4.0))
    make({"seed": 2}, losses=(4.0, math.nan))
    (group,) = group_runs(read_runs(tmp_path))
    epochs, means, deviations = group.curve("val_loss")
    assert epochs == [1, 2, 3]
    assert means == [4.0, 3.0, 1.0]
    assert deviations == pytest.approx([1.0, math.sqrt(2), 0.0])
    assert group.curve("unknown") == ([], [], [])
    assert Group({}, (Run(tmp_path, {}, {"val_loss": [1.0]}, {}),)).curve("val_loss") == (
        [],
        [],
        [],
    )


def test_of_repeated_runs_the_newest_that_ended_counts(make: Make, tmp_path: Path) -> None:
    old, new, stopped, other = make(), make(), make(), make({"seed": 1})
    (stopped / "summary.json").unlink()
    for age, folder in enumerate((stopped, new, old)):
        os.utime(folder / "metrics.csv", (2e9 - age, 2e9 - age))
    assert {run.path for run in newest(read_runs(tmp_path))} == {new, other}
