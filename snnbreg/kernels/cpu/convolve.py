"""The loops of feed-forward synapses with a delay each.

    I_i[t] = sum_k sum_j A_ij(k) X_j[t-k],   A_ij(k) = W_ij h_ij(k),   k = 0 .. K - 1

A sender's kernels to all receivers, age after age, lie side by side as the currents of a sample do,
step after step: a **forward** event adds x times K N numbers to the currents from its step on, and
to the **gradient of A** it adds x times the gradients of the currents from its step on. Steps
without an event cost nothing.

The **gradient of the events** of a step is one product of A, whose zeros are skipped, with the
gradients of K steps, which lie side by side too.

Legend: T steps, B batch, C senders, N receivers, P = N rounded up to LANES, K ages.
"""

from __future__ import annotations

import numpy as np

from .blocks import load_tile, store_tile
from .compile import compiled
from .lanes import LANES, load, store
from .sparse import WIDTH, Matrix, multiply


@compiled
def convolve_events(
    samples: tuple[int, int],
    events: np.ndarray,  # (T, B, C)
    kernel: np.ndarray,  # (C, K, P)
    out: np.ndarray,  # (T, B, N), written: I
) -> None:
    """Currents of the samples samples[0] .. samples[1] - 1."""
    steps, _, senders = events.shape
    _, ages, width = kernel.shape
    receivers = out.shape[2]
    currents = np.empty((steps + ages, width), out.dtype)
    of_sender = np.empty((senders, steps), events.dtype)
    for b in range(samples[0], samples[1]):
        of_sender[:] = events[:, b].T
        currents[:] = 0
        for j in range(senders):
            for t in range(steps):
                x = of_sender[j, t]
                if x != 0:
                    _add(x, kernel, j * ages * width, currents, t * width, ages * width)
        out[:, b] = currents[:steps, :receivers]


@compiled
def convolve_events_backward(
    samples: tuple[int, int],
    grad: np.ndarray,  # (T, B, N), dI
    events: np.ndarray,  # (T, B, C)
    by_kernel: np.ndarray,  # (C, K, P), added to
) -> None:
    """The gradient of A by the samples samples[0] .. samples[1] - 1."""
    steps, _, senders = events.shape
    _, ages, width = by_kernel.shape
    receivers = grad.shape[2]
    grads = np.zeros((steps + ages, width), grad.dtype)  # 0 from step T on
    of_sender = np.empty((senders, steps), events.dtype)
    for b in range(samples[0], samples[1]):
        of_sender[:] = events[:, b].T
        grads[:steps, :receivers] = grad[:, b]
        for j in range(senders):
            for t in range(steps):
                x = of_sender[j, t]
                if x != 0:
                    _add(x, grads, t * width, by_kernel, j * ages * width, ages * width)


@compiled
def correlate(
    tiles: tuple[int, int],
    grad: np.ndarray,  # (T, B, N), dI
    kernel: Matrix,  # (C, K N), column k N + i: A of that age and receiver
    ages: int,
    by_events: np.ndarray,  # (T, B, C), written
) -> None:
    """The gradient of the events, of the tiles tiles[0] .. tiles[1] - 1 of LANES samples."""
    steps, _, receivers = grad.shape
    senders = by_events.shape[2]
    grads = np.zeros((WIDTH, steps + ages, receivers, LANES), grad.dtype)  # 0 from step T on
    step = np.empty((-(-receivers // LANES) * LANES, LANES), grad.dtype)
    found = np.empty((WIDTH, -(-senders // LANES) * LANES, LANES), grad.dtype)
    for first in range(tiles[0], tiles[1], WIDTH):
        together = min(WIDTH, tiles[1] - first)
        for k in range(together):
            for t in range(steps):
                load_tile(grad, t, (first + k) * LANES, step)
                grads[k, t] = step[:receivers]
        for t in range(steps):
            multiply(
                kernel, grads, t * receivers * LANES, grads[0].size,
                found, 0, found[0].size, together,
            )  # fmt: skip
            for k in range(together):
                store_tile(found[k], by_events, t, (first + k) * LANES)


@compiled
def _add(
    x: float, source: np.ndarray, source_at: int, target: np.ndarray, target_at: int, size: int
) -> None:
    """Add x times ``size`` numbers, a multiple of LANES, between flat indices."""
    for at in range(0, size, LANES):
        store(
            target, target_at + at, load(target, target_at + at) + load(source, source_at + at) * x
        )
