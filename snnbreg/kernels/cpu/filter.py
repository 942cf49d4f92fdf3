"""The loops over time that filter the events of senders with one kernel each.

Samples and senders do not meet. A tile is one sample and ``LANES`` senders; its history is
rearranged so that the time steps of a sender lie side by side, and a vector is ``LANES`` steps.

**Forward**, an event adds its sender's kernel, as long as the kernel is, to the steps to come:
z[t + first + k] += x[t] h(k). Steps without an event cost nothing.

**Backward**, dx[t] = sum_k h(k) dz[t + first + k] for all steps, and each event adds
x[t] dz[t + first + k] to the gradient of h(k).

Kernels are kept from their first age that is not zero, padded with zeros to whole vectors.

Legend: T steps, B batch, C senders, L length of the kernels, a multiple of LANES.
"""

from __future__ import annotations

import numpy as np

from .blocks import transpose
from .compile import compiled
from .lanes import LANES, broadcast, load, store


@compiled
def filter_events(
    samples: tuple[int, int],
    events: np.ndarray,  # (T, B, C)
    first: np.ndarray,  # (C,), first age of each kernel, at most T
    count: np.ndarray,  # (C,), how many ages from there on, at most L
    kernel: np.ndarray,  # (C, L), from the first age on
    out: np.ndarray,  # (T, B, C), written: z
) -> None:
    """Filter the samples from samples[0] up to samples[1]."""
    steps, _, senders = events.shape
    length = kernel.shape[1]
    width = _reach(steps, first, length)
    rows = np.zeros((LANES, width), events.dtype)
    nothing = broadcast(events.flat[0]) * 0
    for b in range(samples[0], samples[1]):
        for start in range(0, senders, LANES):
            here = min(LANES, senders - start)
            for at in range(0, LANES * width, LANES):
                store(rows, at, nothing)
            for t in range(steps):
                for j in range(here):
                    x = events[t, b, start + j]
                    if x != 0:
                        sender = start + j
                        to = j * width + t + first[sender]
                        for k in range(0, count[sender], LANES):
                            h = load(kernel, sender * length + k)
                            store(rows, to + k, load(rows, to + k) + h * x)
            _bring_back(rows, out, b, start, here)


@compiled
def filter_events_backward(
    samples: tuple[int, int],
    grad: np.ndarray,  # (T, B, C), dz
    events: np.ndarray,  # (T, B, C)
    first: np.ndarray,  # (C,)
    count: np.ndarray,  # (C,)
    kernel: np.ndarray,  # (C, L)
    by_events: np.ndarray,  # (T, B, C), or (0, 0, 0) if not wanted; written: dx
    by_kernel: np.ndarray,  # (C, L) float64, or (0, 0) if not wanted; added to
) -> None:
    """The gradients of the samples from samples[0] up to samples[1]."""
    steps, _, senders = events.shape
    length = kernel.shape[1]
    width = _reach(steps, first, length)
    late = np.zeros((LANES, width), grad.dtype)  # dz, zero from step T on
    early = np.zeros((LANES, width), grad.dtype)
    ages = np.zeros((LANES, length), grad.dtype)
    nothing = broadcast(grad.flat[0]) * 0
    for b in range(samples[0], samples[1]):
        for start in range(0, senders, LANES):
            here = min(LANES, senders - start)
            _load_rows(grad, b, start, here, late)
            if by_events.size:
                for j in range(here):
                    sender = start + j
                    for t in range(0, steps, LANES):
                        value = nothing
                        at = j * width + t + first[sender]
                        for k in range(count[sender]):
                            value = value + load(late, at + k) * kernel[sender, k]
                        store(early, j * width + t, value)
                _bring_back(early, by_events, b, start, here)
            if by_kernel.size:
                ages[:] = 0
                for t in range(steps):
                    for j in range(here):
                        x = events[t, b, start + j]
                        if x != 0:
                            sender = start + j
                            at = j * width + t + first[sender]
                            to = j * length
                            for k in range(0, count[sender], LANES):
                                value = load(ages, to + k) + load(late, at + k) * x
                                store(ages, to + k, value)
                for j in range(here):
                    by_kernel[start + j] += ages[j]


@compiled
def _reach(steps: int, first: np.ndarray, length: int) -> int:
    """How many steps a tile needs so that no event reaches beyond, a multiple of LANES."""
    latest = 0
    for age in first:
        latest = max(latest, age)
    return (-(-steps // LANES) - (-latest // LANES)) * LANES + length


@compiled
def _load_rows(source: np.ndarray, b: int, start: int, here: int, rows: np.ndarray) -> None:
    """Bring a tile from source (T, B, C) to rows (LANES, steps), of which later ones stay."""
    steps, batch, senders = source.shape
    width = rows.shape[1]
    whole = steps - steps % LANES if here == LANES else 0
    for t in range(0, whole, LANES):
        place = (t * batch + b) * senders + start
        transpose(source, place, batch * senders, rows, t, width)
    for t in range(whole, steps):
        for j in range(here):
            rows[j, t] = source[t, b, start + j]


@compiled
def _bring_back(rows: np.ndarray, target: np.ndarray, b: int, start: int, here: int) -> None:
    """Bring a tile from rows (LANES, steps) to target (T, B, C)."""
    steps, batch, senders = target.shape
    width = rows.shape[1]
    whole = steps - steps % LANES if here == LANES else 0
    for t in range(0, whole, LANES):
        place = (t * batch + b) * senders + start
        transpose(rows, t, width, target, place, batch * senders)
    for t in range(whole, steps):
        for j in range(here):
            target[t, b, start + j] = rows[j, t]
