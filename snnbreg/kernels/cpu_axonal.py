"""The loops over time of a recurrent layer with axonal delays, for a tile of ``LANES`` samples.

Samples do not meet before the sums of the gradients, so that each thread runs all steps of its
own tiles. Inside, a step is (neurons, LANES).

**Filter.** Spikes are 0 or 1 and the kernel is linear on both sides of its peak, so three whole
numbers per neuron and sample give z exactly, whatever the delay and the spread. Of the spikes
inside the kernel, with ages k, the age p = floor(1 + d) and the rest f = d - floor(d):

    n = number,   c = number right of the peak - number left of it,   m = - sum |k - p|
    z = (s n + f c + m) / s^2,   dz/dd = c / s^2,   dz/ds = n / s^2 - 2 z / s

Each step all ages grow by one (m -= c), and three single taps of the history move spikes in,
across the peak, and out. Run backward, the numbers are undone exactly: nothing is stored.

**Gradient of a spike.** sum_k h(k) dz[t+k] is a recursion over the kernel's second difference,
at most six taps, in float64; a kernel with up to six ages is summed directly.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

import numpy as np

from .cpu_blocks import copy, deliver, fetch, product, transpose
from .cpu_compile import compiled
from .cpu_lanes import LANES, load, load_as, narrow, reached, splat, store, total
from .cpu_lif import carry_over, discharge, slope_at
from .cpu_tables import TAPS

CHUNK = 16
"""Steps whose outer products are summed before they are added to the gradient of W."""


@compiled
def forward(
    tiles: tuple[int, int],
    current: np.ndarray,  # (T, B, N)
    panels: np.ndarray,  # (R / LANES, N, LANES), panels[i, j, r] = W[LANES i + r, j]
    mask: np.ndarray,  # (1, B, N), or (1, 0, 0) for none
    ages: np.ndarray,  # (N, 4), see delay_table
    kernel: np.ndarray,  # (N, 7), see delay_table
    lif: tuple,
    out: np.ndarray,  # (T, B, N), written
    history: np.ndarray,  # (J, T, N, LANES) bytes, written: the spikes
    membrane: np.ndarray,  # (J or 0, T, N, LANES), written unless empty
    counters: np.ndarray,  # (J or 0, 3, N, LANES), written unless empty: the last step's
) -> None:
    """All steps of the tiles from tiles[0] up to tiles[1]."""
    steps, _, neurons = current.shape
    rows = panels.shape[0] * LANES
    keep = membrane.shape[0] > 0
    for tile in range(tiles[0], tiles[1]):
        state = np.zeros((5, rows, LANES), current.dtype)  # n, c, m, V, I
        z = np.empty((rows, LANES), current.dtype)
        recurrent = np.zeros((rows, LANES), current.dtype)
        held = np.empty((rows, LANES), current.dtype)
        if mask.size:
            fetch(mask, 0, tile * LANES, held)
        else:
            held[:] = 1
        for t in range(steps):
            if t > 0:
                _filter(t, history, tile, ages, kernel, state, z)
                for i in range(panels.shape[0]):
                    product(
                        panels, i * neurons * LANES, z, 0,
                        recurrent, i * LANES * LANES, neurons, False,
                    )  # fmt: skip
            fetch(current, t, tile * LANES, state[4])
            fire(t, tile, recurrent, held, lif, state, history, membrane, keep)
            deliver(state[4], out, t, tile * LANES)
        if keep:
            for which in range(3):
                copy(
                    state, which * rows * LANES,
                    counters, (tile * 3 + which) * neurons * LANES, neurons * LANES,
                )  # fmt: skip


@compiled
def fire(
    t: int,
    tile: int,
    recurrent: np.ndarray,
    held: np.ndarray,
    lif: tuple,
    state: np.ndarray,
    history: np.ndarray,
    membrane: np.ndarray,
    keep: bool,
) -> None:
    """One step of the neurons; I is replaced by S."""
    _, steps, neurons, _ = history.shape
    plane = state.shape[1] * LANES
    place = (tile * steps + t) * neurons * LANES
    for at in range(0, neurons * LANES, LANES):
        v = load(state, 3 * plane + at)
        current = load(state, 4 * plane + at) + load(recurrent, at) * load(held, at)
        h = current + v * lif[0]
        s = reached(h, lif[1])
        store(state, 3 * plane + at, discharge(h, s, lif))
        store(state, 4 * plane + at, s)
        store(history, place + at, s)
        if keep:
            store(membrane, place + at, h)


@compiled
def _filter(
    t: int,
    history: np.ndarray,
    tile: int,
    ages: np.ndarray,
    kernel: np.ndarray,
    state: np.ndarray,
    z: np.ndarray,
) -> None:
    """Advance the counters to step t and write z[t]."""
    _, steps, neurons, _ = history.shape
    plane = state.shape[1] * LANES
    like = state[0, 0, 0]
    nothing = splat(like) * 0
    for j in range(neurons):
        at = j * LANES
        now = ((tile * steps + t) * neurons + j) * LANES
        n, c, m = load(state, at), load(state, plane + at), load(state, 2 * plane + at)
        entered, crossed, left = nothing, nothing, nothing
        if ages[j, 0] <= t:
            entered = load_as(history, now - ages[j, 0] * neurons * LANES, like)
        if ages[j, 1] <= t:
            crossed = load_as(history, now - ages[j, 1] * neurons * LANES, like)
        if ages[j, 2] <= t:
            left = load_as(history, now - ages[j, 2] * neurons * LANES, like)
        m = m - c + entered * kernel[j, 1] - crossed * 2 + left * kernel[j, 2]
        c = c + entered * kernel[j, 0] + crossed * 2 - left
        n = n + entered - left
        store(state, at, n)
        store(state, plane + at, c)
        store(state, 2 * plane + at, m)
        store(z, at, (n * kernel[j, 3] + c * kernel[j, 4] + m) * kernel[j, 5])


@compiled
def backward(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N): of the spikes
    panels: np.ndarray,  # (R / LANES, N, LANES) of the transposed weights
    mask: np.ndarray,  # as in forward
    ages: np.ndarray,
    kernel: np.ndarray,
    tap_ages: np.ndarray,  # (N, TAPS), see tap_table
    taps: np.ndarray,  # (N, 1 + TAPS) float64
    lif: tuple,
    history: np.ndarray,  # as left by forward
    membrane: np.ndarray,
    counters: np.ndarray,
    grad_current: np.ndarray,  # (T, B, N), written
    grad_weight: np.ndarray,  # (R / LANES, R / LANES, LANES, LANES) blocks, added to; or empty
    grad_kernel: np.ndarray,  # (2, N) float64, added to: of d and of s; or empty
) -> None:
    """All steps back for the tiles from tiles[0] up to tiles[1]."""
    steps, _, neurons = grad.shape
    rows = panels.shape[0] * LANES
    sent = np.empty((steps, rows, LANES), grad.dtype)  # dz
    pairs = np.empty((2, panels.shape[0], CHUNK * LANES, LANES), grad.dtype)
    sums = np.zeros((2, neurons, LANES), grad.dtype)
    held = np.empty((rows, LANES), grad.dtype)
    for tile in range(tiles[0], tiles[1]):
        state = np.zeros((4, rows, LANES), grad.dtype)  # n, c, m, dI
        for which in range(3):
            copy(
                counters, (tile * 3 + which) * neurons * LANES,
                state, which * rows * LANES, neurons * LANES,
            )  # fmt: skip
        filtered = np.zeros((2, neurons, LANES), np.float64)  # its last value and difference
        work = np.zeros((2, rows, LANES), grad.dtype)  # dS from outside, then dR; z
        if mask.size:
            fetch(mask, 0, tile * LANES, held)
        else:
            held[:] = 1
        waiting = 0
        for t in range(steps - 1, -1, -1):
            fetch(grad, t, tile * LANES, work[0])
            _spikes_back(t, tile, sent, tap_ages, taps, held, lif, membrane, state, filtered, work)
            deliver(state[3], grad_current, t, tile * LANES)
            if t == 0:
                break
            for j in range(panels.shape[0]):
                product(
                    panels, j * neurons * LANES, work, 0,
                    sent, (t * rows + j * LANES) * LANES, neurons, False,
                )  # fmt: skip
            if grad_weight.size or grad_kernel.size:
                _filter_back(t, tile, history, ages, kernel, sent, state, work, sums)
            if grad_weight.size:
                _collect(work, pairs, waiting)
            waiting += 1
            if waiting == CHUNK or t == 1:
                _flush(waiting, pairs, sums, grad_weight, grad_kernel)
                waiting = 0


@compiled
def _spikes_back(
    t: int,
    tile: int,
    sent: np.ndarray,
    tap_ages: np.ndarray,
    taps: np.ndarray,
    held: np.ndarray,
    lif: tuple,
    membrane: np.ndarray,
    state: np.ndarray,
    filtered: np.ndarray,
    work: np.ndarray,
) -> None:
    """Gradients of one step: of the spikes, then of the current and of R."""
    _, steps, neurons, _ = membrane.shape
    rows = state.shape[1]
    like = state[0, 0, 0]
    for j in range(neurons):
        at = j * LANES
        arrived = splat(0.0)
        for q in range(TAPS):
            later = t + tap_ages[j, q]
            if later >= steps:
                break
            arrived = arrived + load_as(sent, (later * rows + j) * LANES, 0.0) * taps[j, 1 + q]
        step = load(filtered, neurons * LANES + at) * taps[j, 0] + arrived
        value = load(filtered, at) * taps[j, 0] + step
        store(filtered, neurons * LANES + at, step)
        store(filtered, at, value)
        h = load(membrane, ((tile * steps + t) * neurons + j) * LANES)
        slope = slope_at(h, lif)
        now = (load(work, at) + narrow(value, like)) * slope
        now = now + load(state, 3 * rows * LANES + at) * carry_over(h, slope, lif)
        store(state, 3 * rows * LANES + at, now)
        store(work, at, now * load(held, at))


@compiled
def _filter_back(
    t: int,
    tile: int,
    history: np.ndarray,
    ages: np.ndarray,
    kernel: np.ndarray,
    sent: np.ndarray,
    state: np.ndarray,
    work: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Write z[t], add to the gradients of d and s, and take the counters to step t - 1."""
    _, steps, neurons, _ = history.shape
    rows = state.shape[1]
    plane = rows * LANES
    like = state[0, 0, 0]
    nothing = splat(like) * 0
    for j in range(neurons):
        at = j * LANES
        now = ((tile * steps + t) * neurons + j) * LANES
        n, c, m = load(state, at), load(state, plane + at), load(state, 2 * plane + at)
        z = (n * kernel[j, 3] + c * kernel[j, 4] + m) * kernel[j, 5]
        store(work, plane + at, z)
        entered, crossed, left, side = nothing, nothing, nothing, c
        if ages[j, 0] <= t:
            entered = load_as(history, now - ages[j, 0] * neurons * LANES, like)
        if ages[j, 1] <= t:
            crossed = load_as(history, now - ages[j, 1] * neurons * LANES, like)
        if ages[j, 2] <= t:
            left = load_as(history, now - ages[j, 2] * neurons * LANES, like)
        if ages[j, 3] <= t:  # a spike exactly at the peak pulls to neither side
            side = side + load_as(history, now - ages[j, 3] * neurons * LANES, like)
        dz = load(sent, (t * rows + j) * LANES)
        by_width = n * kernel[j, 5] - z * kernel[j, 6]
        store(sums, at, load(sums, at) + dz * side * kernel[j, 5])
        store(sums, neurons * LANES + at, load(sums, neurons * LANES + at) + dz * by_width)
        c = c - entered * kernel[j, 0] - crossed * 2 + left
        n = n - entered + left
        m = m + c - entered * kernel[j, 1] + crossed * 2 - left * kernel[j, 2]
        store(state, at, n)
        store(state, plane + at, c)
        store(state, 2 * plane + at, m)


