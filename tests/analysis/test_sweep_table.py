from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from snnbreg.analysis import Measure, Table
from snnbreg.analysis.sweep_table import sweep_tables

Make = Callable[..., Path]
Job = Callable[..., Path]


@pytest.fixture
def job(make: Make) -> Job:
    """A run folder with the options that its command line set."""

    def write(typed: Sequence[str], settings: dict[str, Any], **rest: Any) -> Path:
        folder = make(settings, **rest)
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {o}\n" for o in typed))
        return folder

    return write


def names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def test_what_varies_is_shown_over_its_seeds(job: Job) -> None:
    accuracies = {(lam, seed): lam / 100 + seed / 10 for lam in (2, 10) for seed in (0, 1, 2)}
    folders = [
        job([f"optim.lam={lam}", f"seed={seed}", "dataset.limit=3"],
            {"optim.lam": lam, "seed": seed}, summary={"best_val_acc": accuracy})
        for (lam, seed), accuracy in accuracies.items()
    ]  # fmt: skip
    (table,) = sweep_tables(folders[::-1])
    assert table.title == f"6 jobs in {folders[0].parent}, mean ± standard deviation over seeds"
    assert names(table) == [
        "optim.lam", "runs", "validation", "test", "test, deployed", "density",
    ]  # fmt: skip
    assert [row[:2] for row in table.rows] == [["2", 3], ["10", 3]]  # by size, not as words
    for row, lam in zip(table.rows, (2, 10), strict=True):
        values = [accuracies[lam, seed] for seed in (0, 1, 2)]
        assert isinstance(row[2], Measure)
        assert row[2].mean == pytest.approx(statistics.mean(values))
        assert row[2].deviation == pytest.approx(statistics.stdev(values))
    assert not table.notes


def test_an_option_is_shown_of_those_alone_that_have_it(job: Job) -> None:
    """``-m optim=adam,adabreg ++optim.lam=0.1,1``: Adam's two jobs are one run, without lambda."""
    typed = [f"++optim.lam={lam}" for lam in (0.1, 1)]
    folders = [
        job(["optim=adam", typed[0]], {"optim.lam": None}),
        *(job(["optim=adabreg", each], {"optim.lam": float(each.split("=")[1])}) for each in typed),
    ]
    (table,) = sweep_tables(folders)
    assert [row[:3] for row in table.rows] == [
        ["adabreg", "0.1", 1], ["adabreg", "1", 1], ["adam", "-", 1],
    ]  # fmt: skip


def test_failed_and_stopped_jobs_are_counted_not_pooled(job: Job, tmp_path: Path) -> None:
    ended = job(["optim.lr=1"], {"optim.lr": 1}, summary={"best_val_acc": 0.5})
    stopped = job(["optim.lr=1", "seed=1"], {"optim.lr": 1, "seed": 1},
                  summary={"status": "interrupted", "best_val_acc": 0.0})  # fmt: skip
    failed = job(["optim.lr=-1"], {"optim.lr": -1})
    for name in ("metrics.csv", "summary.json"):
        (failed / name).unlink()
    (tmp_path / "empty").mkdir()
    (table,) = sweep_tables([ended, stopped, failed, tmp_path / "empty"])
    assert names(table)[:2] == ["optim.lr", "runs"]  # what the failed one varied is shown
    assert [(row[0], row[1], row[2]) for row in table.rows] == [("1", 1, Measure(0.5, None, 1))]
    assert table.notes == ["3 of 4 jobs failed or were stopped: left out."]
    assert sweep_tables([stopped, failed]) == []


def test_without_command_lines_the_settings_say_what_differs(make: Make) -> None:
    (table,) = sweep_tables([make({"optim.lr": lr}) for lr in (0.1, 0.2)])
    assert [row[0] for row in table.rows] == ["lr 0.1", "lr 0.2"]
    (single,) = sweep_tables([make({"seed": seed}) for seed in (5, 6, 6)])  # one of them twice
    assert (names(single)[0], single.rows[0][0]) == ("runs", 2)


def test_measures_are_kept_apart(job: Job) -> None:
    error = {"measure": "mse", "higher_is_better": False, "best_val_mse": 0.25}
    folders = [job(["model=a"], {"model.name": "a"}), job(["model=b"], {}, summary=error)]
    accuracy, mse = sweep_tables(folders)
    assert names(accuracy)[:3] == ["model", "runs", "validation"]
    assert names(mse)[:3] == ["model", "runs", "validation, mse"]
    assert [len(table.rows) for table in (accuracy, mse)] == [1, 1]
    assert (accuracy.rows[0][0], mse.rows[0][0]) == ("a", "b")
