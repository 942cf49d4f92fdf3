"""Feed-forward synapses with delays on the CPU, with their backward pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from ... import functional
from ...functional.feedforward import FEED_FORWARD
from . import filter as delay_filter
from .lanes import LANES
from .operators import arrays, of_two
from .synaptic_linear import convolve
from .threads import in_threads


def delayed_linear(
    events: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    delay: Tensor,
    half_width: Tensor,
) -> Tensor:
    """Currents of synapses whose events arrive late: see ``functional.delayed_linear``.

    Float32 and float64; anything else is computed by ``functional``. With delays per synapse work
    is proportional to the events, but for the gradient of the events.

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
    if not supported or events.numel() == 0:
        return functional.delayed_linear(events, weight, bias, delay, half_width)
    functional.check_delayed_linear(events, weight, bias, delay, half_width)
    kernel = functional.feedforward_kernel(delay, half_width, len(events))
    if delay.ndim == 1:
        return linear(_filter(events, kernel), weight, bias)
    current: Tensor = convolve(events, weight * kernel)
    return current if bias is None else current + bias


def _run(events: Tensor, kernel: Tensor) -> Tensor:
    """z, (T, B, C), from the kernels h, (K, C)."""
    functional.check_finite(FEED_FORWARD, kernel)
    events = events.contiguous()
    out = torch.empty_like(events)
    given = *arrays(events), *_compact(*arrays(kernel)), *arrays(out)
    in_threads(lambda *run: delay_filter.filter_events(run, *given), events.shape[1])
    return out


def _fake(events: Tensor, kernel: Tensor) -> Tensor:
    return events.new_empty(events.shape)


def _backward(
    grad: Tensor, events: Tensor, kernel: Tensor, need_events: bool, need_kernel: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the events, and of the kernels; empty where not wanted.

    The latter is exact at the ages where a kernel is above zero. At the others it is zero, as
    everything that ``delay_kernel`` passes on from there.
    """
    first, count, table = _compact(*arrays(kernel))
    by_events = events.new_empty(events.shape if need_events else (0, 0, 0))
    read = *arrays(grad, events), first, count, table

    def run(begin: int, end: int) -> np.ndarray:
        by_kernel = np.zeros(table.shape if need_kernel else (0, 0))
        delay_filter.filter_events_backward((begin, end), *read, by_events.numpy(), by_kernel)
        return by_kernel

    sums = sum(in_threads(run, events.shape[1]))
    if not need_kernel:
        return by_events, kernel.new_empty((0, 0))
    wide = np.zeros((kernel.shape[1], len(kernel) + table.shape[1]))
    np.put_along_axis(wide, first[:, None] + np.arange(table.shape[1]), sums, 1)
    by_kernel = torch.from_numpy(wide[:, : len(kernel)]).T
    return by_events, by_kernel.to(kernel.dtype, memory_format=torch.contiguous_format)


_filter = of_two("filter", _run, _fake, _backward)
"""``functional.filter_events``, see ``_run``."""


def _compact(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first age above zero of each kernel, (K, C), their number, and the values from there."""
    above = kernel.T > 0
    first = np.where(above.any(1), above.argmax(1), 0)
    count = above.sum(1)  # a triangle has no gaps
    length = max(1, -(-int(count.max()) // LANES)) * LANES
    ages = first[:, None] + np.arange(length)
    padded = np.pad(kernel.T, ((0, 0), (0, length)))
    return first, count, np.ascontiguousarray(np.take_along_axis(padded, ages, 1))
