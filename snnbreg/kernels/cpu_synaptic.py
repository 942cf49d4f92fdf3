"""The loops over time of a recurrent layer with a delay per synapse, for a tile of samples.

    R_i[t] = sum_k sum_j A_ij(k) S_j[t-k],   A_ij(k) = W_ij h_ij(k),   k = 1 .. K

The spikes of the last K steps lie one after the other, (K N, LANES), so that a step is one long
product with A; so is, with the gradients of R of the next K steps, the gradient of a spike. The
gradient of A is a product over all steps for every age.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

import numpy as np

from .cpu_axonal import fire
from .cpu_blocks import copy, deliver, fetch, product, transpose
from .cpu_compile import compiled
from .cpu_lanes import LANES, load, store
from .cpu_lif import carry_over, slope_at


@compiled
def forward(
    tiles: tuple[int, int],
    current: np.ndarray,  # (T, B, N)
    panels: np.ndarray,  # (R / LANES, K N, LANES), panels[i, (K - k) N + j, r]: A of that age
    mask: np.ndarray,  # (1, B, N), or (1, 0, 0) for none
    lif: tuple,
    out: np.ndarray,  # (T, B, N), written
    history: np.ndarray,  # (J, T, N, LANES) bytes, written: the spikes
    membrane: np.ndarray,  # (J or 0, T, N, LANES), written unless empty
) -> None:
    """All steps of the tiles from tiles[0] up to tiles[1]."""
    steps, _, neurons = current.shape
    rows, length = panels.shape[0] * LANES, panels.shape[1]
    past = np.empty((steps, neurons, LANES), current.dtype)
    held = np.empty((rows, LANES), current.dtype)
    for tile in range(tiles[0], tiles[1]):
        state = np.zeros((5, rows, LANES), current.dtype)  # the last two: V, I
        recurrent = np.zeros((rows, LANES), current.dtype)
        if mask.size:
            fetch(mask, 0, tile * LANES, held)
        else:
            held[:] = 1
        for t in range(steps):
            seen = min(length, t * neurons)
            if seen > 0:
                for i in range(panels.shape[0]):
                    product(
                        panels, ((i + 1) * length - seen) * LANES,
                        past, (t * neurons - seen) * LANES,
                        recurrent, i * LANES * LANES, seen, False,
                    )  # fmt: skip
            fetch(current, t, tile * LANES, state[4])
            fire(t, tile, recurrent, held, lif, state, history, membrane, membrane.shape[0] > 0)
            copy(state, 4 * rows * LANES, past, t * neurons * LANES, neurons * LANES)
            deliver(state[4], out, t, tile * LANES)


@compiled
def backward(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N): of the spikes
    panels: np.ndarray,  # (R / LANES, K N, LANES), panels[j, (k - 1) N + i, r]: A of that age
    mask: np.ndarray,  # as in forward
    lif: tuple,
    history: np.ndarray,  # as left by forward
    membrane: np.ndarray,
    grad_current: np.ndarray,  # (T, B, N), written
    grad_kernel: np.ndarray,  # (K, R / LANES, R / LANES, LANES, LANES), added to; or empty
) -> None:
    """All steps back for the tiles from tiles[0] up to tiles[1]."""
    steps, _, neurons = grad.shape
    blocks, length = panels.shape[0], panels.shape[1]
    rows = blocks * LANES
    sent = np.empty((steps, neurons, LANES), grad.dtype)  # dR
    pairs = np.empty((2, blocks, steps * LANES, LANES), grad.dtype)  # dR and S, transposed
    held = np.empty((rows, LANES), grad.dtype)
    for tile in range(tiles[0], tiles[1]):
        work = np.zeros((4, rows, LANES), grad.dtype)  # dS from outside, from inside; dI; dR or S
        if mask.size:
            fetch(mask, 0, tile * LANES, held)
        else:
            held[:] = 1
        for t in range(steps - 1, -1, -1):
            fetch(grad, t, tile * LANES, work[0])
            seen = min(length, (steps - 1 - t) * neurons)
            if seen > 0:
                for j in range(blocks):
                    product(
                        panels, j * length * LANES, sent, (t + 1) * neurons * LANES,
                        work, (rows + j * LANES) * LANES, seen, False,
                    )  # fmt: skip
            _spikes_back(t, tile, held, lif, membrane, work)
            copy(work, 3 * rows * LANES, sent, t * neurons * LANES, neurons * LANES)
            deliver(work[2], grad_current, t, tile * LANES)
            _collect(t, work[3], pairs[0])
        if grad_kernel.size:
            for t in range(steps):
                at = (tile * steps + t) * neurons * LANES
                copy(history, at, work, 3 * rows * LANES, neurons * LANES)
                _collect(t, work[3], pairs[1])
            _correlate(pairs, grad_kernel)


@compiled
def _spikes_back(
    t: int, tile: int, held: np.ndarray, lif: tuple, membrane: np.ndarray, work: np.ndarray
) -> None:
    """Gradients of one step: of the current and of R."""
    _, steps, neurons, _ = membrane.shape
    plane = work.shape[1] * LANES
    place = (tile * steps + t) * neurons * LANES
    for at in range(0, neurons * LANES, LANES):
        h = load(membrane, place + at)
        slope = slope_at(h, lif)
        now = (load(work, at) + load(work, plane + at)) * slope
        now = now + load(work, 2 * plane + at) * carry_over(h, slope, lif)
        store(work, 2 * plane + at, now)
        store(work, 3 * plane + at, now * load(held, at))


@compiled
def _collect(t: int, values: np.ndarray, panels: np.ndarray) -> None:
    """Put values (R, LANES) of a step, transposed, into panels (R / LANES, T LANES, LANES)."""
    blocks, length, _ = panels.shape
    for block in range(blocks):
        transpose(
            values, block * LANES * LANES, LANES,
            panels, (block * length + t * LANES) * LANES, LANES,
        )  # fmt: skip


@compiled
def _correlate(pairs: np.ndarray, grad_kernel: np.ndarray) -> None:
    """For each age k, add the sum over t of dR[t + k] S[t]' to its block matrix."""
    _, blocks, length, _ = pairs.shape
    for k in range(1, grad_kernel.shape[0] + 1):
        for i in range(blocks):
            for j in range(blocks):
                product(
                    pairs, (i * length + k * LANES) * LANES, pairs, (blocks + j) * length * LANES,
                    grad_kernel, (((k - 1) * blocks + i) * blocks + j) * LANES * LANES,
                    length - k * LANES, True,
                )  # fmt: skip
