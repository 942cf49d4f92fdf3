"""LIF neurons on vectors: the equations of ``functional.lif``, and the layer without recurrence.

Legend: T steps, M columns (samples x neurons), a multiple of LANES. ``lif`` is the tuple
(leak, threshold, soft reset?, detached reset?, triangle?, alpha).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .cpu_compile import compiled
from .cpu_lanes import LANES, load, reached, store, tent

STRIP = 32 * LANES
"""Columns that run through all steps together: long enough for memory, short enough for cache."""


@compiled
def discharge(h: Any, s: Any, lif: tuple) -> Any:
    """Membrane after the spike."""
    if lif[2]:
        return h - s * lif[1]
    return h * (1 - s)


@compiled
def slope_at(h: Any, lif: tuple) -> Any:
    """Derivative of the spike by the surrogate."""
    x = h - lif[1]
    if lif[4]:
        return tent(x)
    x = x * (0.5 * math.pi * lif[5])
    return (0.5 * lif[5]) / (x * x + 1)


@compiled
def carry_over(h: Any, slope: Any, lif: tuple) -> Any:
    """Derivative of the next membrane by this one, through leak and reset."""
    kept = slope * 0 + 1 if lif[2] else 1 - reached(h, lif[1])
    if not lif[3]:
        kept = kept - (slope * lif[1] if lif[2] else slope * h)
    return kept * lif[0]


@compiled
def forward(
    columns: tuple[int, int],
    current: np.ndarray,  # (T, M)
    lif: tuple,
    out: np.ndarray,  # (T, M), written: the spikes
    membrane: np.ndarray,  # (T, M), written unless empty
) -> None:
    """All steps of the columns from columns[0] up to columns[1], multiples of LANES."""
    steps, width = current.shape
    v = np.empty(STRIP, current.dtype)
    for first in range(columns[0], columns[1], STRIP):
        v[:] = 0
        for t in range(steps):
            for at in range(first, min(first + STRIP, columns[1]), LANES):
                h = load(current, t * width + at) + load(v, at - first) * lif[0]
                s = reached(h, lif[1])
                store(v, at - first, discharge(h, s, lif))
                store(out, t * width + at, s)
                if membrane.size:
                    store(membrane, t * width + at, h)


@compiled
def backward(
    columns: tuple[int, int],
    grad: np.ndarray,  # (T, M): of the spikes
    lif: tuple,
    membrane: np.ndarray,  # (T, M)
    grad_current: np.ndarray,  # (T, M), written
) -> None:
    """Gradient of the current for the columns from columns[0] up to columns[1]."""
    steps, width = grad.shape
    later = np.empty(STRIP, grad.dtype)
    for first in range(columns[0], columns[1], STRIP):
        later[:] = 0
        for t in range(steps - 1, -1, -1):
            for at in range(first, min(first + STRIP, columns[1]), LANES):
                h = load(membrane, t * width + at)
                slope = slope_at(h, lif)
                now = load(grad, t * width + at) * slope
                now = now + load(later, at - first) * carry_over(h, slope, lif)
                store(later, at - first, now)
                store(grad_current, t * width + at, now)
