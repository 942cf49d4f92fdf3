"""From a file of recordings to cached frames: what the data sets in SHD's layout share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from snnbreg.datasets.binning import Array, Binning, Frames
from snnbreg.datasets.cache import Recordings, Stream, cached, file_identity
from snnbreg.datasets.events import EventFile, open_events
from snnbreg.datasets.loader import FrameSet

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
        path: the file.
        name: readable beginning of the cache entry's name.
        binning: how to bin.
        classes: number of classes of the data set.
        cache: folder of the cache.

    Raises:
        FileNotFoundError, OSError, ValueError: as :func:`~snnbreg.datasets.events.open_events`
            and :meth:`~snnbreg.datasets.events.EventFile.read`.
    """
    with ExitStack() as stack:

        def open_stream() -> Stream:
            file = stack.enter_context(open_events(path, binning.units, classes))
            return _stream(file, binning)

        key = {"file": file_identity(path), "classes": classes, **asdict(binning)}
        return cached(f"{name}-{path.stem}", key, open_stream, cache)


def _stream(file: EventFile, binning: Binning) -> Stream:
    samples = len(file)
    lengths, empty = _survey(file, binning)
    steps = binning.steps if lengths is None else int(lengths.max(initial=1))
    shape = (samples, steps, binning.channels)
    at_once = part_size(steps * binning.channels)

    def parts() -> Iterator[Frames]:
        for start in range(0, samples, at_once):
            yield binning(file.read(start, min(start + at_once, samples)), steps)

    return Stream(shape, file.labels, lengths, empty, parts())


def _survey(file: EventFile, binning: Binning) -> tuple[Array | None, int]:
    """Return the number of frames of each recording and how many recordings are empty."""
    lengths, empty = [], 0
    for start in range(0, len(file), 256):
        events = file.read(start, min(start + 256, len(file)))
        empty += int((events.counts == 0).sum())
        lengths.append(binning.lengths(events))
    used = [part for part in lengths if part is not None]
    return (np.concatenate(used) if used else None), empty


def frame_set(recordings: Recordings) -> FrameSet:
    """Return a split with all recordings; the frames are shared, not copied."""
    lengths = recordings.lengths
    return FrameSet(
        torch.from_numpy(recordings.frames),
        torch.from_numpy(recordings.labels),
        lengths=None if lengths is None else torch.from_numpy(lengths),
    )


def describe(parts: Sequence[tuple[str, Recordings]]) -> tuple[str, ...]:
    """Return the notes a run prints about its data: what was dropped, saturated or empty."""
    notes = []
    for name, part in parts:
        for count, text in (
            (part.empty, "recordings without events: their frames are all zero"),
            (part.dropped, "events beyond the grid's duration dropped"),
            (part.saturated, "counts above 255 set to 255"),
        ):
            if count:
                notes.append(f"{name}: {count:,} {text}")
        notes += [note for note in part.notes if note not in notes]
    return tuple(notes)
