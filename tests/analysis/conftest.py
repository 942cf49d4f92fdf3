"""Run folders as training leaves them, with figures that tests choose."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from snnbreg.analysis import Run, read_runs

CONFIG: dict[str, Any] = {
    "dataset": {"name": "spoken_digits", "root": None, "limit": None},
    "model": {"hidden": [4], "recurrent": True, "delay_init": "half_normal", "delay_scale": 2.0},
    "optim": {"name": "adabreg", "lr": 0.01, "lam": 0.1},
    "scheduler": {"name": "onecycle"},
    "trainer": {"epochs": 3},
    "seed": 0,
}
SHAPES = {
    "layers.0.linear.weight": (4, 3),
    "layers.0.neuron.weight": (4, 4),
    "readout.linear.weight": (2, 4),
}
PARAMETERS = 50
PREDICTIONS = {
    "valid_ids": [4, 5], "valid_labels": [0, 1], "valid_deployed": [0, 1],
    "test_ids": [6, 7, 8], "test_labels": [0, 1, 1], "test_deployed": [0, 1, 0],
}  # fmt: skip


def write_run(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    losses: tuple[float, ...] = (3.0, 2.0, 1.0),
    nonzero: tuple[int, ...] = (36, 20, 18),
    summary: Mapping[str, Any] | None = None,
    checkpoints: bool = False,
    rates: tuple[float, ...] = (0.04, 0.02, 0.03),
    predictions: Mapping[str, Any] | None = None,
) -> Path:
    """A run folder; ``settings`` are dotted names, ``optim.lam=None`` makes it Adam's."""
    config = copy.deepcopy(CONFIG)
    for name, value in (settings or {}).items():
        *groups, key = name.split(".")
        place = config
        for group in groups:
            place = place[group]
        place[key] = value
    if config["optim"]["lam"] is None:
        del config["optim"]["lam"]
        config["optim"]["name"] = "adam"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    layers = ",".join(f"nonzero/{name}" for name in SHAPES)
    layers += ",firing_rate/layers.0" * bool(rates)
    lines = [f"epoch,val_loss,val_acc,nonzero,density,firing_rate,seconds,{layers}"]
    for epoch, (loss, count) in enumerate(zip(losses, nonzero, strict=False), 1):
        parts = f"{count // 3},{count // 3},{count - 2 * (count // 3)}"
        parts += f",{rates[epoch - 1]}" if rates else ""
        lines.append(f"{epoch},{loss},{0.5 / loss},{count},{count / 36},0.05,0.1,{parts}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    result = {
        "status": "completed", "best_epoch": 3, "best_val_acc": 0.9, "best_deployed_val_acc": 0.9,
        "select": "published", "test_acc": 0.8, "deployed_test_acc": 0.7, "nonzero": nonzero[-1],
        "density": nonzero[-1] / 36, "synops": 100.0, "firing_rate": 0.05, "seconds": 0.3,
        "parameters": PARAMETERS, **(summary or {}),
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(result))
    if predictions is not None:
        np.savez(folder / "predictions.npz", **{k: np.asarray(v) for k, v in predictions.items()})
    if checkpoints:
        write_checkpoints(folder / "checkpoints", config)
    return folder


def write_checkpoints(folder: Path, config: Mapping[str, Any]) -> None:
    """``best.pt`` and ``last.pt`` with one weight of each matrix at zero, |v| = 0.05 there."""
    weights = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    states = {}
    for key, weight in enumerate(weights.values()):
        weight[0, 0] = 0.0
        dual = torch.full_like(weight, 1.1, dtype=torch.float64)
        dual[0, 0] = 0.25
        drift = torch.zeros_like(weight)
        drift[0, 0] = -0.2
        states[key] = {"dual": dual, "drift": drift, "rule": ("l1", 0.1, 1.0)}
    groups = [{"param_names": list(weights), "params": [0, 1, 2], "lam": 0.1}]
    state = {
        "epoch": 3,
        "config": dict(config),
        "network": {**weights, "layers.0.neuron.delay": torch.tensor([0.5, 1.5, 1.5, 3.0])},
        "optimizers": {"weights": {"state": states, "param_groups": groups}},
    }
    folder.mkdir()
    for name in ("best", "last"):
        torch.save(state, folder / f"{name}.pt")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """``write_run`` into a folder of the test, named by number."""
    count = iter(range(10_000))

    def write(settings: Mapping[str, Any] | None = None, **rest: Any) -> Path:
        return write_run(tmp_path / "runs" / f"run{next(count):04d}", settings, **rest)

    return write


@pytest.fixture
def study(make: Callable[..., Path], tmp_path: Path) -> list[Run]:
    """Three values of lambda and Adam, with and without schedule, two seeds each."""
    for scheduler, worse in (("onecycle", 0.0), ("none", 0.1)):
        for lam, accuracy, count in ((None, 0.92, 36), (0, 0.92, 36), (0.1, 0.9, 18), (1, 0.9, 9)):
            for seed, extra in ((0, 0.01), (1, -0.01)):
                make(
                    {"optim.lam": lam, "scheduler.name": scheduler, "seed": seed},
                    losses=(3.0 + seed, 2.0 + seed, 1.0 + (lam or 0.0)),
                    nonzero=(36, 30, count),
                    summary={
                        "best_val_acc": accuracy + extra - worse,
                        "best_deployed_val_acc": accuracy - worse,
                        "test_acc": accuracy - 0.1 + 2 * extra - worse,
                        "deployed_test_acc": accuracy - 0.2 - worse,
                    },
                    checkpoints=True,
                    predictions=PREDICTIONS,
                )
    return read_runs(tmp_path / "runs")
