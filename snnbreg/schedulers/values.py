"""Curves: pure functions of the step ``t``, counted from 0, over ``total`` steps.

Steps are epochs or batches, as the schedule that uses them counts. Beyond the end every curve
keeps its last value.
"""

from __future__ import annotations

import math


def linear(t: int, start: float, end: float, length: float) -> float:
    """A straight line from ``start`` at t = 0 to ``end`` at t = ``length``, then ``end``.

    Example:
        >>> [linear(t, 0.0, 1.0, 4) for t in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    return start + (end - start) * _fraction(t, length)


def cosine(t: int, start: float, end: float, length: float) -> float:
    """Half a cosine from ``start`` at t = 0 to ``end`` at t = ``length``, then ``end``.

    With ``length`` the number of epochs this is torch's ``CosineAnnealingLR`` in closed form.

    Example:
        >>> [round(cosine(t, 1.0, 0.0, 4), 3) for t in (0, 2, 4, 9)]
        [1.0, 0.5, 0.0, 0.0]
    """
    return end + (start - end) * (1 + math.cos(math.pi * _fraction(t, length))) / 2


def exponential(t: int, start: float, decay: float) -> float:
    """``start * decay ** t``.

    Example:
        >>> exponential(3, 8.0, 0.5)
        1.0
    """
    return start * decay**t


def one_cycle(
    t: int, total: int, low: float, high: float, last: float, pct_start: float, anneal: str = "cos"
) -> float:
    """One cycle: from ``low`` up to ``high`` in a share of the steps, then down to ``last``.

    The same numbers as torch's ``OneCycleLR``: the top is at step ``pct_start * total - 1``, the
    end at step ``total - 1``. Unlike torch, a single step (``total`` = 1) has the value at the
    top, since with the last one nothing would be learned, and no cycle divides by zero.

    Args:
        t: the step.
        total: number of steps.
        low: value at step 0.
        high: value at the top.
        last: value at the last step and after it.
        pct_start: the share of the steps that go up, in [0, 1].
        anneal: ``"cos"`` or ``"linear"``.

    Example:
        >>> [round(one_cycle(t, 10, 0.0, 1.0, 0.5, 0.3), 3) for t in (0, 1, 2, 9, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.5]
    """
    if total == 1:
        return high
    top, end = pct_start * total - 1, total - 1
    t = min(t, end)
    if t <= top:
        start, stop, fraction = low, high, _fraction(t, top)
    else:
        start, stop, fraction = high, last, _fraction(t - top, end - top)
    if anneal == "linear":
        return start + (stop - start) * fraction
    return stop + (start - stop) / 2 * (math.cos(math.pi * fraction) + 1)


def annealed_sigma(
    epoch: int, epochs: int, initial: float = 10.0, decay: float = 0.95, power: float = 100.0
) -> float:
    """The spread of the delay kernel in an epoch: ``initial * decay ** (power * e / E)``.

    Args:
        epoch: the epoch ``e``, from 0.
        epochs: the number of epochs ``E`` of the run.
        initial: sigma of the first epoch, in steps.
        decay: factor per hundredth of the run.
        power: the number of such factors over the whole run.

    Reference: Queant et al.: DelRec, the published configuration.

    Example:
        >>> round(annealed_sigma(50, 100), 2)
        0.77
    """
    return initial * decay ** (power * epoch / epochs)


def _fraction(t: float, length: float) -> float:
    """How much of a curve of this length has passed, in [0, 1]."""
    return min(1.0, t / length) if length > 0 else 1.0
