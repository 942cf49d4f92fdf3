"""From a file of recordings to cached frames: what the data sets in SHD's layout share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from snnbreg.datasets.binning import Array, Binning, Frames
from snnbreg.datasets.cache import Recordings, Stream, cached, file_identity
from snnbreg.datasets.events import EventFile, open_events

CELLS = 4_000_000  # cells binned at a time; a cell takes 8 bytes meanwhile


def part_size(cells: int) -> int:
    """Return how many recordings of so many cells (T times C) are binned together.

    Example:
        >>> part_size(140 * 140)
        204
    """
    return max(1, CELLS // cells)


def load_event_file(
    path: Path, name: str, binning: Binning, classes: int, cache: Path
) -> Recordings:
    """Return the binned recordings of an HDF5 file in SHD's layout.

    Args:
        path: the file; it must exist.
        name: readable beginning of the cache entry's name.
        binning: how to bin.
        classes: number of classes of the data set.
        cache: folder of the cache.

    Raises:
        OSError, ValueError: as :func:`~snnbreg.datasets.events.open_events` and
            :meth:`~snnbreg.datasets.events.EventFile.read`.
    """
    key = {"file": file_identity(path), "classes": classes, **asdict(binning)}
    with ExitStack() as stack:

        def open_stream() -> Stream:
            return _stream(stack.enter_context(open_events(path, binning.units, classes)), binning)

        return cached(f"{name}-{path.stem}", key, open_stream, cache)


def _stream(file: EventFile, binning: Binning) -> Stream:
    samples = len(file)
    lengths = _lengths(file, binning)
    steps = binning.steps if lengths is None else int(lengths.max(initial=1))
    at_once = part_size(steps * binning.channels)

    def parts() -> Iterator[Frames]:
        for start in range(0, samples, at_once):
            yield binning(file.read(start, min(start + at_once, samples)), steps)

    return Stream((samples, steps, binning.channels), file.labels, lengths, parts())


def _lengths(file: EventFile, binning: Binning) -> Array | None:
    """Return the number of frames of each recording, where they differ."""
    if binning.grid != "delrec_shd":
        return None
    lengths = [np.empty(0, np.int64)]
    for start in range(0, len(file), 256):
        found = binning.lengths(file.read(start, min(start + 256, len(file))))
        assert found is not None
        lengths.append(found)
    return np.concatenate(lengths)
