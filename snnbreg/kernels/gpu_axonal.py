"""The kernels of a recurrent layer with axonal delays, written in Triton.

Samples do not meet before the sums of the gradients, so one program takes ``LANES`` samples and
all N neurons through all steps; nothing waits for another program, and there is one launch per
layer and pass. A step inside is (ROWS, LANES): neurons by samples, ROWS = N rounded up to a power
of two.

**Filter.** Spikes are 0 or 1 and the delay kernel is linear on both sides of its peak, so three
whole numbers per neuron and sample give z exactly, whatever the delay and the spread. Of the
spikes inside the kernel, with ages k, p = floor(1 + d) and the rest f = d - floor(d):

    n = number,   c = number right of the peak - number left of it,   m = - sum |k - p|
    z = (s n + f c + m) / s^2,   dz/dd = c / s^2,   dz/ds = n / s^2 - 2 z / s

Each step all ages grow by one (m -= c), and three single taps of the history move spikes in,
across the peak, and out. The history is bytes in memory, (tiles, T, ROWS, LANES), so that the
samples of one neuron and step are one read of 16 bytes.

**Product.** A small W stays on the chip for all steps (``RESIDENT``); a larger one streams from
the second-level cache in blocks, and z, or dR backward, is exchanged through memory.

**Gradient of a spike.** sum_k h(k) dz[t+k] is a recursion over the kernel's second difference, at
most six taps, in float64; a kernel with up to six ages is summed directly.

The outer loops are ``while`` so that Triton does not prefetch across steps: a step reads what the
one before wrote. ``LIF`` is a ``LIFParameters``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu_equations import (
    NEVER,
    carry_over,
    discharge,
    kernel_ages,
    kernel_shape,
    slope_at,
    spikes_ago,
    streamed,
    tap,
)


@triton.jit
def advance(
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
    """The three counters of step t from those of the step before, int32."""
    entered = spikes_ago(history, t, enter, slot, SIZE)
    crossed = spikes_ago(history, t, cross, slot, SIZE)
    left = spikes_ago(history, t, leave, slot, SIZE)
    side = tl.where(enter > peak, 1, -1)[:, None]
    depth = tl.abs(enter - peak)[:, None]
    m += left * (leave - peak)[:, None] - entered * depth - crossed * 2 - c
    c += entered * side + crossed * 2 - left
    n += entered - left
    return n, c, m


@triton.jit(do_not_specialize=["steps", "batch"])
def forward(
    current: tl.tensor,  # (T, B, N)
    weight: tl.tensor,  # (ROWS, ROWS), zeros below and right of W; float type or bfloat16
    delay: tl.tensor,  # (N,)
    width: tl.tensor,  # (N,)
    mask: tl.tensor,  # (B, N), not read unless MASKED
    out: tl.tensor,  # (T, B, N), written: the spikes
    history: tl.tensor,  # (tiles, T, ROWS, LANES) bytes, written: the spikes
    membrane: tl.tensor,  # (tiles, T, ROWS, LANES), written if RECORDED
    filtered: tl.tensor,  # (T, B, N) if RECORDED, else (1, B, N); z, written
    steps: tl.tensor,
    batch: tl.tensor,
    N: tl.constexpr,
    LIF: tl.constexpr,
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
    d, s, scale = kernel_shape(delay, width, j, N)
    enter, peak, cross, leave = kernel_ages(d, s)
    rest = (d - tl.floor(d))[:, None]
    s, scale = s[:, None], scale[:, None]
    held = tl.zeros((ROWS, LANES), d.dtype)
    if MASKED:
        held = tl.load(mask + place, mask=valid, other=0.0)
    if RESIDENT:
        kept = tl.load(weight + j[:, None] * ROWS + j[None, :])
    n = tl.zeros((ROWS, LANES), tl.int32)
    c = tl.zeros((ROWS, LANES), tl.int32)
    m = tl.zeros((ROWS, LANES), tl.int32)
    v = tl.zeros((ROWS, LANES), d.dtype)
    t = 0
    while t < steps:
        h = tl.load(current + place, mask=valid, other=0.0)
        n, c, m = advance(history, t, slot, enter, peak, cross, leave, n, c, m, SIZE)
        z = (n.to(d.dtype) * s + c.to(d.dtype) * rest + m.to(d.dtype)) * scale
        if RECORDED or not RESIDENT:
            tl.store(filtered + place, z, mask=valid)
        if RESIDENT:
            arrived = tl.dot(
                kept, z.to(kept.dtype), input_precision=PRECISION, out_dtype=d.dtype
            )  # fmt: skip
        else:
            tl.debug_barrier()
            arrived = streamed(
                weight, filtered, j[:, None], b, batch, N, ROWS, LANES, BLOCK, PRECISION
            )
        if MASKED:
            arrived = arrived * held
        h = h + arrived + v * LIF.leak
        fired = (h >= LIF.threshold) & valid
        v = discharge(h, fired, LIF)
        tl.store(out + place, fired.to(d.dtype), mask=valid)
        tl.store(history + t * SIZE + slot, fired.to(tl.uint8))
        if RECORDED:
            tl.store(membrane + slot, h)
            membrane += SIZE
            filtered += batch * N
        current += batch * N
        out += batch * N
        tl.debug_barrier()
        t += 1


@triton.jit(do_not_specialize=["steps", "batch"])
def backward(
    grad: tl.tensor,  # (T, B, N): of the spikes
    weight: tl.tensor,  # (ROWS, ROWS), the transposed W, as in forward
    delay: tl.tensor,
    width: tl.tensor,
    mask: tl.tensor,
    membrane: tl.tensor,  # as left by forward
    sent: tl.tensor,  # (tiles, T, ROWS, LANES), written: dz
    grad_current: tl.tensor,  # (T, B, N), written
    returned: tl.tensor,  # (T, B, N), written: dR = mask dI; unless MASKED, grad_current itself
    steps: tl.tensor,
    batch: tl.tensor,
    N: tl.constexpr,
    LIF: tl.constexpr,
    MASKED: tl.constexpr,
    RESIDENT: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """All steps back of a tile of samples; the pointers move from the last step to the first."""
    tile = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, ROWS)
    lane = tl.arange(0, LANES)
    b = tl.program_id(0) * LANES + lane
    valid = (j < N)[:, None] & (b < batch)[None, :]
    place = b[None, :] * N + j[:, None]
    slot = j[:, None] * LANES + lane[None, :]
    SIZE: tl.constexpr = ROWS * LANES
    sent += tile * steps * SIZE
    membrane += (tile * steps + steps - 1) * SIZE
    last = (steps - 1).to(tl.int64) * batch * N
    grad += last
    grad_current += last
    returned += last
    d, s, _ = kernel_shape(delay, width, j, N)
    enter, peak, _, leave = kernel_ages(d, s)
    d, s = d.to(tl.float64), s.to(tl.float64)
    short = (leave - enter <= 6) | (enter == NEVER)
    p = peak + 1
    age0, tap0 = tap(0, enter, enter < 0, short, enter, leave, d, s)
    age1, tap1 = tap(1, enter + 1, enter < 0, short, enter, leave, d, s)
    again = (p == enter) | (p == enter + 1)
    age2, tap2 = tap(2, p, again, short, enter, leave, d, s)
    again = (p + 1 == enter) | (p + 1 == enter + 1)
    age3, tap3 = tap(3, p + 1, again, short, enter, leave, d, s)
    age4, tap4 = tap(4, leave, enter < 0, short, enter, leave, d, s)  # far from the others
    age5, tap5 = tap(5, leave + 1, enter < 0, short, enter, leave, d, s)
    keep = tl.where(short, 0.0, 1.0).to(tl.float64)[:, None]
    held = tl.zeros((ROWS, LANES), grad.dtype.element_ty)
    if MASKED:
        held = tl.load(mask + place, mask=valid, other=0.0)
    if RESIDENT:
        kept = tl.load(weight + j[:, None] * ROWS + j[None, :])
    value = tl.zeros((ROWS, LANES), tl.float64)
    change = tl.zeros((ROWS, LANES), tl.float64)
    now = tl.zeros((ROWS, LANES), held.dtype)
    t = steps - 1
    while t >= 0:
        outside = tl.load(grad + place, mask=valid, other=0.0)
        h = tl.load(membrane + slot)
        change = keep * change
        change += sent_later(sent, t, steps, age0, tap0, slot, SIZE)
        change += sent_later(sent, t, steps, age1, tap1, slot, SIZE)
        change += sent_later(sent, t, steps, age2, tap2, slot, SIZE)
        change += sent_later(sent, t, steps, age3, tap3, slot, SIZE)
        change += sent_later(sent, t, steps, age4, tap4, slot, SIZE)
        change += sent_later(sent, t, steps, age5, tap5, slot, SIZE)
        value = keep * value + change
        slope = slope_at(h, LIF)
        now = (outside + value.to(h.dtype)) * slope + now * carry_over(h, slope, LIF)
        now = tl.where(valid, now, 0.0)
        tl.store(grad_current + place, now, mask=valid)
        recurrent = now
        if MASKED:
            recurrent = now * held
            tl.store(returned + place, recurrent, mask=valid)
        if RESIDENT:
            dz = tl.dot(
                kept, recurrent.to(kept.dtype), input_precision=PRECISION, out_dtype=h.dtype
            )  # fmt: skip
        else:
            tl.debug_barrier()
            dz = streamed(weight, returned, j[:, None], b, batch, N, ROWS, LANES, BLOCK, PRECISION)
        tl.store(sent + t * SIZE + slot, dz)
        membrane -= SIZE
        grad -= batch * N
        grad_current -= batch * N
        returned -= batch * N
        tl.debug_barrier()
        t -= 1


@triton.jit
def sent_later(
    sent: tl.tensor,
    t: tl.tensor,
    steps: tl.tensor,
    age: tl.tensor,
    weight: tl.tensor,
    slot: tl.tensor,
    SIZE: tl.constexpr,
) -> tl.tensor:
    """Weight dz[t + age] in float64, each row (neuron) with an age of its own."""
    later = t + age
    row = tl.where(later < steps, later, 0) * SIZE
    dz = tl.load(sent + row[:, None] + slot, mask=(later < steps)[:, None], other=0.0)
    return weight[:, None] * dz.to(tl.float64)


@triton.jit(do_not_specialize=["steps"])
def kernel_gradients(
    history: tl.tensor,  # as left by forward
    sent: tl.tensor,  # as left by backward
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
    sent += tile * steps * SIZE
    d, s, scale = kernel_shape(delay, width, j, N)
    enter, peak, cross, leave = kernel_ages(d, s)
    # A spike exactly at the peak pulls to neither side; it counts as left of it.
    on_peak = tl.where((d == tl.floor(d)) & (enter <= peak), peak, NEVER)
    rest = (d - tl.floor(d))[:, None]
    s, scale = s[:, None], scale[:, None]
    n = tl.zeros((PART, LANES), tl.int32)
    c = tl.zeros((PART, LANES), tl.int32)
    m = tl.zeros((PART, LANES), tl.int32)
    by_delay = tl.zeros((PART, LANES), tl.float64)
    by_width = tl.zeros((PART, LANES), tl.float64)
    t = 0
    while t < steps:
        dz = tl.load(sent + slot)
        n, c, m = advance(history, t, slot, enter, peak, cross, leave, n, c, m, SIZE)
        side = (c + spikes_ago(history, t, on_peak, slot, SIZE)).to(d.dtype)
        z = (n.to(d.dtype) * s + c.to(d.dtype) * rest + m.to(d.dtype)) * scale
        by_delay += (dz * side * scale).to(tl.float64)
        by_width += (dz * (n.to(d.dtype) * scale - z * 2.0 / s)).to(tl.float64)
        sent += SIZE
        t += 1
    tl.store(sums + tile * 2 * ROWS + j, tl.sum(by_delay, 1))
    tl.store(sums + (tile * 2 + 1) * ROWS + j, tl.sum(by_width, 1))
