"""Tables of the delay kernels for the loops of ``axonal``, from delays and half-widths."""

from __future__ import annotations

import numpy as np

NEVER = np.int64(1) << 40
"""An age that does not occur."""
MAX_DELAY = 2.0**30
"""Longest delay and half-width in steps, so that ages fit into an integer."""


def delay_table(delay: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ages at which ``axonal._delay_spikes`` changes n, c and m, and by how much.

    Whether h(k) > 0 is decided in the type of the arguments and by the operations of
    ``functional.delay_kernel``, so that the same ages have a gradient.

    Args:
        delay: d in steps, (N,).
        width: s in steps, (N,).

    Returns:
        Ages (N, 4), int64, at which a spike enters the kernel, crosses the peak, leaves the
        kernel, and is exactly at the peak (NEVER if that does not happen); and (N, 7) in the type
        of ``delay``: change of c and of m at the entry, change of m at the end, s, f, 1/s^2, 2/s.
    """
    delay, width = (
        np.clip(delay, -MAX_DELAY, MAX_DELAY),
        np.minimum(width, delay.dtype.type(MAX_DELAY)),
    )
    peak = np.floor(delay).astype(np.int64) + 1
    center = delay.astype(np.float64) + 1.0
    enter = _first(np.floor(center - width).astype(np.int64) + 1, delay, width, inside=True)
    enter = np.maximum(enter, 1)
    leave = _first(np.ceil(center + width).astype(np.int64), delay, width, inside=False)
    after_peak = enter > peak  # a negative delay: spikes enter right of the peak
    ages = np.stack([enter, np.where(after_peak, NEVER, peak + 1), leave, peak], 1)
    whole = (delay == np.floor(delay)) & ~after_peak
    ages[:, 3] = np.where(whole, peak, NEVER)
    ages[leave <= enter] = NEVER  # h(k) = 0 for all k >= 1
    kernel = np.empty((len(delay), 7), delay.dtype)
    kernel[:, 0] = np.where(after_peak, 1, -1)
    kernel[:, 1] = -np.abs(enter - peak)
    kernel[:, 2] = leave - peak
    kernel[:, 3] = width
    kernel[:, 4] = delay - np.floor(delay)
    kernel[:, 5] = 1 / (width * width)
    kernel[:, 6] = 2 / width
    return ages, kernel


def _first(guess: np.ndarray, delay: np.ndarray, width: np.ndarray, inside: bool) -> np.ndarray:
    """First age among guess - 1 .. guess + 1 inside the kernel, or outside it."""
    ages = guess[:, None] + np.array([-1, 0, 1])
    found = width[:, None] - np.abs((ages - 1).astype(delay.dtype) - delay[:, None]) > 0
    if not inside:
        found = ~found
    return guess - 1 + np.where(found.any(1), found.argmax(1), 1)
