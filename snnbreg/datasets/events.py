"""Reading recordings from HDF5 files in the layout of SHD and SSC (Cramer et al. 2020).

``spikes/times`` (seconds) and ``spikes/units`` hold one array of varying length per recording,
``labels`` one number per recording; ``extra/speaker`` (one number each) and ``extra/keys`` (the
words, by label) may be there too. Each file is opened once and binned into the cache; everything
that would make wrong frames is refused with a message that names the file and the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnbreg.datasets.binning import Array, Binning, Events, Frames, recordings_at_once
from snnbreg.datasets.cache import Stream, cached, file_identity, remembered
from snnbreg.datasets.loader import FrameSet

LAYOUT = "spikes/times (seconds), spikes/units and labels, one entry per recording"
MOST_CLASSES, MOST_UNITS = 2**16, 2**24  # where a file says how many it has: more are a mistake


class EventFile:
    """An open file of recordings; made by :func:`open_events`.

    Attributes:
        path: where it lies.
        labels: int64 (S,).
        speakers: int64 (S,), or None where the file does not say who is heard.
        words: the names of the classes (``extra/keys``), or () where the file has none.
    """

    def __init__(self, file: Any, path: Path, units: int, classes: int) -> None:
        self.path, self.units = path, units
        self._times, self._units, labels = (
            self._dataset(file, name) for name in ("spikes/times", "spikes/units", "labels")
        )
        counts = {d.name.lstrip("/"): d.shape for d in (self._times, self._units, labels)}
        if len(set(counts.values())) > 1 or len(labels.shape) != 1:
            raise ValueError(f"{path}: {LAYOUT} are expected, but the shapes are {counts}")
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{path}: labels must be integers, found {labels.dtype}; store them as int64"
            )
        self.labels = self._read(labels, slice(None)).astype(np.int64)
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= classes))
        if len(wrong):
            raise ValueError(
                f"{path}: recording {wrong[0]} has label {self.labels[wrong[0]]}, but this data "
                f"set has classes 0 to {classes - 1} ({len(wrong)} such recordings). dataset=own "
                "takes as many as the files have"
            )
        speakers, keys = (self._extra(file, name) for name in ("speaker", "keys"))
        known = speakers is not None and speakers.shape == self.labels.shape
        self.speakers = speakers.astype(np.int64) if speakers is not None and known else None
        names = () if keys is None else keys
        self.words = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in names)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, start: int, stop: int) -> Events:
        """Return recordings ``start`` to ``stop - 1``, checked.

        Raises:
            ValueError: if times and units differ in number, a time is negative or not finite,
                or a unit is out of range.
            OSError: if the file's content is damaged.
        """
        times, counts = self._rows(self._times, start, stop, np.float16)
        units, unit_counts = self._rows(self._units, start, stop, np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        self._refuse(
            np.flatnonzero(counts != unit_counts),
            start,
            lambda s: f"has {counts[s]} times but {unit_counts[s]} units",
        )
        self._check(times, units, offsets, start)
        return Events(times, units, offsets)

    def _check(self, times: Array, units: Array, offsets: Array, start: int) -> None:
        if not np.issubdtype(times.dtype, np.floating) or not np.issubdtype(
            units.dtype, np.integer
        ):
            raise ValueError(
                f"{self.path}: spikes/times must be floating numbers and spikes/units integers, "
                f"found {times.dtype} and {units.dtype}"
            )
        for bad, values, what in (
            (~np.isfinite(times) | (times < 0), times, "time {} (seconds, 0 or more)"),
            (
                (units < 0) | (units >= self.units),
                units,
                f"unit {{}} (0 to {self.units - 1}; dataset=own takes as many as the files have)",
            ),
        ):
            where = np.flatnonzero(bad)
            if len(where):
                text = "holds an impossible " + what.format(values[where[0]])
                sample = np.searchsorted(offsets, where[:1], side="right") - 1
                self._refuse(sample, start, lambda _, text=text: text)

    def _refuse(self, samples: Array, start: int, describe: Any) -> None:
        if len(samples):
            raise ValueError(
                f"{self.path}: recording {start + samples[0]} {describe(samples[0])}; "
                "the file is damaged or not of this data set"
            )

    def _dataset(self, file: Any, name: str) -> Any:
        import h5py

        found = file.get(name)
        if not isinstance(found, h5py.Dataset):
            raise ValueError(
                f"{self.path}: no {name}. A file in SHD's layout is expected ({LAYOUT}); "
                f"this one holds {sorted(file) or 'nothing'}"
            )
        if name != "labels" and h5py.check_vlen_dtype(found.dtype) is None:
            raise ValueError(
                f"{self.path}: {name} must hold arrays of varying length, one per recording, "
                f"found {found.dtype} of shape {found.shape}"
            )
        return found

    def _extra(self, file: Any, name: str) -> Array | None:
        return self._read(file[f"extra/{name}"], slice(None)) if f"extra/{name}" in file else None

    def _rows(self, dataset: Any, start: int, stop: int, empty: Any) -> tuple[Array, Array]:
        rows = self._read(dataset, slice(start, stop))
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        return (np.concatenate(rows) if len(rows) else np.empty(0, empty)), counts

    def _read(self, dataset: Any, where: slice) -> Array:
        try:
            return dataset[where]
        except OSError as error:
            raise OSError(
                f"{self.path}: {dataset.name} cannot be read ({error}); the file is damaged, "
                "fetch it again"
            ) from error


@contextmanager
def open_events(path: str | Path, units: int = 700, classes: int = 20) -> Iterator[EventFile]:
    """Open a file in SHD's layout for reading.

    Args:
        path: HDF5 file.
        units: number of input units; larger numbers in the file are an error.
        classes: number of classes; larger labels are an error.

    Yields:
        the open file, with its labels read and checked.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is not a complete HDF5 file.
        ValueError: if the layout or the labels are wrong.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a file with {LAYOUT} is expected")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(
            f"{path} is not a complete HDF5 file ({path.stat().st_size:,} bytes): {error}. It is "
            "truncated or of another kind; fetch it again and put it in this place"
        ) from error
    with file:
        yield EventFile(file, path, units, classes)


