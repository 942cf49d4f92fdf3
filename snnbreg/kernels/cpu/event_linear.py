"""Linear layers on the CPU whose inputs are rare events, with their backward pass."""

from __future__ import annotations

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
    listed = None
    if _supports(events, weight, bias, mask):
        listed = _list_events(events.detach().contiguous().flatten(0, 1).numpy())
    if listed is None:
        return functional.linear(events, weight, bias, mask)
    return _LinearOfEvents.apply(events, weight, bias, mask, listed)


def _supports(events: Tensor, *others: Tensor | None) -> bool:
    """Whether the types fit, and the parameters are finite: a zero hides one that is not."""
    tensors = [events, *(other for other in others if other is not None)]
    return (
        events.numel() > 0
        and events.dtype in (torch.float32, torch.float64)
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and all(tensor.dtype == events.dtype for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and all(bool(tensor.detach().sum().isfinite()) for tensor in tensors[1:])
    )


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


class _LinearOfEvents(torch.autograd.Function):
    """``functional.linear`` of events that are listed; saved are the lists, not the inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        events: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
        listed: list[Events],
    ) -> Tensor:
        """Currents, (T, B, N)."""
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
        ctx.save_for_backward(weight, mask)
        ctx.listed, ctx.shape = listed, events.shape
        return out.unflatten(0, (steps, batch))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments of ``forward``."""
        weight, mask = ctx.saved_tensors
        need_events, need_weight, need_bias = ctx.needs_input_grad[:3]
        receivers, senders = weight.shape
        flat = grad.contiguous().flatten(0, 1)
        by_events = empty((1, len(flat), senders if need_events else 0), flat.dtype)
        transposed = pack(weight.T if need_events else weight[:0])
        scale = _factors(mask, receivers, flat)
        blocks = -(-receivers // LANES)

        def run(first: int, last: int) -> list[tuple[Tensor, Tensor]]:
            sums = []
            for part in ctx.listed[first:last]:
                by_weight = flat.new_zeros((blocks, senders if need_weight else 0, LANES))
                by_bias = torch.zeros(blocks * LANES, dtype=torch.float64)
                linear_of_events_backward(
                    *part, flat.numpy(), scale, transposed,
                    by_events.numpy(), by_weight.numpy(), by_bias.numpy(),
                )  # fmt: skip
                sums.append((by_weight, by_bias))
            return sums

        parts = [sums for found in in_threads(run, len(ctx.listed)) for sums in found]
        grad_weight = grad_bias = None
        if need_weight:
            square = reduce(torch.add, [part[0] for part in parts])
            grad_weight = square.transpose(1, 2).flatten(0, 1)[:receivers]
        if need_bias:
            total = reduce(torch.add, [part[1] for part in parts])
            grad_bias = total[:receivers].to(grad.dtype)
        return (
            by_events.reshape(ctx.shape) if need_events else None,
            grad_weight,
            grad_bias,
            None,
            None,
        )
