"""Methods beside each other: which runs stand for a method, and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg.analysis import read_runs
from snnbreg.analysis.methods import accuracy_by_method, methods_table, points

Make = Callable[..., Path]
TARGET = {"name": "target", "density": 0.5}


def rival(density: float, **settings: Any) -> dict[str, Any]:
    return {
        "optim.lam": None,
        "optim.sparsifier": {"name": "gmp", "density": density},
        **settings,
    }


def written(right: list[int]) -> dict[str, list[int]]:
    """Predictions of four test samples of class 0; ``right`` are those that are right."""
    return {
        "test_ids": [0, 1, 2, 3],
        "test_labels": [0, 0, 0, 0],
        "test_deployed": [0 if i in right else 1 for i in range(4)],
    }


@pytest.fixture
def runs(make: Make, tmp_path: Path) -> list[Any]:
    """AdaBreg steered to 50 %, GMP at 50 % (two learning rates) and at 25 %, dense of two sizes."""
    for seed in (0, 1):
        chance = {"seed": seed}
        make(
            {"scheduler.lam": TARGET, **chance},
            summary={"best_val_acc": 0.9, "deployed_test_acc": 0.8},
            predictions=written([0, 1, 2]),
        )
        for lr, valid, right in ((0.01, 0.7, [0, 1, 2, 3]), (0.02, 0.8, [0, 1])):
            make(
                rival(0.5, **{"optim.lr": lr}, **chance),
                summary={"best_val_acc": valid, "deployed_test_acc": 0.7 + seed / 10},
                predictions=written(right),
            )
        make(rival(0.25, **chance), nonzero=(36, 20, 9))
        make({"optim.lam": None, "model.hidden": [4], **chance}, nonzero=(36, 36, 36))
        make(
            {"optim.lam": None, "model.hidden": [2], **chance},
            nonzero=(16, 16, 16),
            summary={"nonzero": 16, "density": 1.0},
            predictions=written([0]),
        )
    return read_runs(tmp_path / "runs")


def test_the_settings_that_are_best_on_validation_stand_for_a_method(runs: list[Any]) -> None:
    found = [(p.method, p.goal, len(p.group.runs), p.tried) for p in points(runs, "spoken_digits")]
    assert found == [
        ("AdaBreg", "50 %", 2, 1),
        ("Adam, GMP", "25 %", 2, 1),
        ("Adam, GMP", "50 %", 2, 2),
        ("dense", "2 neurons", 2, 1),
        ("dense", "4 neurons", 2, 1),
    ]
    chosen = points(runs, "spoken_digits")[2]
    assert {run.settings["optim.lr"] for run in chosen.group.runs} == {0.02}


def test_the_difference_is_that_of_the_same_samples_at_the_same_density(runs: list[Any]) -> None:
    table = methods_table(runs, "spoken_digits")
    values: dict[tuple[Any, Any], Any] = {(row[0], row[1]): row[-1] for row in table.rows}
    assert values["AdaBreg", "50 %"] is None
    assert values["Adam, GMP", "25 %"] is None  # AdaBreg was not asked for 25 %
    assert values["Adam, GMP", "50 %"].value == pytest.approx(-0.25)  # 2 of 4 right, against 3
    assert values["dense", "2 neurons"].value == pytest.approx(-0.5)  # 1 of 4, nearest in size
    assert values["dense", "4 neurons"] is None  # no predictions
    test = [column.name for column in table.columns].index("test, deployed")
    gmp = next(row[test] for row in table.rows if row[:2] == ["Adam, GMP", "50 %"])
    assert gmp.mean == pytest.approx(0.75)
    assert gmp.deviation == pytest.approx(0.05 * 2**0.5)  # of 0.7 and 0.8


def test_methods_of_different_length_are_lines_of_their_own(make: Make, tmp_path: Path) -> None:
    make({"scheduler.lam": TARGET})
    make({"scheduler.lam": TARGET, "trainer.epochs": 9})
    make(rival(0.25))
    names = [point.method for point in points(read_runs(tmp_path / "runs"), "spoken_digits")]
    assert names == ["AdaBreg, 3 epochs", "AdaBreg, 9 epochs", "Adam, GMP"]


def test_the_debiased_network_is_a_rival_of_ours_and_not_ours(make: Make, tmp_path: Path) -> None:
    debiased = {"scheduler.lam": TARGET, "optim.sparsifier": {"name": "debias", "density": 0.5}}
    make({"scheduler.lam": TARGET}, predictions=written([0, 1, 2]))
    make(debiased, predictions=written([0, 1]))
    table = methods_table(read_runs(tmp_path / "runs"), "spoken_digits")
    values: dict[Any, Any] = {row[0]: row[-1] for row in table.rows}
    assert values["AdaBreg"] is None
    assert values["AdaBreg, debiased"].value == pytest.approx(-0.25)


def test_a_line_per_method(runs: list[Any]) -> None:
    (axes,) = accuracy_by_method(runs).axes
    lines = {text.get_text(): None for text in axes.get_legend().get_texts()}
    assert list(lines) == ["AdaBreg", "Adam, GMP", "dense"]
    curve = axes.containers[1].lines[0]
    assert curve.get_xdata().tolist() == [9, 18]
    assert curve.get_ydata().tolist() == pytest.approx([0.7, 0.75])


def test_a_sweep_without_asked_densities_is_no_comparison(study: list[Any]) -> None:
    assert points(study, "spoken_digits") == []
    assert not methods_table(study, "spoken_digits").rows
    with pytest.raises(ValueError, match="no two methods"):
        accuracy_by_method(study)
