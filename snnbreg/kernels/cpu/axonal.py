"""The loops over time of a recurrent layer with axonal delays, for a tile of ``LANES`` samples.

Samples are independent until the gradients are summed, so each thread computes all steps of its
own tiles. The state of one step is (neurons, LANES).

**Delayed spikes z.** Spikes are 0 or 1 and the delay kernel is linear on both sides of its peak,
so three integers per neuron and sample give z exactly, for any delay and spread. With the age
p = floor(1 + d), the fraction f = d - floor(d), and k the ages of the spikes with h(k) > 0:

    n = their number,   c = number with k > p - number with k <= p,   m = - sum |k - p|
    z = (s n + f c + m) / s^2,   dz/dd = c / s^2,   dz/ds = n / s^2 - 2 z / s

In each step all ages grow by one (m -= c), and three reads of the spike history count the spikes
that enter the kernel, cross its peak and leave it. The backward pass inverts this update exactly,
so that n, c and m are not saved for every step.

**Gradient of a spike.** g[t] = sum_k h(k) dz[t+k] is computed by a recursion with the kernel's
second difference, which has at most six non-zero entries (taps), in float64; a kernel with up to
six ages is summed directly.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .blocks import copy, load_tile, product, store_tile, transpose
from .compile import compiled
from .lanes import LANES, broadcast, heaviside, load, load_as, narrow, store, sum_lanes
from .lif import Neuron, next_membrane_slope, reset_membrane, surrogate_slope
from .tables import TAPS

CHUNK = 16
"""Number of steps whose outer products are added to the gradient of W at once."""


@compiled
def run_axonal(
    tiles: tuple[int, int],
    current: np.ndarray,  # (T, B, N)
    panels: np.ndarray,  # (R / LANES, N, LANES), panels[i, j, r] = W[LANES i + r, j]
    mask: np.ndarray,  # (1, B, N), or (1, 0, 0) for none
    ages: np.ndarray,  # (N, 4), see delay_table
    kernel: np.ndarray,  # (N, 7), see delay_table
    neuron: Neuron,
    out: np.ndarray,  # (T, B, N), written
    history: np.ndarray,  # (J, P + T, N, LANES) bytes: spikes of P steps before; the rest written
    membrane: np.ndarray,  # (J or 0, T, N, LANES), written unless empty
    counters: np.ndarray,  # (J or 0, 3, N, LANES), written unless empty: n, c, m of the last step
    ends: np.ndarray,  # (2, B, N): V before the first step; after the last one, written
) -> None:
    """All steps of the tiles tiles[0] .. tiles[1] - 1."""
    steps, _, neurons = current.shape
    past = history.shape[1] - steps
    rows = panels.shape[0] * LANES
    recorded = membrane.shape[0] > 0
    for tile in range(tiles[0], tiles[1]):
        state = np.zeros((5, rows, LANES), current.dtype)  # n, c, m, V, I
        z = np.empty((rows, LANES), current.dtype)
        recurrent = np.zeros((rows, LANES), current.dtype)
        mask_tile = np.empty((rows, LANES), current.dtype)
        if mask.size:
            load_tile(mask, 0, tile * LANES, mask_tile)
        else:
            mask_tile[:] = 1
        load_tile(ends, 0, tile * LANES, state[3])
        for t in range(1, past):
            _delay_spikes(t, history, tile, ages, kernel, state, z)
        for t in range(past, past + steps):
            if t > 0:
                _delay_spikes(t, history, tile, ages, kernel, state, z)
                for i in range(panels.shape[0]):
                    product(
                        panels, i * neurons * LANES, z, 0,
                        recurrent, i * LANES * LANES, neurons, False,
                    )  # fmt: skip
            load_tile(current, t - past, tile * LANES, state[4])
            lif_step(t, tile, recurrent, mask_tile, neuron, state, history, membrane, recorded)
            store_tile(state[4], out, t - past, tile * LANES)
        store_tile(state[3], ends, 1, tile * LANES)
        if recorded:
            for which in range(3):
                copy(
                    state, which * rows * LANES,
                    counters, (tile * 3 + which) * neurons * LANES, neurons * LANES,
                )  # fmt: skip


@compiled
def lif_step(
    t: int,
    tile: int,
    recurrent: np.ndarray,
    mask_tile: np.ndarray,
    neuron: Neuron,
    state: np.ndarray,
    history: np.ndarray,
    membrane: np.ndarray,
    recorded: bool,
) -> None:
    """One step of the neurons; in ``state``, V[t] replaces V[t-1] and S replaces I."""
    _, steps, neurons, _ = history.shape
    plane = state.shape[1] * LANES
    place = (tile * steps + t) * neurons * LANES
    recorded_steps = membrane.shape[1]  # without those before
    membrane_place = (tile * recorded_steps + t - steps + recorded_steps) * neurons * LANES
    for at in range(0, neurons * LANES, LANES):
        v = load(state, 3 * plane + at)
        current = load(state, 4 * plane + at) + load(recurrent, at) * load(mask_tile, at)
        h = current + v * neuron.leak
        s = heaviside(h, neuron.threshold)
        store(state, 3 * plane + at, reset_membrane(h, s, neuron))
        store(state, 4 * plane + at, s)
        store(history, place + at, s)
        if recorded:
            store(membrane, membrane_place + at, h)


@compiled
def _delay_spikes(
    t: int,
    history: np.ndarray,
    tile: int,
    ages: np.ndarray,
    kernel: np.ndarray,
    state: np.ndarray,
    z: np.ndarray,
) -> None:
    """Update n, c, m to step t and write z[t]."""
    _, steps, neurons, _ = history.shape
    plane = state.shape[1] * LANES
    like = state[0, 0, 0]
    zeros = broadcast(like) * 0
    for j in range(neurons):
        at = j * LANES
        place = ((tile * steps + t) * neurons + j) * LANES
        n, c, m = load(state, at), load(state, plane + at), load(state, 2 * plane + at)
        entered, crossed, left = zeros, zeros, zeros
        if ages[j, 0] <= t:
            entered = load_as(history, place - ages[j, 0] * neurons * LANES, like)
        if ages[j, 1] <= t:
            crossed = load_as(history, place - ages[j, 1] * neurons * LANES, like)
        if ages[j, 2] <= t:
            left = load_as(history, place - ages[j, 2] * neurons * LANES, like)
        m = m - c + entered * kernel[j, 1] - crossed * 2 + left * kernel[j, 2]
        c = c + entered * kernel[j, 0] + crossed * 2 - left
        n = n + entered - left
        store(state, at, n)
        store(state, plane + at, c)
        store(state, 2 * plane + at, m)
        store(z, at, (n * kernel[j, 3] + c * kernel[j, 4] + m) * kernel[j, 5])


@compiled
def axonal_backward(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N): of the spikes
    panels: np.ndarray,  # (R / LANES, N, LANES) of the transposed weights
    mask: np.ndarray,  # as in run_axonal
    ages: np.ndarray,
    kernel: np.ndarray,
    tap_ages: np.ndarray,  # (N, TAPS), see tap_table
    taps: np.ndarray,  # (N, 1 + TAPS) float64
    neuron: Neuron,
    history: np.ndarray,  # as left by run_axonal
    membrane: np.ndarray,
    counters: np.ndarray,
    grad_current: np.ndarray,  # (T, B, N), written
    grad_weight: np.ndarray,  # (R / LANES, R / LANES, LANES, LANES) blocks, added to; or empty
    grad_kernel: np.ndarray,  # (2, N) float64, added to: of d and of s; or empty
    grad_end: np.ndarray,  # (1, B, N), of V after the last step, over the leak
    grad_past: np.ndarray,  # (P, B, N), written: of the spikes before
) -> None:
    """Backward pass over all steps of the tiles tiles[0] .. tiles[1] - 1."""
    steps, _, neurons = grad.shape
    past = len(grad_past)
    first = 0 if past else 1  # step with spikes before it
    rows = panels.shape[0] * LANES
    grad_z = np.empty((steps, rows, LANES), grad.dtype)  # dz
    pairs = np.empty((2, panels.shape[0], CHUNK * LANES, LANES), grad.dtype)
    sums = np.zeros((2, neurons, LANES), grad.dtype)
    mask_tile = np.empty((rows, LANES), grad.dtype)
    for tile in range(tiles[0], tiles[1]):
        state = np.zeros((4, rows, LANES), grad.dtype)  # n, c, m, dI
        for which in range(3):
            copy(
                counters, (tile * 3 + which) * neurons * LANES,
                state, which * rows * LANES, neurons * LANES,
            )  # fmt: skip
        load_tile(grad_end, 0, tile * LANES, state[3])
        recursion = np.zeros((2, neurons, LANES), np.float64)  # g[t], g[t] - g[t+1]
        work = np.zeros((2, rows, LANES), grad.dtype)  # dS by the loss, later dR; z
        if mask.size:
            load_tile(mask, 0, tile * LANES, mask_tile)
        else:
            mask_tile[:] = 1
        stored = 0
        for t in range(steps - 1, -1, -1):
            load_tile(grad, t, tile * LANES, work[0])
            _lif_step_backward(
                t, tile, grad_z, tap_ages, taps, mask_tile, neuron, membrane, state, recursion, work
            )
            store_tile(state[3], grad_current, t, tile * LANES)
            if t < first:
                break
            for j in range(panels.shape[0]):
                product(
                    panels, j * neurons * LANES, work, 0,
                    grad_z, (t * rows + j * LANES) * LANES, neurons, False,
                )  # fmt: skip
            if grad_weight.size or grad_kernel.size:
                _delay_spikes_backward(
                    t, tile, history, past, ages, kernel, grad_z, state, work, sums
                )
            if grad_weight.size:
                _store_pair(work, pairs, stored)
            stored += 1
            if stored == CHUNK or t == first:
                _add_to_gradients(stored, pairs, sums, grad_weight, grad_kernel)
                stored = 0
        for t in range(past - 1, -1, -1):
            for j in range(neurons):
                value = _spike_gradient(t - past, j, steps, grad_z, tap_ages, taps, recursion)
                store(work, j * LANES, narrow(value, work[0, 0, 0]))
            store_tile(work[0], grad_past, t, tile * LANES)


@compiled
def _lif_step_backward(
    t: int,
    tile: int,
    grad_z: np.ndarray,
    tap_ages: np.ndarray,
    taps: np.ndarray,
    mask_tile: np.ndarray,
    neuron: Neuron,
    membrane: np.ndarray,
    state: np.ndarray,
    recursion: np.ndarray,
    work: np.ndarray,
) -> None:
    """Gradients of one step: dS, then dI and dR."""
    _, steps, neurons, _ = membrane.shape
    rows = state.shape[1]
    like = state[0, 0, 0]
    for j in range(neurons):
        at = j * LANES
        value = _spike_gradient(t, j, steps, grad_z, tap_ages, taps, recursion)
        h = load(membrane, ((tile * steps + t) * neurons + j) * LANES)
        slope = surrogate_slope(h, neuron)
        grad_h = (load(work, at) + narrow(value, like)) * slope
        grad_h = grad_h + load(state, 3 * rows * LANES + at) * next_membrane_slope(h, slope, neuron)
        store(state, 3 * rows * LANES + at, grad_h)
        store(work, at, grad_h * load(mask_tile, at))


@compiled
def _spike_gradient(
    t: int,
    j: int,
    steps: int,
    grad_z: np.ndarray,
    tap_ages: np.ndarray,
    taps: np.ndarray,
    recursion: np.ndarray,
) -> Any:
    """g[t] of neuron j by the recursion; t counts from the first of ``steps``, so may be < 0."""
    neurons, at, rows = recursion.shape[1], j * LANES, grad_z.shape[1]
    tap_sum = broadcast(0.0)
    for q in range(TAPS):
        source = t + tap_ages[j, q]
        if source >= steps:
            break
        if source >= 0:
            tap_sum = tap_sum + load_as(grad_z, (source * rows + j) * LANES, 0.0) * taps[j, 1 + q]
    difference = load(recursion, neurons * LANES + at) * taps[j, 0] + tap_sum
    value = load(recursion, at) * taps[j, 0] + difference
    store(recursion, neurons * LANES + at, difference)
    store(recursion, at, value)
    return value


@compiled
def _delay_spikes_backward(
    step: int,
    tile: int,
    history: np.ndarray,
    past: int,
    ages: np.ndarray,
    kernel: np.ndarray,
    grad_z: np.ndarray,
    state: np.ndarray,
    work: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Write z[t], add to the gradients of d and s, and update n, c, m back to step t - 1."""
    _, steps, neurons, _ = history.shape
    t = past + step
    rows = state.shape[1]
    plane = rows * LANES
    like = state[0, 0, 0]
    zeros = broadcast(like) * 0
    for j in range(neurons):
        at = j * LANES
        place = ((tile * steps + t) * neurons + j) * LANES
        n, c, m = load(state, at), load(state, plane + at), load(state, 2 * plane + at)
        z = (n * kernel[j, 3] + c * kernel[j, 4] + m) * kernel[j, 5]
        store(work, plane + at, z)
        entered, crossed, left, side = zeros, zeros, zeros, c
        if ages[j, 0] <= t:
            entered = load_as(history, place - ages[j, 0] * neurons * LANES, like)
        if ages[j, 1] <= t:
            crossed = load_as(history, place - ages[j, 1] * neurons * LANES, like)
        if ages[j, 2] <= t:
            left = load_as(history, place - ages[j, 2] * neurons * LANES, like)
        if ages[j, 3] <= t:  # dz/dd is 0 for a spike exactly at the peak
            side = side + load_as(history, place - ages[j, 3] * neurons * LANES, like)
        dz = load(grad_z, (step * rows + j) * LANES)
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
def _store_pair(work: np.ndarray, pairs: np.ndarray, stored: int) -> None:
    """Store dR and z of this step, transposed, for ``_add_to_gradients``."""
    _, blocks, length, _ = pairs.shape
    for which in range(2):
        for block in range(blocks):
            transpose(
                work, (which * blocks + block) * LANES * LANES, LANES,
                pairs, ((which * blocks + block) * length + stored * LANES) * LANES, LANES,
            )  # fmt: skip


@compiled
def _add_to_gradients(
    stored: int,
    pairs: np.ndarray,
    sums: np.ndarray,
    grad_weight: np.ndarray,
    grad_kernel: np.ndarray,
) -> None:
    """Add the stored steps to the gradients of W, d and s."""
    _, blocks, length, _ = pairs.shape
    if grad_weight.size:
        for i in range(blocks):
            for j in range(blocks):
                product(
                    pairs, i * length * LANES, pairs, (blocks + j) * length * LANES,
                    grad_weight, (i * blocks + j) * LANES * LANES, stored * LANES, True,
                )  # fmt: skip
    if grad_kernel.size:
        for which in range(2):
            for j in range(grad_kernel.shape[1]):
                at = (which * grad_kernel.shape[1] + j) * LANES
                grad_kernel[which, j] += sum_lanes(load_as(sums, at, 0.0))
        sums[:] = 0
