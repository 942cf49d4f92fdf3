"""ADMM beside gradients, from run folders with chosen numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnbreg.analysis import Measure, Run, draw, read_run
from snnbreg.analysis.admm import admm_table, by_network

Make = Callable[..., Path]


def run(make: Make, hidden: list[int], name: str, seed: int, best: float, **more: float) -> Run:
    """Three epochs; the best one is the second."""
    folder = make(
        {"model.hidden": hidden, "optim.name": name, "seed": seed, **more},
        summary={"best_epoch": 2, "best_val_acc": best, "test_acc": best - 0.1, "seconds": 30.0},
    )
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["train_acc"] = f"{0.5 + 0.1 * number + 0.02 * seed}"
        if name == "admm":
            row |= {"objective": f"{100.0 / (number + 1)}", "residual/0": "0.1"}
            row |= {"residual/1": f"{0.2 - 0.1 * number}", "spike_residual/0": "0.01"}
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return read_run(folder)


@pytest.fixture
def runs(make: Make) -> list[Run]:
    """One and two hidden layers with both methods, one network with gradients alone."""
    made = []
    for hidden, name, seed, best in (
        ([8, 8], "admm", 0, 0.7), ([8], "admm", 0, 0.8), ([8], "admm", 1, 0.82),
        ([8], "adabreg", 0, 0.9), ([9], "adabreg", 0, 0.99),
    ):  # fmt: skip
        made.append(run(make, hidden, name, seed, best))
    worse = run(make, [8], "admm", 0, 0.3, **{"optim.lam": 9.0})
    return [*made, worse]


def test_the_table_has_the_best_settings_of_the_networks_that_admm_trained(
    runs: list[Run],
) -> None:
    table = admm_table(runs, "spoken_digits")
    assert [row[:3] for row in table.rows] == [
        ["8", "ADMM", 2], ["8", "AdaBreg", 1], ["8-8", "ADMM", 1],
    ]  # fmt: skip
    training, validation, test = table.rows[0][3:6]
    assert isinstance(training, Measure)
    assert training.mean == pytest.approx(0.61)  # of the second epoch
    assert isinstance(validation, Measure)
    assert validation.mean == pytest.approx(0.81)
    assert isinstance(test, Measure)
    assert test.mean == pytest.approx(0.71)
    assert not admm_table(runs[3:5], "spoken_digits").rows
    assert ("9", "AdaBreg") not in by_network(runs, "spoken_digits")


def heights(line: Any) -> list[float]:
    return list(np.asarray(line.get_ydata(), float))


def test_the_figure_shows_the_largest_residual_and_both_accuracies(runs: list[Run]) -> None:
    figure = draw("admm", runs)
    assert figure is not None
    objective, residuals, score = figure.axes
    assert [line.get_label() for line in objective.lines] == ["8", "8-8"]
    assert heights(objective.lines[0]) == pytest.approx([100, 50, 100 / 3])
    solid, dashed = residuals.lines[:2]
    assert heights(solid) == pytest.approx([0.2, 0.1, 0.1])
    assert heights(dashed) == [0.01] * 3
    assert heights(score.lines[0]) == pytest.approx([0.51, 0.61, 0.71])
    labels = [line.get_label() for line in score.lines]
    assert labels == ["8, training", "8, validation", "8-8, training", "8-8, validation"]


def test_without_admm_there_is_no_figure(runs: list[Run], caplog: pytest.LogCaptureFixture) -> None:
    assert draw("admm", runs[3:5]) is None
    assert "There is no run of ADMM" in caplog.text
