"""The loops of feed-forward synapses with a delay each.

    I_i[t] = sum_k sum_j A_ij(k) X_j[t-k],   A_ij(k) = W_ij h_ij(k),   k = 0 .. K - 1

The receivers come in panels of LANES. In a panel a sender's kernel, age after age, lies as the
currents of a sample do, step after step: a **forward** event adds x times K vectors to the currents
from its step on, and to the **gradient of A** it adds x times the gradients of the currents from
its step on. Both fit into the processor's nearest cache; steps without an event cost nothing.

The **gradient of the events** of a step is one product of A, whose zeros are skipped, with the
gradients of K steps, which lie side by side too.

Legend: T steps, B batch, C senders, N receivers, P panels of LANES receivers, K ages.
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
    kernel: np.ndarray,  # (P, C, K, LANES)
    out: np.ndarray,  # (T, B, N), written: I
) -> None:
    """Currents of the samples samples[0] .. samples[1] - 1."""
    steps, _, receivers = out.shape
    panels, senders, ages, _ = kernel.shape
    currents = np.empty((steps + ages, LANES), out.dtype)
    start, when, value = _space(events)
    for b in range(samples[0], samples[1]):
        _list_by_sender(events, b, start, when, value)
        for panel in range(panels):
            currents[:] = 0
            for j in range(senders):
                at = (panel * senders + j) * ages * LANES
                for e in range(start[j], start[j + 1]):
                    _add(value[e], kernel, at, currents, when[e] * LANES, ages)
            first = panel * LANES
            here = min(LANES, receivers - first)
            out[:, b, first : first + here] = currents[:steps, :here]


@compiled
def convolve_events_backward(
    samples: tuple[int, int],
    grad: np.ndarray,  # (T, B, N), dI
    events: np.ndarray,  # (T, B, C)
    by_kernel: np.ndarray,  # (P, C, K, LANES), added to
) -> None:
    """The gradient of A by the samples samples[0] .. samples[1] - 1."""
    steps, _, receivers = grad.shape
    panels, senders, ages, _ = by_kernel.shape
    grads = np.zeros((steps + ages, LANES), grad.dtype)  # 0 from step T on
    start, when, value = _space(events)
    for b in range(samples[0], samples[1]):
        _list_by_sender(events, b, start, when, value)
        for panel in range(panels):
            first = panel * LANES
            here = min(LANES, receivers - first)
            grads[:steps, :here] = grad[:, b, first : first + here]
            for j in range(senders):
                at = (panel * senders + j) * ages * LANES
                for e in range(start[j], start[j + 1]):
                    _add(value[e], grads, when[e] * LANES, by_kernel, at, ages)


@compiled
def _space(events: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for the events of a sample: where each sender's begin, and their steps and values."""
    steps, _, senders = events.shape
    most = steps * senders
    start = np.empty(senders + 1, np.int64)
    return start, np.empty(most, np.int64), np.empty(most, events.dtype)


@compiled
def _list_by_sender(
    events: np.ndarray, b: int, start: np.ndarray, when: np.ndarray, value: np.ndarray
) -> None:
    """List the events of sample b, in the order of senders and steps."""
    steps, _, senders = events.shape
    start[:] = 0
    for t in range(steps):
        for j in range(senders):
            if events[t, b, j] != 0:
                start[j] += 1
    total = 0
    for j in range(senders):
        total, start[j] = total + start[j], total
    for t in range(steps):
        for j in range(senders):
            if events[t, b, j] != 0:
                when[start[j]], value[start[j]] = t, events[t, b, j]
                start[j] += 1
    for j in range(senders, 0, -1):  # each now stands where the next one begins
        start[j] = start[j - 1]
    start[0] = 0


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
    x: float, source: np.ndarray, source_at: int, target: np.ndarray, target_at: int, vectors: int
) -> None:
    """Add x times some vectors, between flat indices."""
    for at in range(0, vectors * LANES, LANES):
        to = target_at + at
        store(target, to, load(target, to) + load(source, source_at + at) * x)
