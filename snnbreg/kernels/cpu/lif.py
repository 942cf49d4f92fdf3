"""LIF neurons on vectors: the equations of ``functional.lif``, and the layer without recurrence.

Legend: T steps, M columns (samples x neurons), a multiple of LANES.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .blocks import copy
from .compile import compiled
from .lanes import LANES, heaviside, load, store, triangle

STRIP = 32 * LANES
"""Columns that are computed together for all steps: few enough for the processor's cache."""


class Neuron(NamedTuple):
    """``functional.LIFParameters`` in types that numba can compile."""

    leak: float
    threshold: float
    soft_reset: bool
    detach_reset: bool
    triangle: bool
    """Whether the surrogate is ``"triangle"``, otherwise ``"atan"``."""
    alpha: float


@compiled
def reset_membrane(h: Any, s: Any, neuron: Neuron) -> Any:
    """Membrane V after the reset, from the membrane H before the spike and the spike S."""
    if neuron.soft_reset:
        return h - s * neuron.threshold
    return h * (1 - s)


@compiled
def surrogate_slope(h: Any, neuron: Neuron) -> Any:
    """Derivative dS/dH by the surrogate."""
    x = h - neuron.threshold
    if neuron.triangle:
        return triangle(x)
    x = x * (0.5 * math.pi * neuron.alpha)
    return (0.5 * neuron.alpha) / (x * x + 1)


@compiled
def next_membrane_slope(h: Any, slope: Any, neuron: Neuron) -> Any:
    """Derivative dH[t+1]/dH[t] through reset and leak; ``slope`` is dS/dH at step t."""
    dv_dh = slope * 0 + 1 if neuron.soft_reset else 1 - heaviside(h, neuron.threshold)
    if not neuron.detach_reset:
        dv_dh = dv_dh - (slope * neuron.threshold if neuron.soft_reset else slope * h)
    return dv_dh * neuron.leak


@compiled
def run_lif(
    columns: tuple[int, int],
    current: np.ndarray,  # (T, M)
    neuron: Neuron,
    out: np.ndarray,  # (T, M), written: the spikes
    membrane: np.ndarray,  # (T, M), written unless empty
    start: np.ndarray,  # (1, M), V before the first step, or empty: zero
    end: np.ndarray,  # (1, M), written: V after the last step
) -> None:
    """All steps of the columns columns[0] .. columns[1] - 1; both are multiples of LANES."""
    steps, width = current.shape
    v = np.empty(STRIP, current.dtype)
    for first in range(columns[0], columns[1], STRIP):
        v[:] = 0
        last = min(STRIP, columns[1] - first)
        if start.size:
            copy(start, first, v, 0, last)
        for t in range(steps):
            for at in range(first, min(first + STRIP, columns[1]), LANES):
                h = load(current, t * width + at) + load(v, at - first) * neuron.leak
                s = heaviside(h, neuron.threshold)
                store(v, at - first, reset_membrane(h, s, neuron))
                store(out, t * width + at, s)
                if membrane.size:
                    store(membrane, t * width + at, h)
        copy(v, 0, end, first, last)


@compiled
def lif_backward(
    columns: tuple[int, int],
    grad: np.ndarray,  # (T, M), of the spikes
    neuron: Neuron,
    membrane: np.ndarray,  # (T, M)
    grad_current: np.ndarray,  # (T, M), written
    grad_end: np.ndarray,  # (1, M), of V after the last step, over the leak
) -> None:
    """Gradient of the current, for the columns columns[0] .. columns[1] - 1."""
    steps, width = grad.shape
    grad_h_next = np.empty(STRIP, grad.dtype)
    for first in range(columns[0], columns[1], STRIP):
        copy(grad_end, first, grad_h_next, 0, min(STRIP, columns[1] - first))
        for t in range(steps - 1, -1, -1):
            for at in range(first, min(first + STRIP, columns[1]), LANES):
                h = load(membrane, t * width + at)
                slope = surrogate_slope(h, neuron)
                grad_h = load(grad, t * width + at) * slope
                next_slope = next_membrane_slope(h, slope, neuron)
                grad_h = grad_h + load(grad_h_next, at - first) * next_slope
                store(grad_h_next, at - first, grad_h)
                store(grad_current, t * width + at, grad_h)
