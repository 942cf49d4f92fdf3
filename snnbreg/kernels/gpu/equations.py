"""Parts of the GPU kernels: LIF equations, the shape of a delay kernel, the product with W.

Triton inlines these functions into the kernels of ``axonal`` and ``lif``; the equations are in
``snnbreg.functional``. ``NEURON`` is a ``LIFParameters``, a constant when the kernel is compiled.
"""

from __future__ import annotations

import triton
import triton.language as tl

NEVER = tl.constexpr(1 << 30)
"""An age that does not occur."""
MAX_DELAY = tl.constexpr(float(1 << 24))
"""Longest delay and half-width in steps, so that ages fit into an integer."""


@triton.jit
def reset_membrane(h: tl.tensor, fired: tl.tensor, NEURON: tl.constexpr) -> tl.tensor:
    """Membrane V after the reset, from the membrane H before the spike; ``fired`` is boolean."""
    if NEURON.reset == "soft":
        return tl.where(fired, h - NEURON.threshold, h)
    return tl.where(fired, 0.0, h)


@triton.jit
def surrogate_slope(h: tl.tensor, NEURON: tl.constexpr) -> tl.tensor:
    """Derivative dS/dH by the surrogate."""
    x = h - NEURON.threshold
    if NEURON.surrogate == "triangle":
        return tl.maximum(1.0 - tl.abs(x), 0.0)
    x = x * (0.5 * 3.141592653589793 * NEURON.alpha)
    return (0.5 * NEURON.alpha) / (1.0 + x * x)


@triton.jit
def next_membrane_slope(h: tl.tensor, slope: tl.tensor, NEURON: tl.constexpr) -> tl.tensor:
    """Derivative dH[t+1]/dH[t] through reset and leak; ``slope`` is dS/dH at step t."""
    if NEURON.reset == "soft":
        dv_dh = tl.full(h.shape, 1.0, h.dtype)
        if not NEURON.detach_reset:
            dv_dh = 1.0 - NEURON.threshold * slope
    else:
        dv_dh = tl.where(h >= NEURON.threshold, 0.0, 1.0).to(h.dtype)
        if not NEURON.detach_reset:
            dv_dh = dv_dh - h * slope
    return NEURON.leak * dv_dh


@triton.jit
def load_kernel(delay: tl.tensor, width: tl.tensor, j: tl.tensor, N: tl.constexpr) -> tl.tuple:
    """d, s and 1/s^2 of the neurons j; 1/s^2 is NaN if d or s is not finite."""
    d = tl.load(delay + j, mask=j < N, other=0.0)
    s = tl.load(width + j, mask=j < N, other=1.0)
    finite = (tl.abs(d) < float("inf")) & (tl.abs(s) < float("inf"))
    d = tl.where(finite, tl.minimum(tl.maximum(d, -MAX_DELAY), MAX_DELAY), 0.0)
    s = tl.where(finite, tl.minimum(s, MAX_DELAY), 1.0)
    return d, s, tl.where(finite, 1.0 / (s * s), float("nan"))


@triton.jit
def inside_kernel(age: tl.tensor, delay: tl.tensor, width: tl.tensor) -> tl.tensor:
    """Whether h(age) > 0, decided by the operations of ``functional.delay_kernel``."""
    return width - tl.abs((age - 1).to(delay.dtype) - delay) > 0.0


