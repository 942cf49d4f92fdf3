"""The loop over time of a recurrent layer with axonal delays, for tiles of ``LANES`` samples.

Samples are independent until the gradients are summed, so each thread computes all steps of its
own tiles, up to WIDTH of them together. The state of one step is (neurons, LANES). The backward
pass is in ``axonal_backward``.

**Delayed spikes z.** Spikes are 0 or 1 and the delay kernel is linear on both sides of its peak,
so three integers per neuron and sample give z exactly, for any delay and spread. With the age
p = floor(1 + d), the fraction f = d - floor(d), and k the ages of the spikes with h(k) > 0:

    n = their number,   c = number with k > p - number with k <= p,   m = - sum |k - p|
    z = (s n + f c + m) / s^2,   dz/dd = c / s^2,   dz/ds = n / s^2 - 2 z / s

In each step all ages grow by one (m -= c), and three reads of the spike history count the spikes
that enter the kernel, cross its peak and leave it. The backward pass inverts this update exactly,
so that n, c and m are not saved for every step.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .blocks import copy, load_tile, store_tile
from .compile import compiled
from .lanes import LANES, heaviside, load, load_where, store
from .lif import Neuron, reset_membrane
from .sparse import WIDTH, Matrix, multiply


@compiled
def run_axonal(
    tiles: tuple[int, int],
    current: np.ndarray,  # (T, B, N)
    weight: Matrix,  # W
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
    rows = -(-neurons // LANES) * LANES
    recorded = membrane.shape[0] > 0
    z = np.empty((WIDTH, rows, LANES), current.dtype)
    mask_tile = np.empty((WIDTH, rows, LANES), current.dtype)
    width = tiles_at_once(weight)
    for first in range(tiles[0], tiles[1], width):
        together = min(width, tiles[1] - first)
        state = np.zeros((WIDTH, 5, rows, LANES), current.dtype)  # n, c, m, V, I
        recurrent = np.zeros((WIDTH, rows, LANES), current.dtype)
        load_masks(mask, first, together, mask_tile)
        for k in range(together):
            load_tile(ends, 0, (first + k) * LANES, state[k, 3])
            for t in range(1, past):
                _delay_spikes(t, history, first + k, ages, kernel, state[k], z[k])
        for t in range(past, past + steps):
            if t > 0:
                for k in range(together):
                    _delay_spikes(t, history, first + k, ages, kernel, state[k], z[k])
                multiply(weight, z, 0, rows * LANES, recurrent, 0, rows * LANES, together)
            for k in range(together):
                tile = first + k
                load_tile(current, t - past, tile * LANES, state[k, 4])
                lif_step(
                    t, tile, recurrent[k], mask_tile[k], neuron, state[k], history, membrane,
                    recorded,
                )  # fmt: skip
                store_tile(state[k, 4], out, t - past, tile * LANES)
        for k in range(together):
            store_tile(state[k, 3], ends, 1, (first + k) * LANES)
        if recorded:
            for k in range(together):
                for which in range(3):
                    copy(
                        state[k], which * rows * LANES,
                        counters, ((first + k) * 3 + which) * neurons * LANES, neurons * LANES,
                    )  # fmt: skip


@compiled
def tiles_at_once(weight: Matrix) -> int:
    """How many tiles go through the time steps together: those that share a weight's reading."""
    return WIDTH if weight.start.size else 1


@compiled
def load_masks(mask: np.ndarray, first: int, together: int, target: np.ndarray) -> None:
    """The masks of some tiles, (together, rows, LANES); 1 where there is none."""
    for k in range(together):
        if mask.size:
            load_tile(mask, 0, (first + k) * LANES, target[k])
        else:
            target[k] = 1


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
def advance(
    j: int, kernel: np.ndarray, n: Any, c: Any, m: Any, entered: Any, crossed: Any, left: Any
) -> tuple[Any, Any, Any]:
    """n, c and m of neuron j when all ages have grown by one."""
    m = m - c + entered * kernel[j, 1] - crossed * 2 + left * kernel[j, 2]
    return n + entered - left, c + entered * kernel[j, 0] + crossed * 2 - left, m


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
    width = neurons * LANES
    for j in range(neurons):
        at = j * LANES
        place = ((tile * steps + t) * neurons + j) * LANES
        n, c, m = load(state, at), load(state, plane + at), load(state, 2 * plane + at)
        entered = load_where(history, place - ages[j, 0] * width, ages[j, 0] <= t, like)
        crossed = load_where(history, place - ages[j, 1] * width, ages[j, 1] <= t, like)
        left = load_where(history, place - ages[j, 2] * width, ages[j, 2] <= t, like)
        n, c, m = advance(j, kernel, n, c, m, entered, crossed, left)
        store(state, at, n)
        store(state, plane + at, c)
        store(state, 2 * plane + at, m)
        store(z, at, (n * kernel[j, 3] + c * kernel[j, 4] + m) * kernel[j, 5])
