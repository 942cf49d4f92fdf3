"""Schedulers by name, for configs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer

from snnbreg.schedulers.controller import DensityController
from snnbreg.schedulers.plateau import PlateauScheduler
from snnbreg.schedulers.schedule import Schedule, Scheduler
from snnbreg.schedulers.values import cosine, exponential, linear, one_cycle


def _one_cycle(
    optimizer: Optimizer,
    field: str,
    total: int,
    *,
    pct_start: float = 0.3,
    anneal: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> list[Schedule]:
    """Each group's own value is its maximum; momentum (or beta1) runs the other way."""
    if not 0 <= pct_start <= 1:
        raise ValueError(f"Invalid pct_start: {pct_start!r}. It must be in [0, 1].")
    if anneal not in ("cos", "linear"):
        raise ValueError(f"Invalid anneal: {anneal!r}. Valid values are cos, linear.")
    cycle = partial(one_cycle, total=total, pct_start=pct_start, anneal=anneal)

    def value(t: int, base: float) -> float:
        low = base / div_factor
        return cycle(t, low=low, high=base, last=low / final_div_factor)

    def momentum(t: int, _: float | None = None) -> float:
        return cycle(t, low=max_momentum, high=base_momentum, last=max_momentum)

    def betas(t: int, base: tuple[float, ...]) -> tuple[float, ...]:
        return (momentum(t), *base[1:])

    schedules = [_schedule(optimizer, field, value)]
    if cycle_momentum and field == "lr":
        groups = optimizer.param_groups
        if all("betas" in group for group in groups):
            schedules.append(Schedule(optimizer, "betas", betas))
        elif all(group.get("momentum", 0) > 0 for group in groups):
            schedules.append(Schedule(optimizer, "momentum", momentum))
    return schedules


def _cosine(
    optimizer: Optimizer,
    field: str,
    total: int,
    *,
    start: float | None = None,
    end: float | None = 0.0,
    fraction: float = 1.0,
) -> list[Schedule]:
    """Half a cosine from start to end; ``None`` stands for the group's own value."""
    return _between(optimizer, field, partial(cosine, length=fraction * total), start, end)


def _linear(
    optimizer: Optimizer,
    field: str,
    total: int,
    *,
    start: float | None = None,
    end: float | None = 0.0,
    fraction: float = 1.0,
) -> list[Schedule]:
    """A line from start to end; ``None`` stands for the group's own value."""
    return _between(optimizer, field, partial(linear, length=fraction * total), start, end)


def _exponential(
    optimizer: Optimizer, field: str, total: int, *, start: float | None = None, decay: float = 0.95
) -> list[Schedule]:
    """A factor per step; ``None`` stands for the group's own value."""
    return [
        _schedule(
            optimizer,
            field,
            lambda t, base: exponential(t, base if start is None else start, decay),
        )
    ]


def _between(
    optimizer: Optimizer,
    field: str,
    curve: Callable[..., float],
    start: float | None,
    end: float | None,
) -> list[Schedule]:
    def value(t: int, base: float) -> float:
        return curve(t, base if start is None else start, base if end is None else end)

    return [_schedule(optimizer, field, value)]


def _schedule(optimizer: Optimizer, field: str, values: Callable[[int, Any], Any]) -> Schedule:
    """A schedule of the groups the field matters for: lam, of those with a regulariser.

    Raises:
        ValueError: there is no such group.
    """
    groups = [
        index
        for index, group in enumerate(optimizer.param_groups)
        if field != "lam" or group.get("regularizer", "none") != "none"
    ]
    if not groups:
        raise ValueError(
            f"There is no lambda to move: {type(optimizer).__name__} has no parameters with a "
            "regulariser. Leave the schedule of lam out, or choose an optimizer such as AdaBreg."
        )
    return Schedule(optimizer, field, values, groups)


CURVES: dict[str, Callable[..., list[Schedule]]] = {
    "none": lambda optimizer, field, total: [],
    "onecycle": _one_cycle,
    "cosine": _cosine,
    "linear": _linear,
    "exponential": _exponential,
}
"""The curves by name."""

FEEDBACK: dict[str, tuple[Callable[..., Scheduler], str]] = {
    "plateau": (PlateauScheduler, "lr"),
    "target": (DensityController, "lam"),
}
"""Schedulers that react to what happens, and the one field that each of them changes."""


def make_scheduler(
    name: str,
    optimizer: Optimizer,
    epochs: int,
    steps_per_epoch: int,
    per: str = "epoch",
    field: str = "lr",
    **settings: Any,
) -> Scheduler:
    """Build a scheduler by its name, with the groups' own values as base.

    The value of step 0 is written at once. Settings, with their defaults:

    * ``none``: constant values.
    * ``onecycle``: ``pct_start=0.3, anneal="cos", div_factor=25, final_div_factor=1e4,
      cycle_momentum=True, base_momentum=0.85, max_momentum=0.95``: torch's ``OneCycleLR`` with
      every group's own value as its maximum. The momentum is cycled where all groups have
      ``betas``, or all have a momentum above 0, and left alone elsewhere.
    * ``cosine``, ``linear``: ``start=None, end=0.0, fraction=1.0``: from start to end over a
      fraction of the run, then constant; ``None`` is the group's own value.
    * ``exponential``: ``start=None, decay=0.95``: a factor per step.
    * ``plateau`` (lr only, per epoch): ``factor=0.5, patience=5, threshold=0.01, mode="min"``.
    * ``target`` (lam only, per epoch): ``density=0.1`` and more, see :class:`DensityController`.

    Args:
        name: one of the names above.
        optimizer: any torch optimizer.
        epochs: number of epochs of the run.
        steps_per_epoch: batches per epoch.
        per: ``"epoch"`` counts epochs (as published for OneCycle), ``"step"`` batches.
        field: the key of the groups, ``"lr"`` or for instance ``"lam"`` (in groups with a
            regulariser; a Bregman optimizer converts its dual variable).
        **settings: see above.

    Raises:
        ValueError: unknown name, setting or field, or a value out of range.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = make_scheduler("cosine", optimizer, epochs=2, steps_per_epoch=8)
        >>> scheduler.step_epoch()
        >>> round(optimizer.param_groups[0]["lr"], 6)
        0.5
    """
    valid = [*CURVES, *FEEDBACK]
    if name not in valid:
        raise ValueError(f"Invalid scheduler: {name!r}. Valid schedulers are {', '.join(valid)}.")
    if per not in ("epoch", "step"):
        raise ValueError(f"Invalid per: {per!r}. Valid values are epoch, step.")
    for option, number in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
        if number < 1:
            raise ValueError(f"Invalid {option}: {number!r}. It must be at least 1.")
    feedback, only = FEEDBACK.get(name, (None, field))
    if field != only:
        raise ValueError(f"Invalid field: {field!r}. The {name} scheduler changes {only} only.")
    build = feedback or CURVES[name]
    known = inspect.signature(build).parameters.keys() - {
        "optimizer", "field", "total", "epochs", "steps_per_epoch"
    }  # fmt: skip
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(
            f"Unknown setting {unknown[0]!r} of scheduler {name!r}. "
            f"Valid settings are {', '.join(sorted(known)) or 'none'}."
        )
    if feedback is not None:
        return feedback(optimizer, epochs, steps_per_epoch, **settings)
    total = epochs if per == "epoch" else epochs * steps_per_epoch
    return Scheduler(
        CURVES[name](optimizer, field, total, **settings), per, epochs, steps_per_epoch
    )
