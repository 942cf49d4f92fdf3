"""The spoken digits that ship inside the package: a binned copy, read without h5py or a cache.

The pack is one LZMA stream of five NumPy arrays: the width of a bin in ns, the number of samples
of each split (train, valid, test), the labels, the greatest time bin, and the frames (uint8, S, T,
C), all splits one behind the other. It holds every event, so that any grid whose bins are whole
multiples of its own can be summed from it exactly.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnbreg.datasets.binning import Array, Binning, Totals, coarsen, count_cells
from snnbreg.datasets.events import open_events
from snnbreg.datasets.loader import FrameSet

FILE = "spoken_digits.xz"


class Pack(NamedTuple):
    """The content of a pack.

    Attributes:
        bin_ns: width of a bin in nanoseconds.
        sizes: samples of each split.
        labels: uint8 (S,).
        frames: uint8 (S, T, C).
    """

    bin_ns: int
    sizes: tuple[int, ...]
    labels: Array
    frames: Array


def write_pack(
    files: Sequence[Path], target: Path, bin_ms: int = 10, channels: int = 140, classes: int = 10
) -> Pack:
    """Bin event files in SHD's layout and write them as a pack.

    Args:
        files: the files of the train, valid and test split.
        target: file to write.
        bin_ms: width of a bin in whole ms.
        channels: channels of the pack.
        classes: number of classes.

    Raises:
        ValueError: if a count does not fit a byte, so that coarser grids could not be summed.
    """
    bin_ns = bin_ms * 1_000_000
    cells: list[tuple[Array, ...]] = []
    labels: list[Array] = []
    sizes: list[int] = []
    longest = 0
    for path in files:
        with open_events(path, classes=classes) as file:
            events = file.read(0, len(file))
            bins = np.rint(events.times.astype(np.float64) * 1e9).astype(np.int64) // bin_ns
            sample = np.repeat(np.arange(events.samples), events.counts) + sum(sizes)
            cells.append((sample, bins, events.units.astype(np.int64) // (700 // channels)))
            labels.append(file.labels.astype(np.uint8))
            sizes.append(len(file))
            longest = max(longest, int(bins.max(initial=0)) + 1)
    shape = (sum(sizes), longest, channels)
    sample, bins, channel = (np.concatenate(column) for column in zip(*cells, strict=True))
    frames, saturated = count_cells((sample * longest + bins) * channels + channel, shape)
    if saturated:
        raise ValueError(f"{saturated} counts exceed 255: choose bins below {bin_ms} ms")
    pack = Pack(bin_ns, tuple(sizes), np.concatenate(labels), frames)
    with lzma.open(target, "wb", preset=9 | lzma.PRESET_EXTREME) as stream:
        for array in (np.int64(bin_ns), np.array(sizes, np.int64), pack.labels, frames):
            np.save(stream, array)
    return pack


def read_pack(path: Path | None = None) -> Pack:
    """Read a pack; without a path the one inside the package."""
    source = resources.files("snnbreg.datasets") / "data" / FILE if path is None else path
    with source.open("rb") as file, lzma.open(file) as stream:
        bin_ns, sizes, labels, frames = (np.load(stream) for _ in range(4))
    return Pack(int(bin_ns), tuple(int(size) for size in sizes), labels, frames)


def packed_recordings(pack: Pack, binning: Binning) -> list[FrameSet]:
    """Return the recordings of each split on a grid, summed from the pack's bins.

    Raises:
        ValueError: if the grid cannot be summed from the pack's.
    """
    every, channels = _fitting(pack, binning)
    steps = round(binning.duration_ms * 1e6) // pack.bin_ns
    recordings, start = [], 0
    for size in pack.sizes:
        part = slice(start, start + size)
        start += size
        fine = pack.frames[part]
        frames = np.empty((size, binning.steps, channels), np.uint8)
        saturated = 0
        for i in range(0, size, 256):
            frames[i : i + 256], more = coarsen(fine[i : i + 256], steps, every, channels)
            saturated += more
        dropped = int(fine[:, steps:].sum(dtype=np.int64))
        empty = int((~fine.any(axis=(1, 2))).sum())
        labels = pack.labels[part].astype(np.int64)
        totals = Totals(saturated, dropped, empty)
        recordings.append(FrameSet.of_arrays(frames, labels, totals=totals))
    return recordings


def _fitting(pack: Pack, binning: Binning) -> tuple[int, int]:
    """Return how many of the pack's bins make one of the grid's, and the channels."""
    have, hint = pack.bin_ns / 1e6, "set dataset.root to the folder with the event files"
    if binning.grid != "fixed":
        raise ValueError(
            "dataset.binning=delrec needs the times of the spikes, and the spoken digits inside "
            f"the package are binned already: {hint}, or use dataset.binning=fixed"
        )
    for option in ("bin_ms", "duration_ms"):
        nanoseconds = round(getattr(binning, option) * 1e6)
        if nanoseconds % pack.bin_ns:
            raise ValueError(
                f"dataset.{option}={getattr(binning, option):g} is not a whole multiple of the "
                f"{have:g} ms bins of the spoken digits inside the package: {hint}, or choose "
                "such a multiple"
            )
    if pack.frames.shape[2] % binning.channels:
        raise ValueError(
            f"dataset.channels={binning.channels} does not divide the {pack.frames.shape[2]} "
            f"channels of the spoken digits inside the package: {hint}, or choose a divisor"
        )
    return round(binning.bin_ms * 1e6) // pack.bin_ns, binning.channels
