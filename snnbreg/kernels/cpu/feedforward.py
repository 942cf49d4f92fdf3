"""Feed-forward synapses with delays on the CPU, with their backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from ... import functional
from . import filter as delay_filter
from .lanes import LANES
from .threads import in_threads


def delayed_linear(
    events: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    delay: Tensor,
    half_width: Tensor,
) -> Tensor:
    """Currents of synapses whose events arrive late: see ``functional.delayed_linear``.

    Delays per sender in float32 or float64; anything else is computed by ``functional``.

    Args:
        events: X, frames or spikes of the senders, (T, B, C).
        weight: W, (N, C), row = receiver, column = sender.
        bias: b, (N,), or None.
        delay: d in steps, (C,) per sender (axonal) or (N, C) as ``weight`` (synaptic).
        half_width: s >= 1 in steps, a scalar tensor or (C,) per sender.

    Returns:
        Currents I, (T, B, N).

    Raises:
        ValueError: for shapes or types that do not fit together, and for values that are not
            finite in ``delay``, ``half_width`` or ``weight``.

    Example:
        >>> events = torch.zeros(5, 1, 1)
        >>> events[0] = 1.0
        >>> weight, delay = torch.ones(1, 1), torch.tensor([2.0])
        >>> delayed_linear(events, weight, None, delay, torch.tensor(2.0)).flatten()
        tensor([0.0000, 0.2500, 0.5000, 0.2500, 0.0000])
    """
    supported = events.device.type == "cpu" and events.dtype in (torch.float32, torch.float64)
    if delay.ndim == 2 or not supported or events.numel() == 0:
        return functional.delayed_linear(events, weight, bias, delay, half_width)
    functional.check_delayed_linear(events, weight, bias, delay, half_width)
    kernel = functional.feedforward_kernel(delay, half_width, len(events))
    return linear(_Filter.apply(events, kernel), weight, bias)


class _Filter(torch.autograd.Function):
    """``functional.filter_events``; the gradient of a kernel is exact at its ages above zero.

    At the others it is zero, as everything that ``delay_kernel`` passes on from there.
    """

    @staticmethod
    def forward(ctx: Any, events: Tensor, kernel: Tensor) -> Tensor:
        events = events.contiguous()
        table = _compact(kernel.detach().numpy())
        out = torch.empty_like(events)
        arrays = events.detach().numpy(), *table, out.numpy()
        in_threads(lambda *run: delay_filter.filter_events(run, *arrays), events.shape[1])
        ctx.save_for_backward(events, kernel)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        events, kernel = ctx.saved_tensors
        first, count, table = _compact(kernel.detach().numpy())
        by_events = (
            torch.empty_like(events) if ctx.needs_input_grad[0] else events.new_empty(0, 0, 0)
        )
        arrays = grad.contiguous().numpy(), events.detach().numpy(), first, count, table

        def run(begin: int, end: int) -> np.ndarray:
            by_kernel = np.zeros(table.shape if ctx.needs_input_grad[1] else (0, 0))
            delay_filter.filter_events_backward((begin, end), *arrays, by_events.numpy(), by_kernel)
            return by_kernel

        sums = sum(in_threads(run, events.shape[1]))
        by_kernel = None
        if ctx.needs_input_grad[1]:
            wide = np.zeros((kernel.shape[1], len(kernel) + table.shape[1]))
            ages = first[:, None] + np.arange(table.shape[1])
            np.put_along_axis(wide, ages, sums, 1)
            by_kernel = torch.from_numpy(wide[:, : len(kernel)]).to(kernel.dtype).T
        return (by_events if ctx.needs_input_grad[0] else None), by_kernel


def _compact(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first age above zero of each kernel, (K, C), their number, and the values from there."""
    above = kernel.T > 0
    first = np.where(above.any(1), above.argmax(1), 0)
    count = above.sum(1)  # a triangle has no gaps
    length = max(1, -(-int(count.max()) // LANES)) * LANES
    ages = first[:, None] + np.arange(length)
    padded = np.pad(kernel.T, ((0, 0), (0, length)))
    return first, count, np.ascontiguousarray(np.take_along_axis(padded, ages, 1))
