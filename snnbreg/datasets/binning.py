"""Events to frames: how many spikes fall into each time bin and channel.

Legend: S samples, E events of all samples together, T time bins, C channels. The events of sample
``s`` are those from ``offsets[s]`` to ``offsets[s + 1]``. Pure functions on NumPy arrays, without
a loop over samples or events.

Three grids:

* ``fixed``: bins of one width from t = 0 for every recording; an event at or beyond the duration
  is dropped and counted. Times are compared as whole nanoseconds, so a grid whose bins are whole
  multiples of another's is exactly the sum of its bins.
* ``delrec_shd``: the published frames of SHD (Queant et al. 2025, arXiv 2509.24852, code). Time in
  milliseconds, in the file's own precision (float16), counted from the first spike;
  ``T = ceil(t_last / 10)`` differs between recordings, the last frame takes what remains.
* ``delrec_ssc``: the published frames of SSC (same source): ``digitize(times, linspace(0, 1.4,
  250))``, which leaves frame 0 empty and has bins of 1.4/249 s; later events go to the last frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

GRIDS = ("fixed", "delrec_shd", "delrec_ssc")
CELLS = 4_000_000  # cells binned at a time; a cell takes 8 bytes meanwhile
Array = npt.NDArray[Any]


class Events(NamedTuple):
    """Recordings one behind the other.

    Attributes:
        times: (E,) seconds, any floating type.
        units: (E,) number of the input unit of each event, integers from 0.
        offsets: (S + 1,) where each recording begins; the last entry is E.
    """

    times: Array
    units: Array
    offsets: Array

    @property
    def samples(self) -> int:
        """Number of recordings S."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Array:
        """Number of events of each recording, (S,)."""
        return np.diff(self.offsets)


