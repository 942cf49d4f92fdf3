from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from snnbreg.datasets import cache as cache_module
from snnbreg.datasets.binning import Binning, Frames, Totals
from snnbreg.datasets.cache import Stream, cache_folder, cached
from snnbreg.datasets.events import load_event_file
from snnbreg.datasets.loader import FrameSet

KEY = {"file": "x", "bin_ms": 10}


def stream(value: int = 1, parts: int = 3, calls: list[int] | None = None) -> Stream:
    def produce() -> Iterator[Frames]:
        for i in range(parts):
            if calls is not None:
                calls.append(i)
            frames = np.full((2, 4, 3), value + i, np.uint8)
            yield Frames(frames, np.full(2, 4), Totals(1, 2, 3))

    samples = 2 * parts
    return Stream((samples, 4, 3), np.arange(samples), produce())


def check(result: FrameSet, value: int = 1) -> None:
    expected = np.repeat([value, value + 1, value + 2], 2)
    np.testing.assert_array_equal(
        result.frames, np.broadcast_to(expected[:, None, None], (6, 4, 3))
    )
    assert result.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert result.lengths is not None
    assert result.lengths.tolist() == [4] * 6
    assert result.totals == Totals(saturated=3, dropped=6, empty=9)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "frames").iterdir())


def test_recordings_are_binned_once_and_mapped(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(3):
        result = cached("a", KEY, lambda: stream(calls=calls), tmp_path)
        check(result)
        assert result.notes == ()
    assert calls == [0, 1, 2]
    (entry,) = entries(tmp_path)
    with (tmp_path / "frames" / entry / "frames.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([77]))
    assert result.frames[-1, -1, -1] == 77  # the frames are those of the file


def test_every_setting_has_an_entry_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(cached("a", KEY, stream, tmp_path))
    check(cached("a", {**KEY, "bin_ms": 20}, lambda: stream(7), tmp_path), 7)
    check(cached("a", {**KEY, "file": "y"}, lambda: stream(8), tmp_path), 8)
    monkeypatch.setattr(cache_module, "VERSION", cache_module.VERSION + 1)
    check(cached("a", KEY, lambda: stream(9), tmp_path), 9)
    assert len(entries(tmp_path)) == 4


def test_a_changed_file_is_binned_again(event_file: Callable[..., Path], tmp_path: Path) -> None:
    grid, folder = Binning(), tmp_path / "c"
    first = load_event_file(event_file(), "x", grid, 5, folder)
    path = event_file(seed=1)
    second = load_event_file(path, "x", grid, 5, folder)
    assert first.frames.tolist() != second.frames.tolist()
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    load_event_file(path, "x", grid, 5, folder)
    assert len(entries(folder)) == 3


def test_speakers_and_words_are_kept_with_and_without_a_cache(tmp_path: Path) -> None:
    said = np.array([4, 4, 0, 1, 4, 9])
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path, tmp_path / "file"):  # written, read, of no use
        made = stream()._replace(speakers=said, class_names=("yes", "no"))
        result = cached("a", KEY, lambda made=made: made, folder)  # type: ignore[misc]
        check(result)
        assert result.speakers is not None
        assert result.speakers.tolist() == said.tolist()
        assert result.class_names == ("yes", "no")
    assert result.notes  # kept in memory
    assert cached("b", KEY, stream, tmp_path).speakers is None


def test_an_entry_without_change_needs_no_look_into_the_file(
    event_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = event_file()
    load_event_file(path, "x", Binning(), 5, tmp_path / "c")
    monkeypatch.setattr(h5py, "File", None)
    load_event_file(path, "x", Binning(), 5, tmp_path / "c")


def test_changing_the_frames_in_memory_leaves_the_entry_as_it_is(tmp_path: Path) -> None:
    cached("a", KEY, stream, tmp_path).frames[:] = 99
    check(cached("a", KEY, stream, tmp_path))


@pytest.mark.parametrize("damage", ["frames.npy", "labels.npy", "meta.json"])
def test_a_damaged_entry_is_replaced(tmp_path: Path, damage: str) -> None:
    cached("a", KEY, stream, tmp_path)
    file = tmp_path / "frames" / entries(tmp_path)[0] / damage
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = cached("a", KEY, stream, tmp_path)
    check(result)
    assert result.notes == ()
    assert len(entries(tmp_path)) == 1


def test_a_failure_in_reading_leaves_nothing_behind_and_is_not_hidden(tmp_path: Path) -> None:
    def broken() -> Stream:
        def produce() -> Iterator[Frames]:
            yield from stream(parts=1).parts
            raise OSError("the source is damaged")

        return stream()._replace(parts=produce())

    with pytest.raises(OSError, match="the source is damaged"):
        cached("a", KEY, broken, tmp_path)
    assert entries(tmp_path) == []
    check(cached("a", KEY, stream, tmp_path))


def test_two_writers_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)
    results: list[FrameSet] = []

    def slow() -> Stream:
        def produce() -> Iterator[Frames]:
            barrier.wait(10)  # all of them are writing
            yield from stream().parts

        return stream()._replace(parts=produce())

    def run() -> None:
        results.append(cached("a", KEY, slow, tmp_path))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        check(result)
        assert result.notes == ()
    assert len(entries(tmp_path)) == 1


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    def overtaken() -> Stream:
        def produce() -> Iterator[Frames]:
            yield from stream(5).parts
            cached("a", KEY, stream, tmp_path)

        return stream()._replace(parts=produce())

    check(cached("a", KEY, overtaken, tmp_path))
    check(cached("a", KEY, stream, tmp_path))
    assert len(entries(tmp_path)) == 1


def test_without_a_cache_the_frames_are_in_memory_and_a_note_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = cached("a", KEY, stream, tmp_path / "file")
    check(result)
    assert len(result.notes) == 1
    assert "kept in memory" in result.notes[0]
    assert str(tmp_path / "file") in result.notes[0]


def test_a_full_disk_is_not_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = cached("a", KEY, stream, tmp_path)
    check(result)
    assert "No space left" in result.notes[0]
    assert entries(tmp_path) == []


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path: Path) -> None:
    cached("a", KEY, stream, tmp_path)
    old, fresh = (tmp_path / "frames" / name for name in (".old", ".fresh"))
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    cached("b", KEY, stream, tmp_path)
    assert not old.exists()
    assert fresh.exists()


def test_the_place_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNBREG_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder("/c") == Path("/c")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("SNNBREG_CACHE")
    assert cache_folder() == Path("/b/snnbreg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/snnbreg"
