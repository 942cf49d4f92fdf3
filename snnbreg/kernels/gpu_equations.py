"""Parts of the GPU kernels: LIF equations, the shape of a delay kernel, the product with W.

Functions that Triton inlines into the kernels of ``gpu_axonal``, ``gpu_lif`` and ``gpu_gather``;
the equations are those of ``functional``. ``LIF`` is a ``LIFParameters`` known at compile time.
"""

from __future__ import annotations

import triton
import triton.language as tl

NEVER = tl.constexpr(1 << 30)
"""An age that no spike reaches."""
FAR = tl.constexpr(float(1 << 24))
"""Delays and half-widths are cut to this many steps, so that ages are whole numbers."""


@triton.jit
def discharge(h: tl.tensor, fired: tl.tensor, LIF: tl.constexpr) -> tl.tensor:
    """Membrane after the spike; ``fired`` is boolean."""
    if LIF.reset == "soft":
        return tl.where(fired, h - LIF.threshold, h)
    return tl.where(fired, 0.0, h)


@triton.jit
def slope_at(h: tl.tensor, LIF: tl.constexpr) -> tl.tensor:
    """Derivative of the spike by the surrogate."""
    x = h - LIF.threshold
    if LIF.surrogate == "triangle":
        return tl.maximum(1.0 - tl.abs(x), 0.0)
    x = x * (0.5 * 3.141592653589793 * LIF.alpha)
    return (0.5 * LIF.alpha) / (1.0 + x * x)


@triton.jit
def carry_over(h: tl.tensor, slope: tl.tensor, LIF: tl.constexpr) -> tl.tensor:
    """Derivative of the next membrane by this one, through leak and reset."""
    if LIF.reset == "soft":
        kept = tl.full(h.shape, 1.0, h.dtype)
        if not LIF.detach_reset:
            kept = 1.0 - LIF.threshold * slope
    else:
        kept = tl.where(h >= LIF.threshold, 0.0, 1.0).to(h.dtype)
        if not LIF.detach_reset:
            kept = kept - h * slope
    return LIF.leak * kept


@triton.jit
def kernel_shape(delay: tl.tensor, width: tl.tensor, j: tl.tensor, N: tl.constexpr) -> tl.tuple:
    """Delays d, half-widths s and 1/s^2 of the neurons j; 1/s^2 is NaN if one is not finite."""
    d = tl.load(delay + j, mask=j < N, other=0.0)
    s = tl.load(width + j, mask=j < N, other=1.0)
    finite = (tl.abs(d) < float("inf")) & (tl.abs(s) < float("inf"))
    d = tl.where(finite, tl.minimum(tl.maximum(d, -FAR), FAR), 0.0)
    s = tl.where(finite, tl.minimum(s, FAR), 1.0)
    return d, s, tl.where(finite, 1.0 / (s * s), float("nan"))


@triton.jit
def inside(age: tl.tensor, delay: tl.tensor, width: tl.tensor) -> tl.tensor:
    """Whether h(age) > 0, decided by the operations of ``functional.delay_kernel``."""
    return width - tl.abs((age - 1).to(delay.dtype) - delay) > 0.0


@triton.jit
def kernel_ages(delay: tl.tensor, width: tl.tensor) -> tl.tuple:
    """Ages at which a spike enters the kernel, stands at its peak, crosses it and leaves.

    Arguments and results are (N,); a spike crosses at NEVER if it enters right of the peak, and
    does nothing but NEVER where nothing of the kernel is left.
    """
    peak = tl.floor(delay).to(tl.int32) + 1
    exact = delay.to(tl.float64) + 1.0
    first = tl.floor(exact - width).to(tl.int32)  # the first age inside is next to it
    enter = tl.where(inside(first + 1, delay, width), first + 1, first + 2)
    enter = tl.maximum(tl.where(inside(first, delay, width), first, enter), 1)
    last = tl.ceil(exact + width).to(tl.int32)
    leave = tl.where(inside(last, delay, width), last + 1, last)
    leave = tl.where(inside(last - 1, delay, width), leave, last - 1)
    lost = leave <= enter
    cross = tl.where(lost | (enter > peak), NEVER, peak + 1)
    enter = tl.where(lost, NEVER, enter)
    leave = tl.where(lost, NEVER, leave)
    return enter, peak, cross, leave


@triton.jit
def height(
    age: tl.tensor, enter: tl.tensor, leave: tl.tensor, delay: tl.tensor, width: tl.tensor
) -> tl.tensor:
    """h(age) in float64, zero outside enter <= age < leave."""
    h = (width - tl.abs((age - 1).to(tl.float64) - delay)) / (width * width)
    return tl.where((age >= enter) & (age < leave), tl.maximum(h, 0.0), 0.0)


@triton.jit
def tap(
    which: tl.constexpr,
    corner: tl.tensor,
    repeated: tl.tensor,
    short: tl.tensor,
    enter: tl.tensor,
    leave: tl.tensor,
    delay: tl.tensor,
    width: tl.tensor,
) -> tl.tuple:
    """Age and weight (float64) of one of the six taps that filter the gradient of a spike.

    The kernel's second difference at a corner, nothing if another tap has the same corner; or, of
    a kernel with up to six ages, one of its heights. A weight of zero comes with age NEVER.
    """
    bend = height(corner, enter, leave, delay, width)
    bend += height(corner - 2, enter, leave, delay, width)
    bend -= 2.0 * height(corner - 1, enter, leave, delay, width)
    age = tl.where(short, enter + which, corner)
    direct = height(age, enter, leave, delay, width)
    weight = tl.where(short, direct, tl.where(repeated, 0.0, bend))
    return tl.where(weight == 0.0, NEVER, age), weight


@triton.jit
def spikes_ago(
    history: tl.tensor, t: tl.tensor, age: tl.tensor, slot: tl.tensor, SIZE: tl.constexpr
) -> tl.tensor:
    """Spikes of step t - age as int32, each row (neuron) with an age of its own.

    ``history`` is one tile's (T, ROWS, LANES) bytes, ``slot`` the place within a step of SIZE.
    """
    past = t - age
    row = tl.where(past >= 0, past, 0) * SIZE
    return tl.load(history + row[:, None] + slot, mask=(past >= 0)[:, None], other=0).to(tl.int32)


@triton.jit
def streamed(
    matrix: tl.tensor,
    vectors: tl.tensor,
    place: tl.tensor,
    b: tl.tensor,
    batch: tl.tensor,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Matrix (ROWS, ROWS) times the vectors of one step, (B, N) in memory: (ROWS, LANES).

    ``place`` is (ROWS, 1) and counts the matrix's rows. Both factors come block by block, the
    next blocks while one is multiplied.
    """
    k = tl.arange(0, BLOCK)
    total = tl.zeros((ROWS, LANES), vectors.dtype.element_ty)
    for first in tl.range(0, N, BLOCK, num_stages=3):
        left = tl.load(matrix + place * ROWS + (first + k)[None, :])
        present = ((first + k) < N)[:, None] & (b < batch)[None, :]
        right = tl.load(vectors + b[None, :] * N + (first + k)[:, None], mask=present, other=0.0)
        total = tl.dot(
            left, right.to(left.dtype), total, input_precision=PRECISION, out_dtype=total.dtype
        )
    return total