@compiled
def _collect(work: np.ndarray, pairs: np.ndarray, waiting: int) -> None:
    """Put dR and z of this step, transposed, where ``_flush`` multiplies them."""
    _, blocks, length, _ = pairs.shape
    for which in range(2):
        for block in range(blocks):
            transpose(
                work, (which * blocks + block) * LANES * LANES, LANES,
                pairs, ((which * blocks + block) * length + waiting * LANES) * LANES, LANES,
            )  # fmt: skip


@compiled
def _flush(
    waiting: int,
    pairs: np.ndarray,
    sums: np.ndarray,
    grad_weight: np.ndarray,
    grad_kernel: np.ndarray,
) -> None:
    """Add what a chunk of steps collected to the gradients."""
    _, blocks, length, _ = pairs.shape
    if grad_weight.size:
        for i in range(blocks):
            for j in range(blocks):
                product(
                    pairs, i * length * LANES, pairs, (blocks + j) * length * LANES,
                    grad_weight, (i * blocks + j) * LANES * LANES, waiting * LANES, True,
                )  # fmt: skip
    if grad_kernel.size:
        for which in range(2):
            for j in range(grad_kernel.shape[1]):
                at = (which * grad_kernel.shape[1] + j) * LANES
                grad_kernel[which, j] += total(load_as(sums, at, 0.0))
        sums[:] = 0
