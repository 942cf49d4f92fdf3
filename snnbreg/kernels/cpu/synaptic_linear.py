"""Feed-forward synapses with a delay each as an operator of torch, with its backward pass."""

from __future__ import annotations

from torch import Tensor

from ...functional import check_finite
from ...functional.feedforward import FEED_FORWARD
from .autograd import total
from .convolve import convolve_events, convolve_events_backward, correlate
from .lanes import LANES
from .matrices import pack, panels
from .memory import empty
from .operators import arrays, of_two
from .threads import in_threads


def _run(events: Tensor, kernel: Tensor) -> Tensor:
    """I, (T, B, N), of events (T, B, C) and A, (K, N, C)."""
    check_finite(FEED_FORWARD, kernel)
    ages, receivers, senders = kernel.shape
    out = empty((*events.shape[:2], receivers), events.dtype)
    by_receiver = panels(kernel.detach().permute(1, 2, 0).flatten(1))
    given = arrays(events, by_receiver.unflatten(1, (senders, ages)), out)
    in_threads(lambda *run: convolve_events(run, *given), events.shape[1])
    return out


def _fake(events: Tensor, kernel: Tensor) -> Tensor:
    return events.new_empty((*events.shape[:2], kernel.shape[1]))


def _backward(
    grad: Tensor, events: Tensor, kernel: Tensor, need_events: bool, need_kernel: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the events and of A; empty where not wanted."""
    ages, receivers, senders = kernel.shape
    dI, x = arrays(grad, events)
    by_events = empty(events.shape if need_events else (0, 0, 0), events.dtype)
    by_kernel = kernel.new_empty((0, 0, 0))
    if need_events:
        packed = pack(kernel.permute(2, 0, 1).flatten(1))
        in_threads(
            lambda *run: correlate(run, dI, packed, ages, by_events.numpy()),
            -(-events.shape[1] // LANES),
        )
    if need_kernel:

        def run(first: int, last: int) -> Tensor:
            part = kernel.new_zeros((-(-receivers // LANES), senders, ages, LANES))
            convolve_events_backward((first, last), dI, x, part.numpy())
            return part

        square = total(in_threads(run, events.shape[1]))
        by_kernel = square.permute(2, 0, 3, 1).flatten(1, 2)[:, :receivers].contiguous()
    return by_events, by_kernel


convolve = of_two("convolve", _run, _fake, _backward)
"""Currents without a bias, from the arguments of ``_run``."""
