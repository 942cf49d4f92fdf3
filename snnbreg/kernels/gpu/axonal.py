"""The kernels of a recurrent layer with axonal delays, written in Triton.

Samples are independent until the gradients are summed, so one program computes all steps of
``LANES`` samples and all N neurons; no program waits for another one, and there is one launch per
layer and pass. The state of one step is (ROWS, LANES): neurons x samples, with ROWS = N rounded up
to a power of two.

**Delayed spikes z.** Spikes are 0 or 1 and the delay kernel is linear on both sides of its peak,
so three integers per neuron and sample give z exactly, for any delay and spread. With the age
p = floor(1 + d), the fraction f = d - floor(d), and k the ages of the spikes with h(k) > 0:

    n = their number,   c = number with k > p - number with k <= p,   m = - sum |k - p|
    z = (s n + f c + m) / s^2,   dz/dd = c / s^2,   dz/ds = n / s^2 - 2 z / s

In each step all ages grow by one (m -= c), and three reads of the spike history count the spikes
that enter the kernel, cross its peak and leave it. The history is stored as bytes, (tiles, T, ROWS,
LANES), so that the samples of one neuron and step are one read of 16 bytes.

**Product with W.** A small W stays on the chip for all steps (``RESIDENT``); a larger one is read
in blocks from the second-level cache, and z (in the backward pass dR) is exchanged through memory.

**Gradient of a spike.** g[t] = sum_k h(k) dz[t+k] is computed by a recursion with the kernel's
second difference, which has at most six non-zero entries (taps), in float64; a kernel with up to
six ages is summed directly.

The outer loops are ``while`` loops so that Triton does not prefetch across steps: a step reads
what the step before has written. ``NEURON`` is a ``LIFParameters``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .equations import (
    NEVER,
    gradient_tap,
    kernel_ages,
    load_kernel,
    next_membrane_slope,
    reset_membrane,
    spikes_of_age,
    streamed_product,
    surrogate_slope,
)


@triton.jit
def update_counters(
    history: tl.tensor,
    t: tl.tensor,
    slot: tl.tensor,
    enter: tl.tensor,
    peak: tl.tensor,
    cross: tl.tensor,
    leave: tl.tensor,
    n: tl.tensor,
    c: tl.tensor,
    m: tl.tensor,
    SIZE: tl.constexpr,
) -> tl.tuple:
    """The counters n, c and m of step t from those of step t - 1, int32."""
    entered = spikes_of_age(history, t, enter, slot, SIZE)
    crossed = spikes_of_age(history, t, cross, slot, SIZE)
    left = spikes_of_age(history, t, leave, slot, SIZE)
    side = tl.where(enter > peak, 1, -1)[:, None]
    depth = tl.abs(enter - peak)[:, None]
    m += left * (leave - peak)[:, None] - entered * depth - crossed * 2 - c
    c += entered * side + crossed * 2 - left
    n += entered - left
    return n, c, m


@triton.jit(do_not_specialize=["steps", "batch"])
def run_axonal(
    current: tl.tensor,  # (T, B, N)
    weight: tl.tensor,  # (ROWS, ROWS), zeros below and right of W; float type or bfloat16
    delay: tl.tensor,  # (N,)
    width: tl.tensor,  # (N,)
    mask: tl.tensor,  # (B, N), not read unless MASKED
    out: tl.tensor,  # (T, B, N), written: the spikes
    history: tl.tensor,  # (tiles, T, ROWS, LANES) bytes, written: the spikes
    membrane: tl.tensor,  # (tiles, T, ROWS, LANES), written if RECORDED
    z_out: tl.tensor,  # (T, B, N) if RECORDED, else (1, B, N); z, written
    steps: tl.tensor,
    batch: tl.tensor,
    N: tl.constexpr,
    NEURON: tl.constexpr,
    MASKED: tl.constexpr,
    RECORDED: tl.constexpr,
    RESIDENT: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """All steps of a tile of samples."""
    tile = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, ROWS)
    lane = tl.arange(0, LANES)
    b = tl.program_id(0) * LANES + lane
    valid = (j < N)[:, None] & (b < batch)[None, :]
    place = b[None, :] * N + j[:, None]
    slot = j[:, None] * LANES + lane[None, :]
    SIZE: tl.constexpr = ROWS * LANES
    history += tile * steps * SIZE
    membrane += tile * steps * SIZE
    d, s, scale = load_kernel(delay, width, j, N)
    enter, peak, cross, leave = kernel_ages(d, s)
    fraction = (d - tl.floor(d))[:, None]
    s, scale = s[:, None], scale[:, None]
    mask_tile = tl.zeros((ROWS, LANES), d.dtype)
    if MASKED:
        mask_tile = tl.load(mask + place, mask=valid, other=0.0)
    if RESIDENT:
        w = tl.load(weight + j[:, None] * ROWS + j[None, :])
    n = tl.zeros((ROWS, LANES), tl.int32)
    c = tl.zeros((ROWS, LANES), tl.int32)
    m = tl.zeros((ROWS, LANES), tl.int32)
    v = tl.zeros((ROWS, LANES), d.dtype)
    t = 0
    while t < steps:
        h = tl.load(current + place, mask=valid, other=0.0)
        n, c, m = update_counters(history, t, slot, enter, peak, cross, leave, n, c, m, SIZE)
        z = (n.to(d.dtype) * s + c.to(d.dtype) * fraction + m.to(d.dtype)) * scale
        if RECORDED or not RESIDENT:
            tl.store(z_out + place, z, mask=valid)
        if RESIDENT:
            recurrent = tl.dot(
                w, z.to(w.dtype), input_precision=PRECISION, out_dtype=d.dtype
            )  # fmt: skip
        else:
            tl.debug_barrier()
            recurrent = streamed_product(
                weight, z_out, j[:, None], b, batch, N, ROWS, LANES, BLOCK, PRECISION
            )
        if MASKED:
            recurrent = recurrent * mask_tile
        h = h + recurrent + v * NEURON.leak
        fired = (h >= NEURON.threshold) & valid
        v = reset_membrane(h, fired, NEURON)
        tl.store(out + place, fired.to(d.dtype), mask=valid)
        tl.store(history + t * SIZE + slot, fired.to(tl.uint8))
        if RECORDED:
            tl.store(membrane + slot, h)
            membrane += SIZE
            z_out += batch * N
        current += batch * N
        out += batch * N
        tl.debug_barrier()
        t += 1


@triton.jit(do_not_specialize=["steps", "batch"])
def axonal_backward(
    grad: tl.tensor,  # (T, B, N), of the spikes
    weight: tl.tensor,  # (ROWS, ROWS), the transposed W, as in run_axonal
    delay: tl.tensor,
    width: tl.tensor,
    mask: tl.tensor,
    membrane: tl.tensor,  # as left by run_axonal
    grad_z: tl.tensor,  # (tiles, T, ROWS, LANES), written: dz
    grad_current: tl.tensor,  # (T, B, N), written
    grad_recurrent: tl.tensor,  # (T, B, N), written: mask dI; unless MASKED, grad_current
    steps: tl.tensor,
    batch: tl.tensor,
    N: tl.constexpr,
    NEURON: tl.constexpr,
    MASKED: tl.constexpr,
    RESIDENT: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Backward pass over all steps of a tile; the pointers move from the last step to the first."""
    tile = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, ROWS)
    lane = tl.arange(0, LANES)
    b = tl.program_id(0) * LANES + lane
    valid = (j < N)[:, None] & (b < batch)[None, :]
    place = b[None, :] * N + j[:, None]
    slot = j[:, None] * LANES + lane[None, :]
    SIZE: tl.constexpr = ROWS * LANES
    grad_z += tile * steps * SIZE
    membrane += (tile * steps + steps - 1) * SIZE
    last = (steps - 1).to(tl.int64) * batch * N
    grad += last
    grad_current += last
    grad_recurrent += last
    d, s, _ = load_kernel(delay, width, j, N)
    enter, peak, _, leave = kernel_ages(d, s)
    d, s = d.to(tl.float64), s.to(tl.float64)
    short = (leave - enter <= 6) | (enter == NEVER)
    p = peak + 1
    age0, tap0 = gradient_tap(0, enter, enter < 0, short, enter, leave, d, s)
    age1, tap1 = gradient_tap(1, enter + 1, enter < 0, short, enter, leave, d, s)
    repeated = (p == enter) | (p == enter + 1)
    age2, tap2 = gradient_tap(2, p, repeated, short, enter, leave, d, s)
    repeated = (p + 1 == enter) | (p + 1 == enter + 1)
    age3, tap3 = gradient_tap(3, p + 1, repeated, short, enter, leave, d, s)
    age4, tap4 = gradient_tap(4, leave, enter < 0, short, enter, leave, d, s)  # far from the others
    age5, tap5 = gradient_tap(5, leave + 1, enter < 0, short, enter, leave, d, s)
    keep = tl.where(short, 0.0, 1.0).to(tl.float64)[:, None]
    mask_tile = tl.zeros((ROWS, LANES), grad.dtype.element_ty)
    if MASKED:
        mask_tile = tl.load(mask + place, mask=valid, other=0.0)
    if RESIDENT:
        w = tl.load(weight + j[:, None] * ROWS + j[None, :])
    value = tl.zeros((ROWS, LANES), tl.float64)
    difference = tl.zeros((ROWS, LANES), tl.float64)
    grad_h = tl.zeros((ROWS, LANES), mask_tile.dtype)
    t = steps - 1
    while t >= 0:
        grad_spikes = tl.load(grad + place, mask=valid, other=0.0)
        h = tl.load(membrane + slot)
        difference = keep * difference
        difference += weighted_gradient(grad_z, t, steps, age0, tap0, slot, SIZE)
        difference += weighted_gradient(grad_z, t, steps, age1, tap1, slot, SIZE)
        difference += weighted_gradient(grad_z, t, steps, age2, tap2, slot, SIZE)
        difference += weighted_gradient(grad_z, t, steps, age3, tap3, slot, SIZE)
        difference += weighted_gradient(grad_z, t, steps, age4, tap4, slot, SIZE)
        difference += weighted_gradient(grad_z, t, steps, age5, tap5, slot, SIZE)
        value = keep * value + difference
        slope = surrogate_slope(h, NEURON)
        next_slope = next_membrane_slope(h, slope, NEURON)
        grad_h = (grad_spikes + value.to(h.dtype)) * slope + grad_h * next_slope
        grad_h = tl.where(valid, grad_h, 0.0)
        tl.store(grad_current + place, grad_h, mask=valid)
        d_recurrent = grad_h
        if MASKED:
            d_recurrent = grad_h * mask_tile
            tl.store(grad_recurrent + place, d_recurrent, mask=valid)
        if RESIDENT:
            dz = tl.dot(
                w, d_recurrent.to(w.dtype), input_precision=PRECISION, out_dtype=h.dtype
            )  # fmt: skip
        else:
            tl.debug_barrier()
            dz = streamed_product(
                weight, grad_recurrent, j[:, None], b, batch, N, ROWS, LANES, BLOCK, PRECISION
            )
        tl.store(grad_z + t * SIZE + slot, dz)
        membrane -= SIZE
        grad -= batch * N
        grad_current -= batch * N
        grad_recurrent -= batch * N
        tl.debug_barrier()
        t -= 1


