"""The backward pass of ``axonal``, for tiles of ``LANES`` samples.

**Gradient of a spike.** g[t] = sum_k h(k) dz[t+k] is computed by a recursion with the kernel's
second difference, which has at most six non-zero entries (taps), in float64; a kernel with up to
six ages is summed directly.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .axonal import load_masks, tiles_at_once
from .axonal_weight import CHUNK, add_to_gradients
from .blocks import copy, load_tile, store_tile, store_transposed
from .compile import compiled, inlined
from .lanes import LANES, broadcast, load, load_as, narrow, store
from .lif import Neuron, next_membrane_slope, surrogate_slope
from .sparse import WIDTH, Matrix, multiply
from .tables import TAPS


@compiled
def axonal_backward(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N): of the spikes
    transposed: Matrix,  # of W
    mask: np.ndarray,  # as in run_axonal
    ages: np.ndarray,
    kernel: np.ndarray,
    tap_ages: np.ndarray,  # (N, TAPS), see tap_table
    taps: np.ndarray,  # (N, 1 + TAPS) float64
    neuron: Neuron,
    most_delayed: float,  # share of z that is not zero from which on zeros are not skipped
    history: np.ndarray,  # as left by run_axonal
    membrane: np.ndarray,
    counters: np.ndarray,
    grad_current: np.ndarray,  # (T, B, N), written
    grad_weight: np.ndarray,  # (R / LANES, R, LANES) panels of the receivers, added to; or empty
    grad_kernel: np.ndarray,  # (2, N) float64, added to: of d and of s; or empty
    grad_end: np.ndarray,  # (1, B, N), of V after the last step, over the leak
    grad_last: np.ndarray,  # (K, B, N), K <= T, or empty: of the last spikes, beside that in grad
    grad_past: np.ndarray,  # (P, B, N), written: of the spikes before
) -> None:
    """Backward pass over all steps of the tiles tiles[0] .. tiles[1] - 1."""
    steps, _, neurons = grad.shape
    past = len(grad_past)
    start = 0 if past else 1  # the first step with spikes before it
    rows = -(-neurons // LANES) * LANES
    plane = (rows + 1) * LANES  # a power of two would put all steps into the same cache lines
    grad_z = np.empty((WIDTH, steps, rows + 1, LANES), grad.dtype)  # dz
    grad_r = np.empty((rows // LANES, CHUNK * LANES, LANES), grad.dtype)  # dR, transposed
    delayed = np.zeros((CHUNK, rows, LANES), grad.dtype)  # z
    sums = np.zeros((2, neurons, LANES), grad.dtype)
    mask_tile = np.empty((WIDTH, rows, LANES), grad.dtype)
    extra = np.zeros((rows, LANES), grad.dtype)  # of the last spikes
    width = tiles_at_once(transposed)
    for first in range(tiles[0], tiles[1], width):
        together = min(width, tiles[1] - first)
        state = np.zeros((WIDTH, 4, rows, LANES), grad.dtype)  # n, c, m, dI
        for k in range(together):
            for which in range(3):
                copy(
                    counters, ((first + k) * 3 + which) * neurons * LANES,
                    state[k], which * rows * LANES, neurons * LANES,
                )  # fmt: skip
            load_tile(grad_end, 0, (first + k) * LANES, state[k, 3])
        recursion = np.zeros((WIDTH, 2, neurons, LANES), np.float64)  # g[t], g[t] - g[t+1]
        work = np.zeros((WIDTH, rows, LANES), grad.dtype)  # dS by the loss, later dR
        load_masks(mask, first, together, mask_tile)
        stored = 0
        for t in range(steps - 1, -1, -1):
            for k in range(together):
                load_tile(grad, t, (first + k) * LANES, work[k])
                if t >= steps - len(grad_last):
                    load_tile(grad_last, t - steps + len(grad_last), (first + k) * LANES, extra)
                    work[k] += extra
                _lif_step_backward(
                    t, first + k, grad_z[k], tap_ages, taps, mask_tile[k], neuron, membrane,
                    state[k], recursion[k], work[k],
                )  # fmt: skip
                store_tile(state[k, 3], grad_current, t, (first + k) * LANES)
            if t < start:
                break
            multiply(
                transposed, work, 0, rows * LANES,
                grad_z, t * plane, steps * plane, together,
            )  # fmt: skip
            for k in range(together):
                if grad_weight.size or grad_kernel.size:
                    _delay_spikes_backward(
                        t, first + k, history, past, ages, kernel, grad_z[k], state[k],
                        delayed[stored], sums,
                    )  # fmt: skip
                if grad_weight.size:
                    store_transposed(stored, work[k], grad_r)
                stored += 1
            if stored + together > CHUNK or t == start:
                add_to_gradients(
                    stored, most_delayed, grad_r, delayed, sums, grad_weight, grad_kernel
                )
                stored = 0
        for t in range(past - 1, -1, -1):
            for k in range(together):
                _past_spikes_backward(
                    t - past, ages, grad_z[k], tap_ages, taps, recursion[k], work[k]
                )
                store_tile(work[k], grad_past, t, (first + k) * LANES)


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
def _past_spikes_backward(
    t: int,
    ages: np.ndarray,
    grad_z: np.ndarray,
    tap_ages: np.ndarray,
    taps: np.ndarray,
    recursion: np.ndarray,
    work: np.ndarray,
) -> None:
    """Gradient of the spikes of step t < 0; zero where all have left the kernel by step 0."""
    like = work[0, 0]
    for j in range(recursion.shape[1]):
        value = broadcast(0.0)
        if t + ages[j, 2] + 1 >= 0:  # the last of the taps
            value = _spike_gradient(t, j, grad_z.shape[0], grad_z, tap_ages, taps, recursion)
        store(work, j * LANES, narrow(value, like))


@inlined
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
    tap_sum, odd = broadcast(0.0), broadcast(0.0)
    if t + tap_ages[j, 0] >= 0 and t + tap_ages[j, TAPS - 1] < steps:
        for q in range(0, TAPS, 2):  # two sums: neither waits for the other
            place = ((t + tap_ages[j, q]) * rows + j) * LANES
            tap_sum = tap_sum + load_as(grad_z, place, 0.0) * taps[j, 1 + q]
            place = ((t + tap_ages[j, q + 1]) * rows + j) * LANES
            odd = odd + load_as(grad_z, place, 0.0) * taps[j, 2 + q]
        tap_sum = tap_sum + odd
    else:
        for q in range(TAPS):
            source = t + tap_ages[j, q]
            if source >= steps:
                break
            if source >= 0:
                place = (source * rows + j) * LANES
                tap_sum = tap_sum + load_as(grad_z, place, 0.0) * taps[j, 1 + q]
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
    delayed: np.ndarray,
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
        store(delayed, at, z)
        entered, crossed, left, side = zeros, zeros, zeros, c
        if ages[j, 0] <= t:
            entered = load_as(history, place - ages[j, 0] * neurons * LANES, like)
        if ages[j, 1] <= t:
            crossed = load_as(history, place - ages[j, 1] * neurons * LANES, like)
        if ages[j, 2] <= t:
            left = load_as(history, place - ages[j, 2] * neurons * LANES, like)
        if ages[j, 3] <= t:  # dz/dd is 0 for a spike exactly at the peak
            side = side + load_as(history, place - ages[j, 3] * neurons * LANES, like)
        dz = load(grad_z, (step * grad_z.shape[1] + j) * LANES)
        by_width = n * kernel[j, 5] - z * kernel[j, 6]
        store(sums, at, load(sums, at) + dz * side * kernel[j, 5])
        store(sums, neurons * LANES + at, load(sums, neurons * LANES + at) + dz * by_width)
        c = c - entered * kernel[j, 0] - crossed * 2 + left
        n = n - entered + left
        m = m + c - entered * kernel[j, 1] + crossed * 2 - left * kernel[j, 2]
        store(state, at, n)
        store(state, plane + at, c)
        store(state, 2 * plane + at, m)
