"""Tables of the delay kernels for the loops of ``axonal``, from delays and half-widths."""

from __future__ import annotations

import numpy as np

NEVER = np.int64(1) << 40
"""An age that does not occur."""
MAX_DELAY = 2.0**30
"""Longest delay and half-width in steps, so that ages fit into an integer."""
TAPS = 6
"""Most non-zero entries of a kernel's second difference: two each at its start, peak and end."""


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


def tap_table(
    delay: np.ndarray, width: np.ndarray, ages: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Taps of the recursion, in float64, for the gradient of a spike g[t] = sum_k h(k) dz[t+k].

    With u = g[t] - g[t+1]: u[t] = keep u[t+1] + sum_q tap_q dz[t + age_q] and
    g[t] = keep g[t+1] + u[t]. keep is 1 and the taps the second difference of h; or, where h has
    no more than TAPS ages, keep is 0 and the taps are h itself.

    Args:
        delay: d in steps, (N,).
        width: s in steps, (N,).
        ages: as returned by ``delay_table``.

    Returns:
        Ages (N, TAPS), ascending, NEVER where unused; and keep and the taps, (N, 1 + TAPS).
    """
    delay = np.clip(delay, -MAX_DELAY, MAX_DELAY).astype(np.float64)[:, None]
    width = np.minimum(width, MAX_DELAY).astype(np.float64)[:, None]
    enter, leave = ages[:, [0]], ages[:, [2]]
    empty = enter == NEVER

    def height(k: np.ndarray) -> np.ndarray:
        h = np.maximum(width - np.abs(k - 1 - delay), 0.0) / (width * width)
        return np.where((k >= enter) & (k < leave) & ~empty, h, 0.0)

    peak = np.maximum(np.floor(delay).astype(np.int64) + 1, 0)
    corners = np.concatenate([enter, enter + 1, peak + 1, peak + 2, leave, leave + 1], 1)
    corners = np.sort(np.where(empty, NEVER, corners), 1)
    corners[:, 1:][corners[:, 1:] == corners[:, :-1]] = NEVER
    second_difference = height(corners) - 2.0 * height(corners - 1) + height(corners - 2)
    window = enter + np.arange(TAPS)
    short = leave - enter <= TAPS
    tap_ages = np.where(short, np.where((window < leave) & ~empty, window, NEVER), corners)
    taps = np.where(short, height(window), second_difference)
    order = np.argsort(tap_ages, 1, kind="stable")
    tap_ages, taps = (np.take_along_axis(x, order, 1) for x in (tap_ages, taps))
    return tap_ages, np.concatenate([np.where(short, 0.0, 1.0), taps], 1)