def read_words(path: Path) -> tuple[str, ...]:
    """Return the name of each class, as ``extra/keys`` of a file in SHD's layout has them.

    Raises:
        OSError: if it is not a complete HDF5 file.
        ValueError: if it does not name the classes.
    """
    with open_events(path, classes=MOST_CLASSES) as file:
        words = file.words
    if not words:
        raise ValueError(f"{path} does not name its classes: extra/keys must hold their words")
    return words


class Extent(NamedTuple):
    """How far a file of recordings reaches.

    Attributes:
        recordings: how many there are.
        classes: largest label + 1; 0 without recordings.
        units: largest unit + 1; 0 without events.
        seconds: time of the last event; -1 without events.
        words: the names of the classes (``extra/keys``), or ().
    """

    recordings: int
    classes: int
    units: int
    seconds: float
    words: tuple[str, ...]


def extent_of(path: Path, cache: Path) -> Extent:
    """Read a whole file in SHD's layout once, check it, and say how far it reaches.

    Args:
        path: HDF5 file.
        cache: folder of the cache, which keeps the answer.

    Raises:
        OSError, ValueError: as :func:`open_events` and :meth:`EventFile.read`.
    """
    key = {"extent": file_identity(path)} if path.is_file() else {}
    found = remembered(f"extent-{path.stem}", key, lambda: _extent(path), cache)
    return Extent(**{**found, "words": tuple(found["words"])})


def _extent(path: Path) -> dict[str, Any]:
    units, seconds = 0, -1.0
    with open_events(path, MOST_UNITS, MOST_CLASSES) as file:
        for start in range(0, len(file), 256):
            events = file.read(start, min(start + 256, len(file)))
            units = max(units, int(events.units.astype(np.int64).max(initial=-1)) + 1)
            seconds = max(seconds, float(events.times.max(initial=-1)))
        classes = int(file.labels.max(initial=-1)) + 1
        return Extent(len(file), classes, units, seconds, file.words)._asdict()


def load_event_file(path: Path, name: str, binning: Binning, classes: int, cache: Path) -> FrameSet:
    """Return the binned recordings of an HDF5 file in SHD's layout.

    Args:
        path: the file; it must exist.
        name: readable beginning of the cache entry's name.
        binning: how to bin.
        classes: number of classes of the data set.
        cache: folder of the cache.

    Raises:
        OSError, ValueError: as :func:`open_events` and :meth:`EventFile.read`.
    """
    key = {"file": file_identity(path), "classes": classes, **asdict(binning)}
    with ExitStack() as stack:

        def open_stream() -> Stream:
            file = stack.enter_context(open_events(path, binning.units, classes))
            names = file.words if len(file.words) == classes else ()
            return _stream(file, binning)._replace(speakers=file.speakers, class_names=names)

        return cached(f"{name}-{path.stem}", key, open_stream, cache)


def _stream(file: EventFile, binning: Binning) -> Stream:
    samples, steps = len(file), _steps(file, binning)
    at_once = recordings_at_once(steps * binning.channels)

    def parts() -> Iterator[Frames]:
        for start in range(0, samples, at_once):
            yield binning(file.read(start, min(start + at_once, samples)), steps)

    return Stream((samples, steps, binning.channels), file.labels, parts())


def _steps(file: EventFile, binning: Binning) -> int:
    """Return T of all recordings of a file, found by reading it once where they differ."""
    if binning.grid != "delrec_shd":
        return binning.steps
    longest = 1
    for start in range(0, len(file), 256):
        lengths = binning.lengths(file.read(start, min(start + 256, len(file))))
        assert lengths is not None
        longest = max(longest, int(lengths.max()))
    return longest
