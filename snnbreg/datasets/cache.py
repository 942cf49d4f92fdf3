"""The cache of binned recordings: bin once, memory-map ever after.

An entry is a folder ``<cache>/frames/<name>-<hash>`` with ``frames.npy`` (uint8), ``labels.npy``,
``lengths.npy`` where recordings differ in length, ``speakers.npy`` where they are known, and
``meta.json``, which has the names of the classes. The hash covers the source
file's resolved path, size and time of change, every setting of the transform and the version of
the binning code. An entry is written to a folder of its own and renamed when complete, so a reader
sees all of it or nothing, and of several processes that write the same entry the first one wins.
Where the cache cannot be written (no permission, disk full), the frames are kept in memory and a
note says so. Deleting the cache is always safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnbreg.datasets.binning import Array, Frames, Totals
from snnbreg.datasets.loader import FrameSet

VERSION = 1  # raised whenever the same settings would give other frames
STALE_SECONDS = 86_400.0


class Stream(NamedTuple):
    """Recordings that are about to be binned.

    Attributes:
        shape: (S, T, C) of the frames.
        labels: int64 (S,), or with more axes after the first.
        parts: the frames, some recordings at a time.
        speakers: int64 (S,), or None where it is not known who is heard.
        class_names: of class 0, 1, ...; empty where they are numbers.
    """

    shape: tuple[int, int, int]
    labels: Array
    parts: Iterator[Frames]
    speakers: Array | None = None
    class_names: tuple[str, ...] = ()


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder for everything that is derived or downloaded.

    In this order: the argument, the environment variable ``SNNBREG_CACHE``,
    ``$XDG_CACHE_HOME/snnbreg``, ``~/.cache/snnbreg``. Nothing is created.

    Example:
        >>> cache_folder("somewhere").name
        'somewhere'
    """
    chosen = cache or os.environ.get("SNNBREG_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snnbreg"


def file_identity(path: Path) -> dict[str, Any]:
    """Return what tells a file from another one: resolved path, size, time of change in ns."""
    stat = path.stat()
    return {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def cached(
    name: str, key: Mapping[str, Any], open_stream: Callable[[], Stream], folder: Path
) -> FrameSet:
    """Return binned recordings from the cache, after binning them where it has none.

    Args:
        name: readable beginning of the entry's name.
        key: everything the frames depend on, as plain values.
        open_stream: begins the binning; called again if the cache fails half way.
        folder: the cache; entries lie in its sub-folder ``frames``.

    Returns:
        the recordings, memory-mapped unless the cache could not be written.

    Raises:
        ValueError, OSError: what ``open_stream`` raises; the cache is then left as it was.
    """
    text = json.dumps({"version": VERSION, **key}, sort_keys=True)
    entry = folder / "frames" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    found = _read(entry)
    if found is not None:
        return found
    try:
        _write(entry, open_stream(), text)
        found = _read(entry)
        reason = "it cannot be read back"
    except _CacheError as failure:
        reason = str(failure)
    if found is not None:
        return found
    note = f"binned recordings are kept in memory: the cache {folder} is of no use ({reason})"
    return replace(_in_memory(open_stream()), notes=(note,))


def remembered(
    name: str, key: Mapping[str, Any], find: Callable[[], dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """Return plain values from the cache, after finding them where it has none.

    Args:
        name: readable beginning of the entry's name.
        key: everything the values depend on, as plain values.
        find: finds them.
        folder: the cache; entries lie in its sub-folder ``facts``. One that cannot be written is
            done without.
    """
    text = json.dumps({"version": VERSION, **key}, sort_keys=True)
    entry = folder / "facts" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(entry.read_text())
        return found
    found = find()
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=entry.parent, delete=False) as part:
            json.dump(found, part)
        os.replace(part.name, entry)
    return found


class _CacheError(Exception):
    """The cache, not the data, made trouble."""


def _read(entry: Path) -> FrameSet | None:
    """Map an entry, or None where there is none or it is damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        # copy-on-write, because torch refuses arrays that cannot be written
        frames = np.asarray(np.load(entry / "frames.npy", mmap_mode="c"))
        labels = np.load(entry / "labels.npy")
        lengths = np.load(entry / "lengths.npy") if meta["lengths"] else None
        totals = Totals(*(meta[name] for name in Totals._fields))
        # an entry of an earlier version has neither speakers nor names
        speakers = np.load(entry / "speakers.npy") if meta.get("speakers") else None
        names = tuple(meta.get("class_names", ()))
        return FrameSet.of_arrays(frames, labels, lengths, totals, speakers, names)
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _write(entry: Path, stream: Stream, key: str) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(entry.parent)
        part = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    except OSError as error:
        raise _CacheError(error) from error
    try:
        lengths, totals = _write_frames(part / "frames.npy", stream)
        known = {"lengths": lengths is not None, "speakers": stream.speakers is not None}
        meta = {**known, "class_names": stream.class_names, **totals._asdict()}
        meta["key"] = json.loads(key)
        try:
            np.save(part / "labels.npy", stream.labels)
            if lengths is not None:
                np.save(part / "lengths.npy", lengths)
            if stream.speakers is not None:
                np.save(part / "speakers.npy", stream.speakers)
            (part / "meta.json").write_text(json.dumps(meta, indent=1))
            _publish(part, entry)
        except OSError as error:
            raise _CacheError(error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_frames(path: Path, stream: Stream) -> tuple[Array | None, Totals]:
    """Write the parts one by one; plain writes, so that a full disk is an error and no crash.

    Returns:
        the lengths of all recordings where they differ, and what was counted on the way.
    """
    lengths, totals = [], Totals()
    header = {"descr": "|u1", "fortran_order": False, "shape": stream.shape}
    try:
        file = path.open("wb")
    except OSError as error:
        raise _CacheError(error) from error
    try:
        with file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in _data(stream.parts):
                file.write(np.ascontiguousarray(part.frames).data)
                lengths.append(part.lengths)
                totals = totals.plus(part.totals)
            file.flush()
            os.fsync(file.fileno())
    except _DataError as failure:
        raise failure.error from None
    except OSError as error:
        raise _CacheError(error) from error
    return _joined(lengths), totals


def _joined(lengths: list[Array | None]) -> Array | None:
    """Return the lengths of all parts; None where every recording uses all frames."""
    known = [part for part in lengths if part is not None]
    return np.concatenate(known) if known else None


class _DataError(Exception):
    def __init__(self, error: Exception) -> None:
        self.error = error


def _data(parts: Iterator[Frames]) -> Iterator[Frames]:
    """Mark what goes wrong in reading the recordings, so that it is not taken for the cache's."""
    try:
        yield from parts
    except (OSError, ValueError) as error:
        raise _DataError(error) from error


def _publish(part: Path, entry: Path) -> None:
    """Give a complete entry its name, unless another process was first."""
    for _ in range(2):
        try:
            part.rename(entry)
            return
        except OSError:
            if _read(entry) is not None:
                return
            if not entry.exists():
                raise
            shutil.rmtree(entry, ignore_errors=True)  # a damaged entry
    raise OSError(f"{entry} can be neither read nor replaced")


def _remove_stale(folder: Path) -> None:
    """Remove what processes that were killed while writing have left behind."""
    for left in folder.glob(".*"):
        with contextlib.suppress(OSError):  # another process may be removing it too
            if left.is_dir() and time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _in_memory(stream: Stream) -> FrameSet:
    frames, done = np.empty(stream.shape, np.uint8), 0
    lengths, totals = [], Totals()
    for part in stream.parts:
        frames[done : done + len(part.frames)] = part.frames
        done += len(part.frames)
        lengths.append(part.lengths)
        totals = totals.plus(part.totals)
    of_samples = stream.speakers, stream.class_names
    return FrameSet.of_arrays(frames, stream.labels, _joined(lengths), totals, *of_samples)
