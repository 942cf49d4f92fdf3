"""Folders of recordings to event files: whole or not at all, and the same however it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from snnbreg.audio import (
    Recording,
    assign_splits,
    cochlea,
    convert,
    list_recordings,
    read_sound,
    write_event_files,
)
from snnbreg.audio.convert import PARTS, spikes_of

Folder = Callable[..., Path]


def prepared(folder: Path) -> list[Recording]:
    return assign_splits(list_recordings(folder, "(.)_"))


def contents(out: Path) -> dict[str, list[list[float]]]:
    """For each file of a recording its times and units."""
    found = {}
    for split in ("train", "valid", "test"):
        with h5py.File(out / f"{split}.h5") as file:
            columns = zip(
                file["extra/files"].asstr(), file["spikes/times"], file["spikes/units"], strict=True
            )
            for name, times, units in columns:
                found[name] = [times.tolist(), units.tolist()]
    return found


def test_the_files_say_what_was_heard_who_said_it_and_where(
    folder: Folder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recordings = prepared(folder("abcd"))
    paths = write_event_files(recordings, tmp_path / "out", jobs=2)
    assert capfd.readouterr().err == ""  # a bar is for terminals alone
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "test.h5", "train.h5", "valid.h5",
    ]  # fmt: skip
    for path in paths:
        own = [r for r in recordings if r.split == path.stem]
        with h5py.File(path) as file:
            assert file["extra/keys"].asstr()[:].tolist() == ["high", "low"]
            assert file["extra/speakers"].asstr()[:].tolist() == ["a", "b", "c", "d"]
            labels = ["high", "low"]
            assert file["labels"][:].tolist() == [labels.index(r.word) for r in own]
            assert file["extra/speaker"][:].tolist() == ["abcd".index(r.speaker) for r in own]
            for i, recording in enumerate(own):
                times, units = spikes_of(recording.path)
                assert file["spikes/times"][i].dtype == np.float16
                assert file["spikes/times"][i].tolist() == times.astype(np.float16).tolist()
                assert file["spikes/units"][i].tolist() == units.tolist()
    high, low = (np.median(spikes_of(r.path).units) for r in (recordings[0], recordings[-1]))
    assert high < low  # units count from the high tones


def test_a_stopped_conversion_goes_on_and_gives_the_same(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = prepared(folder("abcd"))
    write_event_files(recordings, tmp_path / "whole", jobs=3)
    heard: list[int] = []
    hear = convert.hear

    def interrupted(samples: np.ndarray, seed: int, tail: float) -> convert.Spikes:
        if len(heard) == 3:
            raise KeyboardInterrupt
        heard.append(seed)
        return hear(samples, seed, tail)

    out = tmp_path / "stopped"
    monkeypatch.setattr(convert, "hear", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_event_files(recordings, out, jobs=1)
    assert [path.name for path in out.iterdir()] == [PARTS]
    assert len(list((out / PARTS).glob("*.npz"))) == 3
    monkeypatch.setattr(convert, "hear", lambda *given: heard.append(given[1]) or hear(*given))
    write_event_files(recordings[::-1], out, jobs=1)
    assert len(heard) == len(set(heard)) == 8
    assert contents(out) == contents(tmp_path / "whole")
    assert not (out / PARTS).exists()
    write_event_files(recordings, tmp_path / "seed", seed=1, jobs=1)
    assert contents(tmp_path / "seed") != contents(out)


def test_nothing_is_written_where_a_recording_cannot_be_used(
    folder: Folder, tmp_path: Path
) -> None:
    root = folder("abcd")
    (root / "low" / "e_0.wav").write_text("no sound at all")
    (root / "high" / "e_0.wav").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"2 of 10 recordings.*e_0.wav is empty.*; .*cannot be read"
    ):
        write_event_files(prepared(root), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_there_stay(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "test.h5").write_text("somebody's")
    with pytest.raises(FileExistsError, match=r"test.h5 is there already"):
        write_event_files(prepared(folder()), tmp_path)
    assert (tmp_path / "test.h5").read_text() == "somebody's"
    assert not (tmp_path / PARTS).exists()


def test_a_failure_while_writing_leaves_no_half_of_the_files(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, write = prepared(folder()), convert._write

    def full(path: Path, split: str, *rest: object) -> None:
        write(path, split, *rest)  # type: ignore[arg-type]
        if split == "test":
            raise OSError("No space left on device")

    monkeypatch.setattr(convert, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        write_event_files(recordings, tmp_path / "out", jobs=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [PARTS]


def test_equal_recordings_are_heard_once_and_alike(folder: Folder, tmp_path: Path) -> None:
    recordings = prepared(folder())
    twin = tmp_path / "words" / "high" / "z_0.wav"
    twin.write_bytes(recordings[0].path.read_bytes())
    write_event_files([*recordings, replace(recordings[0], path=twin)], tmp_path / "out", jobs=4)
    found = contents(tmp_path / "out")
    assert found["high/z_0.wav"] == found["high/a_0.wav"]


def test_the_first_seconds_are_heard_and_silence_after_them(folder: Folder, tmp_path: Path) -> None:
    recordings = prepared(folder())
    path, sound = recordings[0].path, read_sound(recordings[0].path)
    assert len(sound) == 2880
    whole, part = spikes_of(path), spikes_of(path, seconds=0.03)
    assert 0.06 < whole.times.max() < 0.06 + convert.TAIL + 1e-4
    assert 0.03 < part.times.max() < 0.03 + convert.TAIL + 1e-4
    seed = int(convert._identity(path, 0, 0.03)[:16], 16)
    again = cochlea.hear(sound[:1440], seed, 0.05)
    assert part.times.tolist() == again.times.tolist()
    write_event_files(recordings, tmp_path / "out", jobs=1, seconds=0.03)
    stored = contents(tmp_path / "out")["high/a_0.wav"]
    assert stored[0] == part.times.astype(np.float16).tolist()
