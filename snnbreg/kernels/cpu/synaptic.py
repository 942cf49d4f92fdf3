"""The loops over time of a recurrent layer with a delay per synapse, for a tile of samples.

    R_i[t] = sum_k sum_j A_ij(k) S_j[t-k],   A_ij(k) = W_ij h_ij(k),   k = 1 .. K

The spikes of the last K steps are contiguous in memory, (K N, LANES), so that R of one step is one
matrix product with A. The gradient of the spikes of one step is a product of A, transposed, with
dR of the next K steps. The gradient of A is, for every age, a product over all steps.

Legend: T steps, B batch, N neurons, R rows = N rounded up to LANES, J tiles.
"""

from __future__ import annotations

import numpy as np

from .axonal import lif_step
from .blocks import copy, load_tile, product, store_tile, store_transposed
from .compile import compiled
from .lanes import LANES, load, store
from .lif import Neuron, next_membrane_slope, surrogate_slope


@compiled
def run_synaptic(
    tiles: tuple[int, int],
    current: np.ndarray,  # (T, B, N)
    panels: np.ndarray,  # (R / LANES, K N, LANES), panels[i, (K - k) N + j, r]: A of that age
    mask: np.ndarray,  # (1, B, N), or (1, 0, 0) for none
    neuron: Neuron,
    out: np.ndarray,  # (T, B, N), written
    history: np.ndarray,  # (J, T, N, LANES) bytes, written: the spikes
    membrane: np.ndarray,  # (J or 0, T, N, LANES), written unless empty: H
) -> None:
    """All steps of the tiles tiles[0] .. tiles[1] - 1."""
    steps, _, neurons = current.shape
    rows, length = panels.shape[0] * LANES, panels.shape[1]
    recorded = membrane.shape[0] > 0
    spikes = np.empty((steps, neurons, LANES), current.dtype)
    mask_tile = np.empty((rows, LANES), current.dtype)
    for tile in range(tiles[0], tiles[1]):
        state = np.zeros((5, rows, LANES), current.dtype)  # [3] is V, [4] is I, then S
        recurrent = np.zeros((rows, LANES), current.dtype)
        if mask.size:
            load_tile(mask, 0, tile * LANES, mask_tile)
        else:
            mask_tile[:] = 1
        for t in range(steps):
            used = min(length, t * neurons)
            if used > 0:
                for i in range(panels.shape[0]):
                    product(
                        panels, ((i + 1) * length - used) * LANES,
                        spikes, (t * neurons - used) * LANES,
                        recurrent, i * LANES * LANES, used, False,
                    )  # fmt: skip
            load_tile(current, t, tile * LANES, state[4])
            lif_step(t, tile, recurrent, mask_tile, neuron, state, history, membrane, recorded)
            copy(state, 4 * rows * LANES, spikes, t * neurons * LANES, neurons * LANES)
            store_tile(state[4], out, t, tile * LANES)


@compiled
def synaptic_backward(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N): of the spikes
    panels: np.ndarray,  # (R / LANES, K N, LANES), panels[j, (k - 1) N + i, r]: A of that age
    mask: np.ndarray,  # as in run_synaptic
    neuron: Neuron,
    history: np.ndarray,  # as left by run_synaptic
    membrane: np.ndarray,
    grad_current: np.ndarray,  # (T, B, N), written
    grad_kernel: np.ndarray,  # (K, R / LANES, R / LANES, LANES, LANES), added to; or empty
) -> None:
    """Backward pass over all steps of the tiles tiles[0] .. tiles[1] - 1."""
    steps, _, neurons = grad.shape
    blocks, length = panels.shape[0], panels.shape[1]
    rows = blocks * LANES
    grad_recurrent = np.empty((steps, neurons, LANES), grad.dtype)  # dR
    pairs = np.empty((2, blocks, steps * LANES, LANES), grad.dtype)  # dR and S, transposed
    mask_tile = np.empty((rows, LANES), grad.dtype)
    for tile in range(tiles[0], tiles[1]):
        work = np.zeros((4, rows, LANES), grad.dtype)  # dS by the loss, by R; dI; dR or S
        if mask.size:
            load_tile(mask, 0, tile * LANES, mask_tile)
        else:
            mask_tile[:] = 1
        for t in range(steps - 1, -1, -1):
            load_tile(grad, t, tile * LANES, work[0])
            used = min(length, (steps - 1 - t) * neurons)
            if used > 0:
                for j in range(blocks):
                    product(
                        panels, j * length * LANES, grad_recurrent, (t + 1) * neurons * LANES,
                        work, (rows + j * LANES) * LANES, used, False,
                    )  # fmt: skip
            _lif_step_backward(t, tile, mask_tile, neuron, membrane, work)
            copy(work, 3 * rows * LANES, grad_recurrent, t * neurons * LANES, neurons * LANES)
            store_tile(work[2], grad_current, t, tile * LANES)
            store_transposed(t, work[3], pairs[0])
        if grad_kernel.size:
            for t in range(steps):
                at = (tile * steps + t) * neurons * LANES
                copy(history, at, work, 3 * rows * LANES, neurons * LANES)
                store_transposed(t, work[3], pairs[1])
            _kernel_gradient(pairs, grad_kernel)


@compiled
def _lif_step_backward(
    t: int, tile: int, mask_tile: np.ndarray, neuron: Neuron, membrane: np.ndarray, work: np.ndarray
) -> None:
    """Gradients of one step: dI and dR."""
    _, steps, neurons, _ = membrane.shape
    plane = work.shape[1] * LANES
    place = (tile * steps + t) * neurons * LANES
    for at in range(0, neurons * LANES, LANES):
        h = load(membrane, place + at)
        slope = surrogate_slope(h, neuron)
        grad_h = (load(work, at) + load(work, plane + at)) * slope
        grad_h = grad_h + load(work, 2 * plane + at) * next_membrane_slope(h, slope, neuron)
        store(work, 2 * plane + at, grad_h)
        store(work, 3 * plane + at, grad_h * load(mask_tile, at))


@compiled
def _kernel_gradient(pairs: np.ndarray, grad_kernel: np.ndarray) -> None:
    """For each age k, add the sum over t of dR[t + k] S[t]' to the gradient of A(k)."""
    _, blocks, length, _ = pairs.shape
    for k in range(1, grad_kernel.shape[0] + 1):
        for i in range(blocks):
            for j in range(blocks):
                product(
                    pairs, (i * length + k * LANES) * LANES, pairs, (blocks + j) * length * LANES,
                    grad_kernel, (((k - 1) * blocks + i) * blocks + j) * LANES * LANES,
                    length - k * LANES, True,
                )  # fmt: skip
