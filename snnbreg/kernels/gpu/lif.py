"""The kernels of a LIF layer without recurrence, written in Triton.

Each program computes all steps of BLOCK columns, and reads four steps at once, so that several
reads run at the same time.

Legend: T steps, M columns (samples x neurons); ``NEURON`` is a ``LIFParameters``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .equations import next_membrane_slope, reset_membrane, surrogate_slope


@triton.jit
def lif_step(
    x: tl.tensor,
    v: tl.tensor,
    t: tl.tensor,
    out: tl.tensor,
    membrane: tl.tensor,
    at: tl.tensor,
    steps: tl.tensor,
    size: tl.tensor,
    NEURON: tl.constexpr,
    RECORDED: tl.constexpr,
) -> tl.tensor:
    """Charge, spike and reset of step t; writes nothing if t >= T."""
    h = x + v * NEURON.leak
    fired = h >= NEURON.threshold
    inside = at < tl.where(t < steps, size, 0)
    place = t.to(tl.int64) * size + at
    tl.store(out + place, fired.to(x.dtype), mask=inside)
    if RECORDED:
        tl.store(membrane + place, h, mask=inside)
    return reset_membrane(h, fired, NEURON)


@triton.jit
def load_step(
    source: tl.tensor, t: tl.tensor, at: tl.tensor, steps: tl.tensor, size: tl.tensor
) -> tl.tensor:
    """The columns of step t, zeros if t < 0 or t >= T."""
    inside = at < tl.where((t >= 0) & (t < steps), size, 0)
    return tl.load(source + t.to(tl.int64) * size + at, mask=inside, other=0.0)


@triton.jit(do_not_specialize=["steps", "size"])
def run_lif(
    current: tl.tensor,  # (T, M)
    out: tl.tensor,  # (T, M), written: the spikes
    membrane: tl.tensor,  # (T, M), written if RECORDED
    steps: tl.tensor,
    size: tl.tensor,
    NEURON: tl.constexpr,
    RECORDED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All steps of BLOCK columns."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.zeros((BLOCK,), current.dtype.element_ty)
    t = steps * 0
    while t < steps:
        x0 = load_step(current, t, at, steps, size)
        x1 = load_step(current, t + 1, at, steps, size)
        x2 = load_step(current, t + 2, at, steps, size)
        x3 = load_step(current, t + 3, at, steps, size)
        v = lif_step(x0, v, t, out, membrane, at, steps, size, NEURON, RECORDED)
        v = lif_step(x1, v, t + 1, out, membrane, at, steps, size, NEURON, RECORDED)
        v = lif_step(x2, v, t + 2, out, membrane, at, steps, size, NEURON, RECORDED)
        v = lif_step(x3, v, t + 3, out, membrane, at, steps, size, NEURON, RECORDED)
        t += 4


@triton.jit
def lif_step_backward(
    g: tl.tensor,
    h: tl.tensor,
    grad_h_next: tl.tensor,
    t: tl.tensor,
    grad_current: tl.tensor,
    at: tl.tensor,
    size: tl.tensor,
    NEURON: tl.constexpr,
) -> tl.tensor:
    """Gradient of the current of step t; writes nothing if t < 0."""
    slope = surrogate_slope(h, NEURON)
    grad_h = g * slope + grad_h_next * next_membrane_slope(h, slope, NEURON)
    inside = at < tl.where(t >= 0, size, 0)
    tl.store(grad_current + t.to(tl.int64) * size + at, grad_h, mask=inside)
    return grad_h


@triton.jit(do_not_specialize=["steps", "size"])
def lif_backward(
    grad: tl.tensor,  # (T, M), of the spikes
    membrane: tl.tensor,  # (T, M)
    grad_current: tl.tensor,  # (T, M), written
    steps: tl.tensor,
    size: tl.tensor,
    NEURON: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Backward pass over all steps of BLOCK columns."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    grad_h = tl.zeros((BLOCK,), grad.dtype.element_ty)
    t = steps - 1
    while t >= 0:
        g0 = load_step(grad, t, at, steps, size)
        h0 = load_step(membrane, t, at, steps, size)
        g1 = load_step(grad, t - 1, at, steps, size)
        h1 = load_step(membrane, t - 1, at, steps, size)
        g2 = load_step(grad, t - 2, at, steps, size)
        h2 = load_step(membrane, t - 2, at, steps, size)
        g3 = load_step(grad, t - 3, at, steps, size)
        h3 = load_step(membrane, t - 3, at, steps, size)
        grad_h = lif_step_backward(g0, h0, grad_h, t, grad_current, at, size, NEURON)
        grad_h = lif_step_backward(g1, h1, grad_h, t - 1, grad_current, at, size, NEURON)
        grad_h = lif_step_backward(g2, h2, grad_h, t - 2, grad_current, at, size, NEURON)
        grad_h = lif_step_backward(g3, h3, grad_h, t - 3, grad_current, at, size, NEURON)
        t -= 4