@triton.jit
def weighted_gradient(
    grad_z: tl.tensor,
    t: tl.tensor,
    steps: tl.tensor,
    age: tl.tensor,
    weight: tl.tensor,
    slot: tl.tensor,
    SIZE: tl.constexpr,
) -> tl.tensor:
    """``weight`` dz[t + age] in float64; each row (neuron) has its own age."""
    source = t + age
    row = tl.where(source < steps, source, 0) * SIZE
    dz = tl.load(grad_z + row[:, None] + slot, mask=(source < steps)[:, None], other=0.0)
    return weight[:, None] * dz.to(tl.float64)


@triton.jit(do_not_specialize=["steps"])
def kernel_gradients(
    history: tl.tensor,  # as left by run_axonal
    grad_z: tl.tensor,  # as left by axonal_backward
    delay: tl.tensor,
    width: tl.tensor,
    sums: tl.tensor,  # (tiles, 2, ROWS) float64, written: of d and of s
    steps: tl.tensor,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    PART: tl.constexpr,
) -> None:
    """Gradients of delays and half-widths of PART neurons, by the samples of one tile."""
    tile = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * PART + tl.arange(0, PART)
    slot = j[:, None] * LANES + tl.arange(0, LANES)[None, :]
    SIZE: tl.constexpr = ROWS * LANES
    history += tile * steps * SIZE
    grad_z += tile * steps * SIZE
    d, s, scale = load_kernel(delay, width, j, N)
    enter, peak, cross, leave = kernel_ages(d, s)
    # dz/dd is 0 for a spike exactly at the peak, which c counts as -1.
    on_peak = tl.where((d == tl.floor(d)) & (enter <= peak), peak, NEVER)
    fraction = (d - tl.floor(d))[:, None]
    s, scale = s[:, None], scale[:, None]
    n = tl.zeros((PART, LANES), tl.int32)
    c = tl.zeros((PART, LANES), tl.int32)
    m = tl.zeros((PART, LANES), tl.int32)
    by_delay = tl.zeros((PART, LANES), tl.float64)
    by_width = tl.zeros((PART, LANES), tl.float64)
    t = 0
    while t < steps:
        dz = tl.load(grad_z + slot)
        n, c, m = update_counters(history, t, slot, enter, peak, cross, leave, n, c, m, SIZE)
        side = (c + spikes_of_age(history, t, on_peak, slot, SIZE)).to(d.dtype)
        z = (n.to(d.dtype) * s + c.to(d.dtype) * fraction + m.to(d.dtype)) * scale
        by_delay += (dz * side * scale).to(tl.float64)
        by_width += (dz * (n.to(d.dtype) * scale - z * 2.0 / s)).to(tl.float64)
        grad_z += SIZE
        t += 1
    tl.store(sums + tile * 2 * ROWS + j, tl.sum(by_delay, 1))
    tl.store(sums + (tile * 2 + 1) * ROWS + j, tl.sum(by_width, 1))
