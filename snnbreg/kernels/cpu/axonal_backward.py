"""The backward pass of ``axonal``, for tiles of ``LANES`` samples.

**Gradient of a spike.** g[t] = sum_k h(k) dz[t+k] is a delayed sum of dz as z is one of the spikes,
backwards in time: the same n, c and m, of dz instead of spikes, give it. They are no integers, so
that rounding adds up; they are float64.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .axonal import advance, load_masks, tiles_at_once
from .axonal_weight import CHUNK, add_to_gradients
from .blocks import copy, load_tile, store_tile, store_transposed
from .compile import compiled
from .lanes import LANES, broadcast, load, load_where, narrow, prefetch, store
from .lif import Neuron, next_membrane_slope, surrogate_slope
from .sparse import WIDTH, Matrix, multiply

AHEAD = 2
"""Steps before they are needed, the processor is asked for numbers that no step has read yet."""


@compiled
def axonal_backward(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N): of the spikes
    transposed: Matrix,  # of W
    mask: np.ndarray,  # as in run_axonal
    ages: np.ndarray,
    kernel: np.ndarray,
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
        recursion = np.zeros((WIDTH, 3, neurons, LANES), np.float64)  # n, c, m of dz
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
                    t, first + k, grad_z[k], ages, kernel, mask_tile[k], neuron, membrane,
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
                _past_spikes_backward(t - past, ages, kernel, grad_z[k], recursion[k], work[k])
                store_tile(work[k], grad_past, t, (first + k) * LANES)


@compiled
def _lif_step_backward(
    t: int,
    tile: int,
    grad_z: np.ndarray,
    ages: np.ndarray,
    kernel: np.ndarray,
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
        value = _spike_gradient(t, j, grad_z, ages, kernel, recursion)
        place = ((tile * steps + t) * neurons + j) * LANES
        h = load(membrane, place)
        prefetch(membrane, place - AHEAD * neurons * LANES)
        slope = surrogate_slope(h, neuron)
        grad_h = (load(work, at) + narrow(value, like) * kernel[j, 5]) * slope
        grad_h = grad_h + load(state, 3 * rows * LANES + at) * next_membrane_slope(h, slope, neuron)
        store(state, 3 * rows * LANES + at, grad_h)
        store(work, at, grad_h * load(mask_tile, at))


@compiled
def _past_spikes_backward(
    t: int,
    ages: np.ndarray,
    kernel: np.ndarray,
    grad_z: np.ndarray,
    recursion: np.ndarray,
    work: np.ndarray,
) -> None:
    """Gradient of the spikes of step t < 0; zero where all have left the kernel by step 0."""
    like = work[0, 0]
    for j in range(recursion.shape[1]):
        value = broadcast(0.0)
        if t + ages[j, 2] > 0:
            value = _spike_gradient(t, j, grad_z, ages, kernel, recursion)
        store(work, j * LANES, narrow(value, like) * kernel[j, 5])


@compiled
def _spike_gradient(
    t: int,
    j: int,
    grad_z: np.ndarray,
    ages: np.ndarray,
    kernel: np.ndarray,
    recursion: np.ndarray,
) -> Any:
    """s^2 g[t] of neuron j; t counts from the first step of ``grad_z``, so may be < 0."""
    steps, rows, _ = grad_z.shape
    plane, at = recursion.shape[1] * LANES, j * LANES
    enter, cross, leave = t + ages[j, 0], t + ages[j, 1], t + ages[j, 2]
    entered = load_where(grad_z, (enter * rows + j) * LANES, 0 <= enter < steps, 0.0)
    crossed = load_where(grad_z, (cross * rows + j) * LANES, 0 <= cross < steps, 0.0)
    left = load_where(grad_z, (leave * rows + j) * LANES, 0 <= leave < steps, 0.0)
    n, c = load(recursion, at), load(recursion, plane + at)
    n, c, m = advance(j, kernel, n, c, load(recursion, 2 * plane + at), entered, crossed, left)
    store(recursion, at, n)
    store(recursion, plane + at, c)
    store(recursion, 2 * plane + at, m)
    return n * kernel[j, 3] + c * kernel[j, 4] + m


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
    width = neurons * LANES
    for j in range(neurons):
        at = j * LANES
        place = ((tile * steps + t) * neurons + j) * LANES
        n, c, m = load(state, at), load(state, plane + at), load(state, 2 * plane + at)
        z = (n * kernel[j, 3] + c * kernel[j, 4] + m) * kernel[j, 5]
        store(delayed, at, z)
        entered = load_where(history, place - ages[j, 0] * width, ages[j, 0] <= t, like)
        crossed = load_where(history, place - ages[j, 1] * width, ages[j, 1] <= t, like)
        left = load_where(history, place - ages[j, 2] * width, ages[j, 2] <= t, like)
        prefetch(history, place - (ages[j, 2] + AHEAD) * width)
        # dz/dd is 0 for a spike exactly at the peak
        side = c + load_where(history, place - ages[j, 3] * width, ages[j, 3] <= t, like)
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
