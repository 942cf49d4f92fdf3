"""A row of metrics.csv, the summary and evaluate.py speak of the network in the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg.commands.evaluate import evaluate_run
from snnbreg.runs import load_checkpoint
from snnbreg.training import RunFolder

SCHEDULERS = {
    **{
        name: (f"scheduler={name}",)
        for name in ("none", "onecycle", "cosine", "linear", "exponential", "plateau")
    },
    "per step": ("scheduler=onecycle", "scheduler.per=step"),
    "lambda moves": ("scheduler.lam={name: linear, per: epoch, start: 0.5, end: 0.01}",),
    "target, dual": ("scheduler.lam={name: target, density: 0.3, cool_down: 1.0}",),
    "target, weights": (
        "scheduler.lam={name: target, density: 0.3, keep: weights, cool_down: 1.0}",
    ),
    "rounded": ("trainer.round_delays_in_place=true", "trainer.clamp_delays=true"),
}


def assert_row_is_of(row: dict[str, Any], folder: Path, checkpoint: str) -> None:
    for evaluation, prefix in (("published", ""), ("deployed", "deployed_")):
        options = ["split=valid", f"checkpoint={checkpoint}", f"evaluation={evaluation}"]
        figures = evaluate_run(str(folder), options)
        for key in ("loss", "acc"):
            assert figures[key] == row[f"{prefix}val_{key}"]
        for key in ("nonzero", "density"):
            assert figures[key] == row[key]


@pytest.mark.parametrize("select", ["published", "deployed", "last"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_is_reported_is_what_the_checkpoint_holds(
    small: Callable[..., dict[str, Any]],
    train: Callable[..., dict[str, Any]],
    tmp_path: Path,
    scheduler: str,
    select: str,
) -> None:
    run = RunFolder(tmp_path)
    overrides = ("optim.lr=0.02", f"trainer.select={select}", *SCHEDULERS[scheduler])
    summary = train(small(*overrides), run)
    history = load_checkpoint(run.last)["history"]
    assert_row_is_of(history[-1], tmp_path, "last")
    best = history[summary["best_epoch"] - 1]
    assert_row_is_of(best, tmp_path, "best")
    assert summary["best_val_acc"] == best["val_acc"]
    assert summary["best_deployed_val_acc"] == best["deployed_val_acc"]
    assert summary["nonzero"] == best["nonzero"]
    for evaluation, prefix in (("published", ""), ("deployed", "deployed_")):
        figures = evaluate_run(str(tmp_path), [f"evaluation={evaluation}"])
        assert figures["acc"] == summary[f"{prefix}test_acc"]
        assert figures["loss"] == summary[f"{prefix}test_loss"]
        assert figures["density"] == summary["density"]
