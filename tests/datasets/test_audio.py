"""A person's own words: as many classes as the files name."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_files import random_recordings, write_events
from snnbreg.datasets import Audio
from snnbreg.datasets.events import read_words


def rename(path: Path, words: list[str] | None) -> None:
    with h5py.File(path, "a") as file:
        del file["extra/keys"]
        if words is not None:
            file.create_dataset("extra/keys", data=words, dtype=h5py.string_dtype())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, size in (("train", 6), ("valid", 3), ("test", 4)):
        path = tmp_path / f"{split}.h5"
        write_events(path, random_recordings(size, seed=size), [s % 3 for s in range(size)])
        rename(path, ["ja", "nein", "grün"])
    return tmp_path


def test_words_and_frames_are_those_of_the_files(root: Path) -> None:
    splits = Audio(root=str(root), duration_ms=1200).load()
    assert splits.train.class_names == ("ja", "nein", "grün")
    assert (splits.steps, splits.channels, splits.classes) == (120, 140, 3)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [6, 3, 4]
    assert splits.test.targets.tolist() == [0, 1, 2, 0]
    events = sum(len(times) for times, _ in random_recordings(4, seed=4))
    assert int(splits.test.frames.sum()) == events


def test_one_recording_is_binned_as_those_of_the_files(root: Path) -> None:
    dataset = Audio(root=str(root), duration_ms=600)
    test = dataset.load().test
    for i, (times, units) in enumerate(random_recordings(4, seed=4)):
        alone = dataset.frames_of(times.astype(np.float64), units)
        assert (alone.frames[0] == test.frames[i]).all()
        assert alone.totals.dropped == int((times >= 0.6).sum())


def test_what_is_missing_is_said(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset.root must name the folder"):
        Audio().load()
    (root / "valid.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks valid.h5.*snnbreg prepare audio FOLDER"):
        Audio(root=str(root)).load()


def test_files_of_other_words_or_none_are_refused(root: Path) -> None:
    rename(root / "test.h5", ["ja", "nein", "rot"])
    with pytest.raises(ValueError, match=r"test.h5 has other words than .*train.h5"):
        Audio(root=str(root)).load()
    rename(root / "train.h5", None)
    with pytest.raises(ValueError, match="does not name its classes"):
        read_words(root / "train.h5")
