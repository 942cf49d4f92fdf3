"""Linear layers on the CPU whose inputs are rare events, with their backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import functional
from .events import CHUNK, linear_of_events, linear_of_events_backward
from .lanes import LANES
from .matrices import pack, panels
from .memory import empty
from .operators import apply, differentiable, operator
from .sparse import list_entries
from .threads import in_threads

MOST_EVENTS = 0.5
"""Share of inputs that are not zero from which on a layer is computed by torch."""
SAMPLED = 16
"""Of so many rows, one is looked at before the events are listed."""


class Events(NamedTuple):
    """The events of some rows, in the order of rows and senders."""

    rows: tuple[int, int]
    """The first row and the one after the last."""
    start: np.ndarray
    """(rows + 1,) int64: row rows[0] + r has the events start[r] .. start[r + 1] - 1."""
    sender: np.ndarray
    """(events,) int32."""
    value: np.ndarray
    """(events,)."""


def linear(
    events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None = None
) -> Tensor:
    """Currents of a linear layer, times a mask: see ``functional.linear``.

    Where at most MOST_EVENTS of the inputs are not zero, work is proportional to their number, and
    the backward pass skips weights that are zero. Which way is taken depends on the arguments
    and the number of threads alone. Everything else is computed by ``functional``.

    Args:
        events: X, spikes, frames or anything else, (T, B, C).
        weight: W, (N, C), row = receiver, column = sender.
        bias: b, (N,), or None.
        mask: factors on the currents (dropout), (B, N), without a gradient; or None.

    Returns:
        Currents I, (T, B, N).

    Raises:
        ValueError: for shapes or types that do not fit together.

    Example:
        >>> linear(torch.eye(3)[:, None], torch.ones(1, 3), torch.tensor([0.5])).flatten()
        tensor([1.5000, 1.5000, 1.5000])
    """
    functional.check_linear(events, weight, bias, mask)
    if not _supports(events, weight, bias, mask):
        return functional.linear(events, weight, bias, mask)
    current: Tensor
    if not functional.readable():  # then the operator looks
        current = _linear(events, weight, bias, mask)
        return current
    listed = _listed(events, weight, bias, mask)
    if listed is None:
        return functional.linear(events, weight, bias, mask)
    current = apply(LinearOfEvents, events, weight, bias, mask, listed)
    return current


def _supports(events: Tensor, *others: Tensor | None) -> bool:
    """Whether the types fit."""
    tensors = [events, *(other for other in others if other is not None)]
    return (
        events.numel() > 0
        and events.dtype in (torch.float32, torch.float64)
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and all(tensor.dtype == events.dtype for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
    )


def _listed(events: Tensor, *others: Tensor | None) -> list[Events] | None:
    """The events (T, B, C), in parts for the threads.

    None where there are too many, or one of the others is not finite: a zero would hide that.
    """
    if not all(bool(x.detach().sum().isfinite()) for x in others if x is not None):
        return None
    return _list_events(events.detach().contiguous().flatten(0, 1).numpy())


def _list_events(rows: np.ndarray) -> list[Events] | None:
    """The events of (M, C), in parts for the threads; None if there are too many."""
    if np.count_nonzero(rows[::SAMPLED]) > MOST_EVENTS * rows[::SAMPLED].size:
        return None

    def run(first: int, last: int) -> Events | None:
        first, last = first * CHUNK, min(last * CHUNK, len(rows))
        most = int(MOST_EVENTS * rows[first:last].size)
        start = np.empty(last - first + 1, np.int64)
        sender, value = np.empty(most, np.int32), np.empty(most, rows.dtype)
        if not list_entries(rows, (first, last), start, sender, value):
            return None
        return Events((first, last), start, sender[: start[-1]].copy(), value[: start[-1]].copy())

    parts = in_threads(run, -(-len(rows) // CHUNK))
    listed = [part for part in parts if part is not None]
    return listed if len(listed) == len(parts) else None


def _factors(mask: Tensor | None, receivers: int, like: Tensor) -> np.ndarray:
    """The mask as (B, N), or (0, N) if there is none."""
    tensor = like.new_empty((0, receivers)) if mask is None else mask
    return tensor.detach().contiguous().numpy()


def _products(
    listed: list[Events], events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Currents of the listed events, (T, B, N)."""
    steps, batch, _ = events.shape
    receivers = len(weight)
    out = empty((steps * batch, receivers), events.dtype)
    table = panels(weight.detach()).numpy()
    padded = np.zeros(len(table) * LANES, table.dtype)
    if bias is not None:
        padded[:receivers] = bias.detach().numpy()
    scale = _factors(mask, receivers, out)

    def run(first: int, last: int) -> None:
        for part in listed[first:last]:
            linear_of_events(*part, table, padded, scale, out.numpy())

    in_threads(run, len(listed))
    return out.unflatten(0, (steps, batch))


