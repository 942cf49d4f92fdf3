"""A learning rate that falls when a metric stops improving."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from snnbreg.schedulers.schedule import Scheduler


class PlateauScheduler(Scheduler):
    """Lowers the learning rates when a metric stops improving; keeps torch's feedback rule.

    Args:
        optimizer: the optimizer whose learning rates fall.
        epochs: number of epochs of the run.
        steps_per_epoch: batches per epoch.
        factor: what the learning rates are multiplied by, in (0, 1).
        patience: epochs without improvement that are let pass.
        threshold: the least improvement, relative to the best value.
        mode: ``"min"`` for a loss, ``"max"`` for an accuracy.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        epochs: int,
        steps_per_epoch: int,
        factor: float = 0.5,
        patience: int = 5,
        threshold: float = 0.01,
        mode: str = "min",
    ) -> None:
        super().__init__([], "epoch", epochs, steps_per_epoch)
        if not 0 < factor < 1:
            raise ValueError(f"Invalid factor: {factor!r}. It must be in (0, 1).")
        if mode not in ("min", "max"):
            raise ValueError(f"Invalid mode: {mode!r}. Valid modes are min, max.")
        self.optimizer = optimizer
        self.rule = ReduceLROnPlateau(
            optimizer,
            "min" if mode == "min" else "max",
            factor=factor,
            patience=patience,
            threshold=threshold,
            eps=0.0,
        )
        self.initial = self.state_dict()

    def step_epoch(self, metric: float | None = None) -> None:
        """Tell that an epoch has ended.

        Args:
            metric: the watched value of the epoch.

        Raises:
            ValueError: no metric is given.
        """
        if metric is None:
            raise ValueError("The plateau scheduler needs a metric at the end of every epoch.")
        self.rule.step(metric)

    def rewind(self, epoch: int) -> None:
        """Go back to the start.

        Raises:
            ValueError: another epoch is asked for: what it was then is not known.
        """
        if epoch != 0:
            raise ValueError("A plateau schedule can be rewound to its start alone. Use another.")
        self.load_state_dict(self.initial)

    def state_dict(self) -> dict[str, Any]:
        """What the rule remembers, and the learning rates."""
        rule = self.rule
        return {
            "best": float(rule.best),
            "num_bad_epochs": rule.num_bad_epochs,
            "last_epoch": rule.last_epoch,
            "lrs": [group["lr"] for group in self.optimizer.param_groups],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, and write its learning rates into the groups.

        Raises:
            ValueError: the state belongs to another kind of scheduler or number of groups.
        """
        groups = self.optimizer.param_groups
        if len(state.get("lrs", ())) != len(groups):
            raise ValueError(
                "The scheduler's state belongs to another scheduler. Use its settings."
            )
        self.rule.best = state["best"]
        self.rule.num_bad_epochs = state["num_bad_epochs"]
        self.rule.last_epoch = state["last_epoch"]
        for group, lr in zip(groups, state["lrs"], strict=True):
            group["lr"] = lr
