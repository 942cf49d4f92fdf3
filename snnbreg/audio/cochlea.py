"""From a sound to the spikes of 700 channels, as SHD was made (Cramer et al. 2020).

    sound -> level and window -> basilar membrane -> hair cells -> nerve fibres -> bushy cells

The published program (lauscher, arXiv 1910.07407) gives the same spikes in distribution; its random
numbers are others. Up to the random release the figures are the same to rounding, but for this: a
sound is padded with silence before it is transformed. So what still rings at the end of a recording
is not added to its beginning, and its last step is not a step late.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft

from snnbreg.audio.arrays import Array
from snnbreg.audio.cells import RATE as STEPS_PER_SECOND
from snnbreg.audio.cells import REST, bushy_cells, hair_cells
from snnbreg.audio.membrane import CHANNELS, RATE, spectrum_size, velocity

LEVEL = 0.3  # root mean square of a sound before the window
_BLOCK = 32  # channels at a time: whole vectors, in arrays that fit into a core's own cache
VERSION = 1
"""Raised whenever the same sound and seed would give other spikes."""


class Spikes(NamedTuple):
    """What a cochlea says, sorted by time.

    Attributes:
        times: float64 (E,) seconds.
        units: uint16 (E,) channels, 0 for the highest tones.
    """

    times: Array
    units: Array


def hear(samples: Array, seed: int = 0, tail: float = 0.0) -> Spikes:
    """Turn a sound into spikes.

    Args:
        samples: (N,) at 48 kHz, of any level.
        seed: of the nerve fibres; equal sounds and seeds give equal spikes.
        tail: seconds of silence that follow the sound.

    Returns:
        the spikes of 700 channels, steps of 1/24 ms.

    Raises:
        ValueError: the sound is silent, or too short to hold a step.

    Example:
        >>> tone = np.sin(2 * np.pi * 440 * np.arange(4800) / 48_000)
        >>> spikes = hear(tone)
        >>> abs(int(np.median(spikes.units)) - 480) < 20  # just above the place of 440 Hz
        True
    """
    sound = np.pad(windowed(levelled(samples)), (0, round(tail * RATE)))
    size = spectrum_size(len(sound))
    spectrum = fft.rfft(sound, 2 * size - 2)
    steps = len(sound) // 2 + 1
    seeds = np.random.SeedSequence(seed).generate_state(CHANNELS, np.uint64)
    times, units = [], []
    for first in range(0, CHANNELS, _BLOCK):
        channels = slice(first, first + _BLOCK)
        firing = fibres(velocity(spectrum, channels), steps)
        found = np.empty((firing.shape[1], steps // REST + 2), np.int32)
        counts = np.empty(len(found), np.int64)
        bushy_cells(firing, seeds[channels], found, counts)
        times += [row[:count] for row, count in zip(found, counts, strict=True)]
        units.append(np.repeat(np.arange(first, first + len(found)), counts))
    when, where = np.concatenate(times), np.concatenate(units)
    order = np.lexsort((where, when))
    return Spikes(when[order] / STEPS_PER_SECOND, where[order].astype(np.uint16))


def levelled(samples: Array) -> Array:
    """The sound with a root mean square of 0.3.

    Raises:
        ValueError: it is silent or too short.
    """
    samples = np.asarray(samples, np.float64)
    if len(samples) < RATE // 1000:
        raise ValueError(f"a sound of {len(samples)} samples is too short to be heard")
    level = np.sqrt(np.mean(samples**2))
    if not level > 0:
        raise ValueError("the sound is silent")
    return samples * (LEVEL / level)


def windowed(samples: Array) -> Array:
    """The sound faded in over its first half and out over its second one (Hann)."""
    half = len(samples) // 2
    fade = np.hanning(2 * half)[:half]
    middle = np.ones(len(samples) - 2 * half)
    return samples * np.concatenate([fade, middle, fade[::-1]])


def fibres(moved: Array, steps: int) -> Array:
    """The probability that a fibre fires in a step, float32 (steps, L), of velocities (L, ...)."""
    firing = np.empty((steps, len(moved)), np.float32)
    hair_cells(moved, firing)
    return firing