def _gradients(
    listed: list[Events], grad: Tensor, weight: Tensor, mask: Tensor | None, need: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Those of events, weight and bias that are needed; the others are empty."""
    need_events, need_weight, need_bias = need
    receivers, senders = weight.shape
    flat = grad.contiguous().flatten(0, 1)
    by_events = empty((len(flat), senders) if need_events else (0, 0), flat.dtype)
    transposed = pack(weight.T if need_events else weight[:0])
    scale = _factors(mask, receivers, flat)
    blocks = -(-receivers // LANES)

    def run(first: int, last: int) -> list[tuple[Tensor, Tensor]]:
        sums = []
        for part in listed[first:last]:
            by_weight = flat.new_zeros((blocks, senders if need_weight else 0, LANES))
            by_bias = torch.zeros(blocks * LANES, dtype=torch.float64)
            linear_of_events_backward(
                *part, flat.numpy(), scale, transposed,
                by_events[None].numpy(), by_weight.numpy(), by_bias.numpy(),
            )  # fmt: skip
            sums.append((by_weight, by_bias))
        return sums

    parts = [sums for found in in_threads(run, len(listed)) for sums in found]
    square = reduce(torch.add, [part[0] for part in parts])
    total = reduce(torch.add, [part[1] for part in parts]).to(grad.dtype)
    return (
        by_events.unflatten(0, grad.shape[:2]) if need_events else by_events,
        square.transpose(1, 2).flatten(0, 1)[: receivers if need_weight else 0].contiguous(),
        total[: receivers if need_bias else 0],
    )


def _run(events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """Currents, (T, B, N), in the way that takes less."""
    listed = _listed(events, weight, bias, mask)
    if listed is None:
        return functional.linear(events, weight, bias, mask)
    return _products(listed, events, weight, bias, mask)


def _fake(events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    return events.new_empty((*events.shape[:2], weight.shape[0]))


def _backward(
    grad: Tensor, events: Tensor, weight: Tensor, mask: Tensor | None, *need: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See ``_gradients``."""
    listed = _listed(events, weight, mask)
    if listed is not None:
        return _gradients(listed, grad, weight, mask, need)
    grad = grad if mask is None else grad * mask
    rows, nothing = grad.flatten(0, 1), grad.new_empty((0, 0))
    need_events, need_weight, need_bias = need
    return (
        grad @ weight if need_events else nothing,
        rows.T @ events.flatten(0, 1) if need_weight else nothing.clone(),
        rows.sum(0) if need_bias else nothing.flatten().clone(),
    )


def _fake_backward(
    grad: Tensor, events: Tensor, weight: Tensor, mask: Tensor | None, *need: bool
) -> tuple[Tensor, Tensor, Tensor]:
    need_events, need_weight, need_bias = need
    receivers, senders = weight.shape
    return (
        grad.new_empty(events.shape if need_events else (0, 0)),
        grad.new_empty((receivers, senders) if need_weight else (0, 0)),
        grad.new_empty(receivers if need_bias else 0),
    )


ARGUMENTS = "Tensor events, Tensor weight, Tensor? bias, Tensor? mask"
FORWARD = operator(f"linear_forward({ARGUMENTS}) -> Tensor", _run, _fake)
BACKWARD = operator(
    "linear_backward(Tensor grad, Tensor events, Tensor weight, Tensor? mask, bool need_events, "
    "bool need_weight, bool need_bias) -> (Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
)


class LinearOfEvents(torch.autograd.Function):
    """``functional.linear`` of events.

    Where they are listed, the lists are saved and not the inputs; else, in graphs and inside
    ``torch.func``, the operators list them, in both passes.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        events: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
        listed: list[Events] | None,
    ) -> Tensor:
        """Currents, (T, B, N)."""
        if listed is not None:
            return _products(listed, events, weight, bias, mask)
        current: Tensor = FORWARD(events, weight, bias, mask)
        return current

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save what the backward pass reads."""
        events, weight, _, mask, ctx.listed = inputs
        ctx.save_for_backward(events if ctx.listed is None else None, weight, mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments of ``forward``."""
        events, weight, mask = ctx.saved_tensors
        need = ctx.needs_input_grad[:3]
        if ctx.listed is not None:
            found = _gradients(ctx.listed, grad, weight, mask, need)
        else:
            found = BACKWARD(grad, events, weight, mask, *need)
        wanted = [x if needed else None for x, needed in zip(found, need, strict=True)]
        return *wanted, None, None


_linear = differentiable(
    f"linear({ARGUMENTS}) -> Tensor", lambda *xs: apply(LinearOfEvents, *xs, None), _fake
)
