"""Exports below run folders: read as runs, compared with the trained networks, drawn."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnbreg.analysis import read_runs, report_tables
from snnbreg.analysis.exports import accuracy_against_cost, bits_table, cost_table, exported

Make = Callable[..., Path]


def answers(right: int, samples: int = 8) -> dict[str, Any]:
    """Predictions of test samples of class 0, the first of which are right."""
    classes = [0] * right + [1] * (samples - right)
    return {
        "test_ids": np.arange(samples),
        "test_labels": np.zeros(samples, int),
        "test_deployed": np.array(classes),
    }


def write_export(run: Path, bits: int, size: int, right: int, finetune: int = 0) -> Path:
    """What snnbreg export leaves, but for the network and its programs."""
    folder = run / "exports" / f"{bits}_{finetune}"
    folder.mkdir(parents=True)
    report = {
        "made_of": {"bits": bits, "finetune": finetune, "run": run.name},
        "acc": {"valid": 0.5, "test": right / 8},
        "nonzero": 9,
    }
    cost = {
        "neurobench": {
            "ParameterCount": 50, "Footprint": 200, "ConnectionSparsity": 0.75,
            "ActivationSparsity": 0.9, "MembraneUpdates": 40.0,
            "SynapticOperations": {"Dense": 360.0, "Effective_MACs": 30.0, "Effective_ACs": 10.0},
        },
        "operations": {"mean": 40.0 + bits, "deviation": 5.0},
        "events": {"input_events": 20.0, "input_counts": 25.0, "spikes_by_layer": [3.0, 4.0]},
        "bytes": {"dense_float32": 160, "tables": size, "memory": 64},
    }  # fmt: skip
    (folder / "export.json").write_text(json.dumps(report))
    (folder / "cost.json").write_text(json.dumps(cost))
    np.savez(folder / "predictions.npz", **answers(right))
    return folder


@pytest.fixture
def folder(make: Make, tmp_path: Path) -> Path:
    """AdaBreg (floats, 8 bits, 4 bits fine-tuned) and a dense network (8 bits), two seeds each."""
    for seed in (0, 1):
        sparse = make({"seed": seed}, predictions=answers(6 + seed))
        write_export(sparse, 32, 80, 6 + seed)
        write_export(sparse, 8, 20, 5 + seed)
        write_export(sparse, 4, 16, 7 + seed, finetune=3)
        dense = make({"optim.lam": None, "seed": seed}, predictions=answers(8))
        write_export(dense, 8, 40 + 20 * seed, 8 - seed)
    return tmp_path / "runs"


def test_accuracy_and_bytes_of_every_kind_beside_the_trained_networks(folder: Path) -> None:
    table = bits_table(read_runs(folder), "spoken_digits")
    names = [column.name for column in table.columns]
    rows: dict[Any, Any] = {
        (row[0], row[2]): dict(zip(names, row, strict=True)) for row in table.rows
    }
    assert list(rows) == [
        ("AdaBreg", "floats"), ("AdaBreg", "8 bits"), ("AdaBreg", "4 bits, 3 epochs"),
        ("dense", "8 bits"),
    ]  # fmt: skip
    floats, eight = rows["AdaBreg", "floats"], rows["AdaBreg", "8 bits"]
    assert floats["test"].mean == pytest.approx((6 + 7) / 16)
    assert (floats["difference to floats"].low, floats["difference to floats"].high) == (0, 0)
    assert eight["difference to floats"].value == pytest.approx(-1 / 8)
    assert eight["difference to floats"].low < -1 / 8 < eight["difference to floats"].high
    assert rows["AdaBreg", "4 bits, 3 epochs"]["difference to floats"].value == pytest.approx(1 / 8)
    assert (eight["bytes"], eight["smaller"], eight["operations"].mean) == (20, 8, 48)
    assert (rows["dense", "8 bits"]["bytes"], rows["dense", "8 bits"]["smaller"]) == (50, 3.2)
    assert rows["dense", "8 bits"]["goal"] == "4 neurons"


def test_costs_have_neurobenchs_names(folder: Path) -> None:
    table = cost_table(read_runs(folder), "spoken_digits")
    row = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    wanted = {"Footprint": 200, "Dense": 360, "Effective_MACs": 30, "operations": 72,
              "spikes": 7, "memory": 64, "input_counts": 25, "operations_deviation": 5}  # fmt: skip
    assert {key: row[key] for key in wanted} == wanted


def test_exports_are_no_runs_of_their_own(folder: Path) -> None:
    assert len(read_runs(folder)) == 4
    assert [table.name for table in report_tables(folder, ["bits", "cost"])] == [
        "bits_spoken_digits", "cost_spoken_digits",
    ]  # fmt: skip


def test_a_damaged_export_is_named_and_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "run0000" / "exports" / "8_0" / "cost.json").write_text('{"bytes": ')
    (folder / "run0002" / "exports" / "32_0" / "predictions.npz").write_bytes(b"PK")
    with caplog.at_level(logging.WARNING):
        found = exported(read_runs(folder), "spoken_digits")
        rows = bits_table(read_runs(folder), "spoken_digits").rows
    assert [len(entry.group.runs) for entry in found] == [2, 1, 2, 2]
    assert "run0000/exports/8_0 is no export, or damaged" in caplog.text
    assert rows[0][6] is None
    assert "A comparison is left out" in caplog.text


def test_epochs_are_named_where_a_method_has_several(folder: Path, make: Make) -> None:
    longer = make({"optim.lam": None, "trainer.epochs": 9}, predictions=answers(8))
    write_export(longer, 8, 40, 7)
    methods = [row[0] for row in bits_table(read_runs(folder), "spoken_digits").rows]
    assert methods[3:] == ["dense, 3 epochs", "dense, 9 epochs"]


def test_the_figure_has_bytes_and_operations(folder: Path) -> None:
    figure = accuracy_against_cost(read_runs(folder))
    assert len(figure.axes) == 2
    drawn = [
        {(x, y) for c in axes.containers for x, y in zip(*c.lines[0].get_data(), strict=True)}
        for axes in figure.axes
    ]
    assert drawn[0] == {(80, 13 / 16), (20, 11 / 16), (16, 15 / 16), (50, 15 / 16)}
    assert drawn[1] == {(72, 13 / 16), (48, 11 / 16), (44, 15 / 16), (48, 15 / 16)}
    for axes in figure.axes:
        texts = [label.get_text() for label in axes.get_xticklabels()]
        assert texts == (["20", "50"] if axes is figure.axes[0] else ["50"])


def test_without_exports_there_is_no_figure(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(ValueError, match="No run has an export"):
        accuracy_against_cost(read_runs(tmp_path / "runs"))
