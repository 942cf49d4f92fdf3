"""SHD and SSC on small files in their real layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import random_recordings, write_events
from snnbreg.datasets import NMNIST, SHD, SSC, ArabicCommands, binning
from snnbreg.datasets.binning import Binning
from snnbreg.datasets.events import load_event_file
from snnbreg.datasets.loader import FrameLoader
from snnbreg.datasets.splits import joined


@pytest.fixture
def hsd(tmp_path: Path) -> Path:
    for name, size, classes in (
        ("SHD/shd_train", 10, 20),
        ("SHD/shd_test", 4, 20),
        ("SSC/ssc_train", 6, 35),
        ("SSC/ssc_valid", 3, 35),
        ("SSC/ssc_test", 4, 35),
    ):
        recordings = random_recordings(size, seed=size, longest=1.38)
        labels = [(classes - 1 - s) for s in range(size)]
        write_events(tmp_path / f"{name}.h5", recordings, labels)
    return tmp_path


def test_shd(hsd: Path) -> None:
    splits = SHD(root=str(hsd)).load()
    assert (splits.steps, splits.channels, splits.classes) == (140, 140, 20)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [8, 2, 4]
    assert splits.train.frames is splits.valid.frames
    labels = [*splits.train.targets.tolist(), *splits.valid.targets.tolist()]
    assert sorted(labels) == list(range(10, 20))
    assert splits.test.targets.tolist() == [19, 18, 17, 16]
    events = sum(len(times) for times, _ in random_recordings(4, seed=4, longest=1.38))
    assert int(splits.test.frames.sum()) == events
    other = SHD(root=str(hsd), split_seed=1).load()
    assert other.valid.targets.tolist() != splits.valid.targets.tolist()


def test_numbers_run_through_the_files(hsd: Path) -> None:
    for options in ({}, {"limit": 3}, {"split_seed": 1}):
        shd = SHD(root=str(hsd), **options).load()
        for part in (shd.train, shd.valid):
            assert part.ids.tolist() == [19 - label for label in part.targets]
        assert shd.test.ids.tolist() == [29 - label for label in shd.test.targets]
    ssc = SSC(root=str(hsd)).load()
    numbers = [s.ids.tolist() for s in (ssc.train, ssc.valid, ssc.test)]
    assert numbers == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12]]


def test_shd_as_published(hsd: Path) -> None:
    splits = SHD(root=str(hsd), binning="delrec").load()
    assert splits.train.lengths is not None
    x, _ = next(splits.loader("valid", 2).epoch(0))
    assert splits.valid.index is not None
    assert len(x) == splits.train.lengths[splits.valid.index].max()
    assert splits.steps == max(splits.train.frames.shape[1], splits.test.frames.shape[1])


def test_the_longest_recording_may_lie_anywhere_in_the_file(tmp_path: Path) -> None:
    recordings = [(np.array([0.0, t]), np.array([1, 2])) for t in (0.5, *[0.25] * 256)]
    path = write_events(tmp_path / "a.h5", recordings, [0] * 257)
    found = load_event_file(path, "a", Binning("delrec_shd"), 1, tmp_path)
    assert found.frames.shape == (257, 50, 140)
    assert found.lengths is not None
    assert found.lengths.tolist() == [50] + [25] * 256


def test_ssc(hsd: Path) -> None:
    fixed, published = SSC(root=str(hsd)).load(), SSC(root=str(hsd), binning="delrec").load()
    for splits in (fixed, published):
        assert (splits.steps, splits.channels, splits.classes) == (250, 140, 35)
        assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [6, 3, 4]
    assert not published.train.frames[:, 0].any()
    assert not torch.equal(fixed.train.frames, published.train.frames)


def test_binning_in_parts_gives_the_same_frames(
    hsd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for grid in ("fixed", "delrec"):
        whole = SHD(root=str(hsd), binning=grid).load()
        monkeypatch.setattr(binning, "CELLS", 3 * 140 * 140)
        parts = SHD(root=str(hsd), binning=grid, cache=str(tmp_path / "other")).load()
        monkeypatch.undo()
        assert torch.equal(whole.train.frames, parts.train.frames)


def test_arabic_commands_keep_the_speakers_and_the_words(tmp_path: Path) -> None:
    words = [f"word {k}" for k in range(40)]
    for name, said, speakers in (
        ("train", [39, 0, 5], [7, 3, 7]),
        ("valid", [1, 2], [4, 4]),
        ("test", [0, 39], [9, 8]),
    ):
        recordings = random_recordings(len(said), longest=0.9)
        write_events(tmp_path / f"{name}.h5", recordings, said, speakers, words)
    for _ in range(2):  # the second time from the cache
        splits = ArabicCommands(root=str(tmp_path)).load()
        assert (splits.steps, splits.channels, splits.classes) == (100, 140, 40)
        for part, said, speakers in (
            (splits.train, [39, 0, 5], [7, 3, 7]),
            (splits.test, [0, 39], [9, 8]),
        ):
            assert part.targets.tolist() == said
            assert part.speakers is not None
            assert part.speakers.tolist() == speakers
            assert part.class_names == tuple(words)
    part = splits.train.subset(torch.tensor([2, 1]))
    loader = FrameLoader(part, 2)
    assert loader.speakers is not None
    assert loader.speakers.tolist() == [7, 3]
    whole = joined((splits.train, splits.test))
    assert whole.speakers is not None
    assert whole.speakers.tolist() == [7, 3, 7, 9, 8]
    assert whole.class_names == tuple(words)


def test_missing_arabic_files_are_named(tmp_path: Path) -> None:
    write_events(tmp_path / "train.h5", random_recordings(1), [0])
    with pytest.raises(FileNotFoundError, match=r"valid\.h5, test\.h5 missing.*snnbreg prepare"):
        ArabicCommands(root=str(tmp_path)).load()


def test_words_that_are_not_one_per_class_are_left_out(hsd: Path) -> None:
    assert SHD(root=str(hsd)).load().train.class_names == ()


@pytest.mark.parametrize("dataset", [SHD, SSC, NMNIST])
def test_what_is_missing_and_how_to_get_it_is_said(
    dataset: Callable[..., SHD], tmp_path: Path
) -> None:
    name = dataset.__name__.lower()
    with pytest.raises(FileNotFoundError, match=name.upper()) as caught:
        dataset(root=str(tmp_path)).load()
    message = str(caught.value)
    assert f"python scripts/prepare_data.py {name} --root {tmp_path}" in message
    assert {
        "shd": "f3252aeb598ac776c1b526422d90eecb",
        "ssc": "b4eee3516a4a90dd0c71a6ac23a8ae43",
        "nmnist": "69ca8762b2fe404d9b9bad1103e97832",
    }[name] in message
    assert "\n" not in message


def test_files_without_recordings_are_refused(hsd: Path) -> None:
    write_events(hsd / "SHD/shd_test.h5", [], [])
    with pytest.raises(ValueError, match="the test file holds no recordings"):
        SHD(root=str(hsd)).load()