@triton.jit
def kernel_ages(delay: tl.tensor, width: tl.tensor) -> tl.tuple:
    """Ages at which a spike enters the kernel, is at its peak, crosses the peak, and leaves.

    Arguments and results are (N,). The age of crossing is NEVER if the spike enters after the
    peak; the ages of entering, crossing and leaving are NEVER if h(k) = 0 for all k >= 1.
    """
    peak = tl.floor(delay).to(tl.int32) + 1
    center = delay.to(tl.float64) + 1.0
    first = tl.floor(center - width).to(tl.int32)  # the first age inside is next to it
    enter = tl.where(inside_kernel(first + 1, delay, width), first + 1, first + 2)
    enter = tl.maximum(tl.where(inside_kernel(first, delay, width), first, enter), 1)
    last = tl.ceil(center + width).to(tl.int32)
    leave = tl.where(inside_kernel(last, delay, width), last + 1, last)
    leave = tl.where(inside_kernel(last - 1, delay, width), leave, last - 1)
    empty = leave <= enter
    cross = tl.where(empty | (enter > peak), NEVER, peak + 1)
    enter = tl.where(empty, NEVER, enter)
    leave = tl.where(empty, NEVER, leave)
    return enter, peak, cross, leave


@triton.jit
def kernel_height(
    age: tl.tensor, enter: tl.tensor, leave: tl.tensor, delay: tl.tensor, width: tl.tensor
) -> tl.tensor:
    """h(age) in float64, zero outside enter <= age < leave."""
    h = (width - tl.abs((age - 1).to(tl.float64) - delay)) / (width * width)
    return tl.where((age >= enter) & (age < leave), tl.maximum(h, 0.0), 0.0)


@triton.jit
def gradient_tap(
    which: tl.constexpr,
    corner: tl.tensor,
    repeated: tl.tensor,
    short: tl.tensor,
    enter: tl.tensor,
    leave: tl.tensor,
    delay: tl.tensor,
    width: tl.tensor,
) -> tl.tuple:
    """Age and weight (float64) of one of the six taps of the recursion for a spike's gradient.

    The weight is the kernel's second difference at a corner, 0 if another tap has the same corner;
    or h(age) itself if the kernel has up to six ages. The age is NEVER if the weight is 0.
    """
    second_difference = kernel_height(corner, enter, leave, delay, width)
    second_difference += kernel_height(corner - 2, enter, leave, delay, width)
    second_difference -= 2.0 * kernel_height(corner - 1, enter, leave, delay, width)
    age = tl.where(short, enter + which, corner)
    direct = kernel_height(age, enter, leave, delay, width)
    weight = tl.where(short, direct, tl.where(repeated, 0.0, second_difference))
    return tl.where(weight == 0.0, NEVER, age), weight


@triton.jit
def spikes_of_age(
    history: tl.tensor, t: tl.tensor, age: tl.tensor, slot: tl.tensor, SIZE: tl.constexpr
) -> tl.tensor:
    """Spikes of step t - age as int32; each row (neuron) has its own age.

    ``history`` is (T, ROWS, LANES) bytes of one tile, ``slot`` the offset within a step, which has
    SIZE elements.
    """
    past = t - age
    row = tl.where(past >= 0, past, 0) * SIZE
    return tl.load(history + row[:, None] + slot, mask=(past >= 0)[:, None], other=0).to(tl.int32)


@triton.jit
def streamed_product(
    matrix: tl.tensor,
    vectors: tl.tensor,
    row: tl.tensor,
    b: tl.tensor,
    batch: tl.tensor,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Product of the matrix (ROWS, ROWS) with the vectors of one step, (B, N): (ROWS, LANES).

    ``row`` is (ROWS, 1), the index of the matrix's rows. Both factors are read in blocks; the next
    blocks are read while one is multiplied.
    """
    k = tl.arange(0, BLOCK)
    total = tl.zeros((ROWS, LANES), vectors.dtype.element_ty)
    for first in tl.range(0, N, BLOCK, num_stages=3):
        left = tl.load(matrix + row * ROWS + (first + k)[None, :])
        present = ((first + k) < N)[:, None] & (b < batch)[None, :]
        right = tl.load(vectors + b[None, :] * N + (first + k)[:, None], mask=present, other=0.0)
        total = tl.dot(
            left, right.to(left.dtype), total, input_precision=PRECISION, out_dtype=total.dtype
        )
    return total
