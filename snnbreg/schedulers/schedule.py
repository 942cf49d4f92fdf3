"""Schedules: any field of an optimizer's parameter groups as a function of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer


class Schedule:
    """Writes ``values(t)`` into a field of parameter groups, at once and after every ``advance``.

    The curve is a pure function of the step; the only state is the count. ``lam`` of a Bregman
    optimizer is a field like any other: the optimizer notices the change at its next step and
    converts its dual variable.

    Args:
        optimizer: the optimizer whose groups are written.
        field: the key of the groups, for instance ``"lr"``, ``"lam"`` or ``"betas"``.
        values: ``(t, base) -> value``, the value at step ``t`` of a group whose field was ``base``
            when the schedule was made.
        groups: indices of the groups that follow the schedule; all by default.

    Raises:
        ValueError: a group does not have the field.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        >>> schedule = Schedule(optimizer, "lr", lambda t, base: base / (t + 1))
        >>> schedule.advance()
        >>> optimizer.param_groups[0]["lr"]
        0.25
    """

    def __init__(
        self,
        optimizer: Optimizer,
        field: str,
        values: Callable[[int, Any], Any],
        groups: Sequence[int] | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.field = field
        self.values = values
        self.groups = tuple(range(len(optimizer.param_groups)) if groups is None else groups)
        for index in self.groups:
            if field not in optimizer.param_groups[index]:
                valid = ", ".join(key for key in optimizer.param_groups[index] if key != "params")
                raise ValueError(f"Invalid field: {field!r}. Parameter group {index} has {valid}.")
        self.bases = [optimizer.param_groups[index][field] for index in self.groups]
        self.t = 0
        self._write()

    def at(self, t: int) -> list[Any]:
        """The values of step ``t``, one per group that follows the schedule."""
        return [self.values(t, base) for base in self.bases]

    def advance(self) -> None:
        """Go to the next step."""
        self.go(self.t + 1)

    def go(self, t: int) -> None:
        """Go to a step."""
        self.t = t
        self._write()

    def hold(self, share: float, since: int) -> None:
        """From step ``since`` on, let no value be below a share of its group's own one."""
        values = self.values

        def held(t: int, base: Any) -> Any:
            value = values(t, base)
            return value if t < since else max(value, share * base)

        self.values = held
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """The count and the groups' own values: plain numbers."""
        return {"t": self.t, "bases": list(self.bases)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, and write its values.

        Raises:
            ValueError: the state belongs to another number of groups.
        """
        if len(state["bases"]) != len(self.groups):
            raise ValueError(
                f"The state of a schedule of {self.field!r} is for {len(state['bases'])} groups, "
                f"this optimizer has {len(self.groups)}."
            )
        self.t, self.bases = state["t"], list(state["bases"])
        self._write()

    def _write(self) -> None:
        for index, value in zip(self.groups, self.at(self.t), strict=True):
            self.optimizer.param_groups[index][self.field] = value


class Scheduler:
    """Schedules that advance together, once per batch or once per epoch.

    Never raises and never warns for being stepped too often: beyond its end a curve keeps its
    last value.

    Args:
        schedules: what to advance; empty for constant values.
        per: ``"step"`` or ``"epoch"``, when the schedules advance.
        epochs: number of epochs of the run.
        steps_per_epoch: batches per epoch.
    """

    def __init__(
        self, schedules: list[Schedule], per: str, epochs: int, steps_per_epoch: int
    ) -> None:
        self.schedules = schedules
        self.per = per
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch

    def step_batch(self) -> None:
        """Tell that the optimizer has made a step."""
        if self.per == "step":
            for schedule in self.schedules:
                schedule.advance()

    def step_epoch(self, metric: float | None = None) -> None:
        """Tell that an epoch has ended.

        Args:
            metric: what a feedback rule watches; the others ignore it.
        """
        if self.per == "epoch":
            for schedule in self.schedules:
                schedule.advance()

    def step(self, metric: float | None = None) -> None:
        """In a loop of one's own, as torch's schedulers: after every step or epoch, see ``per``."""
        if self.per == "step":
            self.step_batch()
        else:
            self.step_epoch(metric)

    def rewind(self, epoch: int) -> None:
        """Go to the start of an epoch, counted from 0."""
        for schedule in self.schedules:
            schedule.go(epoch * self.steps_per_epoch if self.per == "step" else epoch)

    def hold_lr(self, share: float) -> None:
        """In epochs after the run's end, let no learning rate be below a share of its own value.

        A curve that has ended otherwise keeps its last value, which is next to nothing for most.
        """
        steps = self.epochs if self.per == "epoch" else self.epochs * self.steps_per_epoch
        for schedule in self.schedules:
            if schedule.field == "lr":
                schedule.hold(share, steps)

    def lr_sums(self, optimizer: Optimizer) -> list[float]:
        """The sum of the learning rate over all steps of the run, one per parameter group."""
        counts = self.steps_per_epoch if self.per == "epoch" else 1
        length = self.epochs * self.steps_per_epoch // counts
        sums = [
            group["lr"] * self.epochs * self.steps_per_epoch for group in optimizer.param_groups
        ]
        for schedule in self.schedules:
            if schedule.field == "lr" and schedule.optimizer is optimizer:
                values = [schedule.at(t) for t in range(length)]
                for position, index in enumerate(schedule.groups):
                    sums[index] = counts * sum(value[position] for value in values)
        return sums

    def state_dict(self) -> dict[str, Any]:
        """The state of all schedules: plain numbers, strings, tuples and lists."""
        return {"schedules": [schedule.state_dict() for schedule in self.schedules]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state and write its values into the groups.

        Raises:
            ValueError: the state belongs to another kind of scheduler.
        """
        if len(state.get("schedules", ())) != len(self.schedules):
            raise ValueError(
                "The scheduler's state belongs to another scheduler. Use its settings."
            )
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
