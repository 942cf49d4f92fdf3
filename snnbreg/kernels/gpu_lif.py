"""The kernels of a LIF layer without recurrence, written in Triton.

Legend: T steps, M columns (samples times neurons); each program takes BLOCK columns through all
steps, and reads four steps at a time to have several reads under way. ``LIF`` is a
``LIFParameters``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu_equations import carry_over, discharge, slope_at


@triton.jit
def forward_step(
    x: tl.tensor,
    v: tl.tensor,
    t: tl.tensor,
    out: tl.tensor,
    membrane: tl.tensor,
    at: tl.tensor,
    steps: tl.tensor,
    size: tl.tensor,
    LIF: tl.constexpr,
    RECORDED: tl.constexpr,
) -> tl.tensor:
    """Charge, spike and reset of step t; writes nothing from step T on."""
    h = x + v * LIF.leak
    fired = h >= LIF.threshold
    inside = at < tl.where(t < steps, size, 0)
    place = t.to(tl.int64) * size + at
    tl.store(out + place, fired.to(x.dtype), mask=inside)
    if RECORDED:
        tl.store(membrane + place, h, mask=inside)
    return discharge(h, fired, LIF)


@triton.jit
def read(
    source: tl.tensor, t: tl.tensor, at: tl.tensor, steps: tl.tensor, size: tl.tensor
) -> tl.tensor:
    """Columns of step t, zeros outside."""
    inside = at < tl.where((t >= 0) & (t < steps), size, 0)
    return tl.load(source + t.to(tl.int64) * size + at, mask=inside, other=0.0)


@triton.jit(do_not_specialize=["steps", "size"])
def forward(
    current: tl.tensor,  # (T, M)
    out: tl.tensor,  # (T, M), written: the spikes
    membrane: tl.tensor,  # (T, M), written if RECORDED
    steps: tl.tensor,
    size: tl.tensor,
    LIF: tl.constexpr,
    RECORDED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All steps of BLOCK columns."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.zeros((BLOCK,), current.dtype.element_ty)
    t = steps * 0
    while t < steps:
        x0 = read(current, t, at, steps, size)
        x1 = read(current, t + 1, at, steps, size)
        x2 = read(current, t + 2, at, steps, size)
        x3 = read(current, t + 3, at, steps, size)
        v = forward_step(x0, v, t, out, membrane, at, steps, size, LIF, RECORDED)
        v = forward_step(x1, v, t + 1, out, membrane, at, steps, size, LIF, RECORDED)
        v = forward_step(x2, v, t + 2, out, membrane, at, steps, size, LIF, RECORDED)
        v = forward_step(x3, v, t + 3, out, membrane, at, steps, size, LIF, RECORDED)
        t += 4


@triton.jit
def backward_step(
    g: tl.tensor,
    h: tl.tensor,
    later: tl.tensor,
    t: tl.tensor,
    grad_current: tl.tensor,
    at: tl.tensor,
    size: tl.tensor,
    LIF: tl.constexpr,
) -> tl.tensor:
    """Gradient of the current of step t; writes nothing before step 0."""
    slope = slope_at(h, LIF)
    now = g * slope + later * carry_over(h, slope, LIF)
    inside = at < tl.where(t >= 0, size, 0)
    tl.store(grad_current + t.to(tl.int64) * size + at, now, mask=inside)
    return now


@triton.jit(do_not_specialize=["steps", "size"])
def backward(
    grad: tl.tensor,  # (T, M): of the spikes
    membrane: tl.tensor,  # (T, M)
    grad_current: tl.tensor,  # (T, M), written
    steps: tl.tensor,
    size: tl.tensor,
    LIF: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All steps back of BLOCK columns."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    now = tl.zeros((BLOCK,), grad.dtype.element_ty)
    t = steps - 1
    while t >= 0:
        g0 = read(grad, t, at, steps, size)
        h0 = read(membrane, t, at, steps, size)
        g1 = read(grad, t - 1, at, steps, size)
        h1 = read(membrane, t - 1, at, steps, size)
        g2 = read(grad, t - 2, at, steps, size)
        h2 = read(membrane, t - 2, at, steps, size)
        g3 = read(grad, t - 3, at, steps, size)
        h3 = read(membrane, t - 3, at, steps, size)
        now = backward_step(g0, h0, now, t, grad_current, at, size, LIF)
        now = backward_step(g1, h1, now, t - 1, grad_current, at, size, LIF)
        now = backward_step(g2, h2, now, t - 2, grad_current, at, size, LIF)
        now = backward_step(g3, h3, now, t - 3, grad_current, at, size, LIF)
        t -= 4
