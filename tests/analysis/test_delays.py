"""Learned delays beside controls: what a run is called, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg.analysis import read_runs
from snnbreg.analysis.delays import delays_table

Make = Callable[..., Path]
DENSE = {"optim.lam": None, "model.delays": "axonal"}


def right(count: int) -> dict[str, list[int]]:
    labels = [0, 0, 0, 0]
    answers = [0 if i < count else 1 for i in range(4)]
    return {"test_ids": [0, 1, 2, 3], "test_labels": labels, "test_deployed": answers}


def test_a_row_per_kind_with_the_difference_to_the_learned_delays(
    make: Make, tmp_path: Path
) -> None:
    for seed in (0, 1):
        make({**DENSE, "seed": seed}, predictions=right(3))
        forward = {"model.recurrent": False, "model.feedforward_delays": ["synaptic"]}
        make({**DENSE, "model.delays": "none", **forward, "seed": seed}, predictions=right(4))
        penalty = [{"name": "spike_count", "weight": 0.05}]
        make({**DENSE, "trainer.penalties": penalty, "seed": seed}, predictions=right(1))
        make({**DENSE, "model.delays": "fixed", "model.recurrent": [False, True], "seed": seed})
        make({"optim.lam": 0.5, "model.delays": "common", "seed": seed})  # sparse: not here
    make({**DENSE, "seed": 2}, summary={"best_val_acc": 0.9})  # without predictions
    table = delays_table(read_runs(tmp_path / "runs"), "spoken_digits")
    place = [column.name for column in table.columns].index("difference")
    rows: dict[tuple[Any, ...], Any] = {tuple(row[:3]): row[place] for row in table.rows}
    assert set(rows) == {
        ("learned, per neuron", "none", ""),
        ("no recurrence", "learned, per synapse", ""),
        ("learned, per neuron", "none", "spike_count 0.05"),
        ("fixed, per neuron", "none", ""),
    }
    assert rows["learned, per neuron", "none", ""] is None
    assert rows["fixed, per neuron", "none", ""] is None  # it left no predictions
    assert rows["no recurrence", "learned, per synapse", ""].value == pytest.approx(0.25)
    assert rows["learned, per neuron", "none", "spike_count 0.05"].value == pytest.approx(-0.5)


def test_there_is_no_table_of_one_kind(make: Make, tmp_path: Path) -> None:
    make(DENSE)
    make({**DENSE, "seed": 1})
    assert not delays_table(read_runs(tmp_path / "runs"), "spoken_digits").rows