class Totals(NamedTuple):
    """What a user should know about binned recordings.

    Attributes:
        saturated: how many counts were above 255.
        dropped: how many events lay beyond the grid.
        empty: how many recordings have no event at all; their frames are zero.
    """

    saturated: int = 0
    dropped: int = 0
    empty: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sums with those of other recordings."""
        return Totals(*(mine + its for mine, its in zip(self, other, strict=True)))


class Frames(NamedTuple):
    """Binned recordings.

    Attributes:
        frames: uint8 (S, T, C), counts; above 255 they stay at 255.
        lengths: int64 (S,) frames used by each recording, or None where all use T.
        totals: what was saturated, dropped or empty.
    """

    frames: Array
    lengths: Array | None
    totals: Totals


@dataclass(frozen=True)
class Binning:
    """The settings that turn events into frames.

    Args:
        grid: ``fixed``, ``delrec_shd`` or ``delrec_ssc`` (see the module's text).
        units: number of input units of the recording (700 for the cochlea model of SHD).
        channels: C, a divisor of ``units``; ``units / channels`` neighbouring units are summed.
        bin_ms: width of a bin in ms (for ``delrec_ssc`` it only sets the number of bins).
        duration_ms: length of the grid in ms; not used by ``delrec_shd``.

    Raises:
        ValueError: if a setting is impossible; the message names it.

    Example:
        >>> Binning(bin_ms=10, duration_ms=1400).steps
        140
    """

    grid: str = "fixed"
    units: int = 700
    channels: int = 140
    bin_ms: float = 10.0
    duration_ms: float = 1000.0

    EVEN: ClassVar[bool] = True  # every channel sums as many units

    def __post_init__(self) -> None:
        if self.grid not in GRIDS:
            raise ValueError(f"binning must be one of {', '.join(GRIDS)}, got {self.grid!r}")
        if self.channels < 1 or self.channels > self.units:
            raise ValueError(
                f"channels must be between 1 and the {self.units} input units, got {self.channels}"
            )
        if self.EVEN and self.units % self.channels:
            raise ValueError(
                f"channels must divide the {self.units} input units, got {self.channels}"
            )
        if not 1e-3 <= self.bin_ms <= self.duration_ms < float("inf"):
            raise ValueError(
                "bin_ms must be at least 0.001 and at most duration_ms, "
                f"got bin_ms={self.bin_ms} and duration_ms={self.duration_ms}"
            )

    @property
    def steps(self) -> int:
        """Number of bins of the grid; for ``delrec_shd`` each recording has its own."""
        return -(-_nanoseconds(self.duration_ms) // _nanoseconds(self.bin_ms))

    def lengths(self, events: Events) -> Array | None:
        """Return the number of frames of each recording, (S,), or None where all have ``steps``.

        A recording without events, or with all of them at one time, has one frame.
        """
        if self.grid != "delrec_shd":
            return None
        _, last = _since_first_spike(events)
        frames = np.ceil(last.astype(np.float64) / self.bin_ms).astype(np.int64)
        return np.maximum(frames, 1)

    def __call__(self, events: Events, steps: int | None = None) -> Frames:
        """Bin the recordings.

        Args:
            events: recordings, with units below ``units`` and times of 0 or more.
            steps: T of the result where it should exceed what these recordings need
                (``delrec_shd`` only).

        Returns:
            the frames, with what was saturated, dropped or empty.
        """
        lengths = self.lengths(events)
        if lengths is None:
            steps = self.steps
        elif steps is None:
            steps = int(lengths.max(initial=1))
        if self.grid == "fixed":
            bins = _fixed_bins(events.times, self.bin_ms, self.duration_ms, steps)
        elif lengths is None:
            bins = _digitized_bins(events.times, self.duration_ms, steps)
        else:
            bins = _bins_since_first_spike(events, self.bin_ms, lengths)
        keep = bins < steps
        channels = events.units.astype(np.int64) * self.channels // self.units
        sample = np.repeat(np.arange(events.samples), events.counts)
        cell = ((sample * steps + bins) * self.channels + channels)[keep]
        frames, saturated = count_cells(cell, (events.samples, steps, self.channels))
        empty = int((events.counts == 0).sum())
        return Frames(frames, lengths, Totals(saturated, int(len(keep) - keep.sum()), empty))


class UnevenBinning(Binning):
    """Binning with any number of channels up to ``units``: their widths differ by one unit at most.

    Example:
        >>> grid = UnevenBinning(units=5, channels=2, bin_ms=1, duration_ms=1)
        >>> events = Events(np.zeros(5), np.arange(5), np.array([0, 5]))
        >>> grid(events).frames.tolist()
        [[[3, 2]]]
    """

    EVEN = False


def recordings_at_once(cells: int) -> int:
    """Return how many recordings of so many cells (T times C) are binned together.

    Example:
        >>> recordings_at_once(140 * 140)
        204
    """
    return max(1, CELLS // cells)


def count_cells(cell: Array, shape: tuple[int, ...]) -> tuple[Array, int]:
    """Count how often each flat index occurs, in bytes that stop at 255.

    Args:
        cell: (E,) int64 indices into the flattened array.
        shape: shape of the result.

    Returns:
        uint8 array of that shape, and how many of its counts were above 255.

    Example:
        >>> count_cells(np.array([0, 2, 2]), (2, 2))[0].tolist()
        [[1, 0], [2, 0]]
    """
    return saturate(np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape))


def saturate(counts: Array) -> tuple[Array, int]:
    """Return counts as uint8, 255 where they are larger, and how many were larger.

    Example:
        >>> saturate(np.array([3, 255, 300]))
        (array([  3, 255, 255], dtype=uint8), 1)
    """
    return np.minimum(counts, 255).astype(np.uint8), int((counts > 255).sum())


def coarsen(frames: Array, steps: int, every: int, channels: int) -> tuple[Array, int]:
    """Sum the bins of a fixed grid into those of a coarser one.

    Args:
        frames: uint8 (S, T, C).
        steps: number of the fine bins that lie within the coarse grid's duration; the rest is cut
            off, missing ones are empty.
        every: fine bins per coarse bin; the last coarse bin may hold fewer.
        channels: channels of the result; must divide C.

    Returns:
        uint8 (S, ceil(steps / every), channels) and the number of saturated counts.
    """
    frames = frames[:, :steps]
    samples, have, width = frames.shape
    missing = -(-steps // every) * every - have
    if missing:
        frames = np.concatenate([frames, np.zeros((samples, missing, width), np.uint8)], axis=1)
    if every == 1 and channels == width:
        return np.ascontiguousarray(frames), 0
    grouped = frames.reshape(samples, -1, every, channels, width // channels)
    return saturate(grouped.sum(axis=(2, 4), dtype=np.uint32))


def _nanoseconds(milliseconds: float) -> int:
    return round(milliseconds * 1e6)


def _fixed_bins(times: Array, bin_ms: float, duration_ms: float, steps: int) -> Array:
    """Bin of each event, (E,); ``steps`` for events at or beyond the duration."""
    nanoseconds = np.rint(times.astype(np.float64) * 1e9).astype(np.int64)
    beyond = nanoseconds >= _nanoseconds(duration_ms)
    return np.where(beyond, steps, nanoseconds // _nanoseconds(bin_ms))


def _digitized_bins(times: Array, duration_ms: float, steps: int) -> Array:
    edges = np.linspace(0.0, duration_ms / 1000.0, steps)
    return np.minimum(np.digitize(times, edges), steps - 1)


def _since_first_spike(events: Events) -> tuple[Array, Array]:
    """Milliseconds since the recording's first spike: of each event (E,), of the last one (S,)."""
    milliseconds = events.times * events.times.dtype.type(1000)
    occupied = events.counts > 0
    starts = events.offsets[:-1][occupied]
    if not len(starts):
        return milliseconds, np.zeros(events.samples, milliseconds.dtype)
    first = np.minimum.reduceat(milliseconds, starts)
    milliseconds = milliseconds - np.repeat(first, events.counts[occupied])
    last = np.zeros(events.samples, milliseconds.dtype)
    last[occupied] = np.maximum.reduceat(milliseconds, starts)
    return milliseconds, last


def _bins_since_first_spike(events: Events, bin_ms: float, lengths: Array) -> Array:
    milliseconds, _ = _since_first_spike(events)
    bins = np.floor(milliseconds.astype(np.float64) / bin_ms).astype(np.int64)
    return np.minimum(bins, np.repeat(lengths, events.counts) - 1)
