"""torch's own learning rate schedulers, called as ours are."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau


class TorchSchedule:
    """A scheduler of ``torch.optim.lr_scheduler`` that moves after every batch or every epoch.

    Args:
        scheduler: made on the run's optimizer.
        epochs: number of epochs of the run.
        steps_per_epoch: batches per epoch.
        per: ``"step"`` or ``"epoch"``; None for what torch's documentation says: after every batch
            for ``OneCycleLR`` (unless it was made for as many steps as there are epochs) and
            ``CyclicLR``, after every epoch for all others.

    Raises:
        ValueError: it is too short for the run, or its state is no plain values, so that a run
            could not be continued.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> halved = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> schedule = TorchSchedule(halved, epochs=2, steps_per_epoch=8)
        >>> optimizer.step()
        >>> schedule.step_batch()
        >>> schedule.step_epoch()
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """

    def __init__(
        self, scheduler: LRScheduler, epochs: int, steps_per_epoch: int, per: str | None = None
    ) -> None:
        if per not in ("step", "epoch", None):
            raise ValueError(f"Invalid per: {per!r}. Valid values are step, epoch.")
        name, planned = type(scheduler).__name__, getattr(scheduler, "total_steps", None)
        whole = epochs * steps_per_epoch
        if per is None:
            fast = isinstance(scheduler, (OneCycleLR, CyclicLR)) and planned != epochs
            per = "step" if fast else "epoch"
        needed = whole if per == "step" else epochs
        if planned is not None and planned < needed:
            raise ValueError(
                f"{name} was made for {planned} steps, but the run has {whole} batches ({epochs} "
                f"epochs of {steps_per_epoch}): make it with total_steps={whole}, or "
                f"{epochs} to move once an epoch"
            )
        self.scheduler, self.per = scheduler, per
        try:
            stored = io.BytesIO()
            torch.save(self.state_dict(), stored)
            stored.seek(0)
            torch.load(stored, weights_only=True)
        except (pickle.PicklingError, pickle.UnpicklingError, AttributeError) as error:
            raise ValueError(
                f"The state of {name} cannot be kept in a checkpoint, which holds plain values"
            ) from error

    def step_batch(self) -> None:
        """Tell that the optimizer has made a step."""
        if self.per == "step":
            self.scheduler.step()

    def step_epoch(self, metric: float | None = None) -> None:
        """Tell that an epoch has ended.

        Args:
            metric: what ``ReduceLROnPlateau`` watches; the others ignore it.
        """
        if self.per != "epoch":
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(metric)  # type: ignore[arg-type]
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's own."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there; the values themselves are part of the optimizer's state."""
        self.scheduler.load_state_dict(state)
