"""torch's schedulers move when they should, and go on from a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as lrs

from snnbreg.schedulers import TorchSchedule

EPOCHS, BATCHES = 4, 3


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)


MAKE: dict[str, Callable[[Any], Any]] = {
    "onecycle": lambda o: lrs.OneCycleLR(o, 2.0, total_steps=EPOCHS * BATCHES),
    "onecycle by epoch": lambda o: lrs.OneCycleLR(o, 2.0, total_steps=EPOCHS),
    "cyclic": lambda o: lrs.CyclicLR(o, 0.1, 1.0, step_size_up=2),
    "cosine": lambda o: lrs.CosineAnnealingLR(o, EPOCHS),
    "steps": lambda o: lrs.MultiStepLR(o, [1, 3]),
    "lambda": lambda o: lrs.LambdaLR(o, lambda epoch: 0.5**epoch),
    "plateau": lambda o: lrs.ReduceLROnPlateau(o, patience=0),
    "two": lambda o: lrs.SequentialLR(o, [lrs.ConstantLR(o), lrs.ExponentialLR(o, 0.5)], [2]),
}
BY_BATCH = {"onecycle", "cyclic"}


def epoch(schedule: TorchSchedule, moved: torch.optim.Optimizer) -> list[float]:
    rates = []
    for _ in range(BATCHES):
        moved.step()
        schedule.step_batch()
        rates.append(moved.param_groups[0]["lr"])
    schedule.step_epoch(1.0)
    return [*rates, moved.param_groups[0]["lr"]]


@pytest.mark.parametrize("name", MAKE)
def test_they_move_as_torch_says_and_go_on(name: str) -> None:
    moved, alone, again = optimizer(), optimizer(), optimizer()
    schedule, oracle = TorchSchedule(MAKE[name](moved), EPOCHS, BATCHES), MAKE[name](alone)
    rates = [epoch(schedule, moved) for _ in range(2)]
    stored = io.BytesIO()
    torch.save((moved.state_dict(), schedule.state_dict()), stored)
    stored.seek(0)
    states = torch.load(stored, weights_only=True)
    continued = TorchSchedule(MAKE[name](again), EPOCHS, BATCHES)
    again.load_state_dict(states[0])
    continued.load_state_dict(states[1])
    rates += [epoch(continued, again) for _ in range(2)]
    expected = []
    for _ in range(EPOCHS):
        row = []
        for _ in range(BATCHES):
            alone.step()
            if name in BY_BATCH:
                oracle.step()
            row.append(alone.param_groups[0]["lr"])
        if name not in BY_BATCH:
            oracle.step(*([1.0] if name == "plateau" else []))
        expected.append([*row, alone.param_groups[0]["lr"]])
    assert rates == expected
    assert len({rate for row in rates for rate in row}) > 1


def test_who_moves_when_may_be_said() -> None:
    moved = optimizer()
    schedule = TorchSchedule(lrs.StepLR(moved, 1, 0.5), EPOCHS, BATCHES, per="step")
    assert epoch(schedule, moved) == [0.5, 0.25, 0.125, 0.125]
    with pytest.raises(ValueError, match="Invalid per: 'batch'"):
        TorchSchedule(lrs.StepLR(moved, 1), EPOCHS, BATCHES, per="batch")
    with pytest.raises(ValueError, match=r"made for 11 steps, but the run has 12 batches \(4 epo"):
        TorchSchedule(lrs.OneCycleLR(moved, 1.0, total_steps=11), EPOCHS, BATCHES)


class Own(lrs.StepLR):
    def state_dict(self) -> dict[str, Any]:
        return {"made": Own}


def test_a_state_that_no_checkpoint_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="state of Own cannot be kept in a checkpoint"):
        TorchSchedule(Own(optimizer(), 1), EPOCHS, BATCHES)
