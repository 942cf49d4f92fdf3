"""SHD, SSC and N-MNIST on small files in their real layouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import random_recordings, write_events, write_nmnist
from snnbreg.datasets import NMNIST, SHD, SSC
from snnbreg.datasets import recordings as recordings_module


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
    for binning in ("fixed", "delrec"):
        whole = SHD(root=str(hsd), binning=binning).load()
        monkeypatch.setattr(recordings_module, "CELLS", 3 * 140 * 140)
        parts = SHD(root=str(hsd), binning=binning, cache=str(tmp_path / "other")).load()
        monkeypatch.undo()
        assert torch.equal(whole.train.frames, parts.train.frames)


@pytest.mark.parametrize("dataset", [SHD, SSC, NMNIST])
def test_what_is_missing_and_how_to_get_it_is_said(
    dataset: Callable[..., SHD], tmp_path: Path
) -> None:
    name = dataset.__name__.lower()
    with pytest.raises(FileNotFoundError, match=name.upper()) as caught:
        dataset(root=str(tmp_path)).load()
    message = str(caught.value)
    assert f"snnbreg prepare {name} --root {tmp_path}" in message
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


@pytest.fixture
def nmnist(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, copies in (("Train", 2), ("Test", 1)):
        for digit in range(10):
            for copy in range(copies):
                t = np.sort(rng.integers(0, 310_000, 50))
                events = [(*map(int, rng.integers(0, 34, 2)), int(s), int(s) % 2) for s in t]
                write_nmnist(tmp_path / "NMNIST" / part / f"{digit}/{copy:05}.bin", events)
    return tmp_path


def test_nmnist(nmnist: Path) -> None:
    events = [(3, 5, 0, 1), (3, 5, 9_999, 1), (33, 0, 10_000, 0), (0, 33, 299_999, 1)]
    write_nmnist(nmnist / "NMNIST/Test/0/00000.bin", [*events, (1, 1, 300_000, 0)])
    splits = NMNIST(root=str(nmnist)).load()
    assert (splits.steps, splits.channels, splits.classes) == (30, 2312, 10)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [18, 2, 10]
    assert splits.test.targets.tolist() == list(range(10))
    frame = splits.test.frames[0].reshape(30, 2, 34, 34)  # polarity, row y, column x
    expected = torch.zeros_like(frame)
    expected[0, 1, 5, 3] = 2
    expected[1, 0, 0, 33] = 1
    expected[29, 1, 33, 0] = 1
    assert torch.equal(frame, expected)


def test_nmnist_agrees_with_tonics_frames(nmnist: Path) -> None:
    from tonic.io import read_mnist_file
    from tonic.transforms import ToFrame

    to_frame = ToFrame((34, 34, 2), time_window=10_000, start_time=0, end_time=320_000)
    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    frames = NMNIST(root=str(nmnist)).load().test.frames
    for digit in range(10):
        events = read_mnist_file(str(nmnist / f"NMNIST/Test/{digit}/00000.bin"), dtype=dtype)
        expected = to_frame(events)[:30].reshape(30, -1)
        np.testing.assert_array_equal(frames[digit].numpy(), expected)


def test_nmnist_times_go_beyond_the_overflow_of_their_counter(nmnist: Path) -> None:
    # a row number of 240 marks an overflow: later times are 2**13 microseconds greater
    events = [(1, 2, 1_000, 0), (0, 240, 0, 0), (1, 2, 8_000, 0)]
    write_nmnist(nmnist / "NMNIST/Test/0/00000.bin", events)
    frame = NMNIST(root=str(nmnist)).load().test.frames[0, :, 2 * 34 + 1]
    assert frame.nonzero().flatten().tolist() == [0, 1]


def test_nmnist_is_binned_once_and_again_when_a_file_changes(
    nmnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = NMNIST(root=str(nmnist)).load().test.frames.clone()
    with monkeypatch.context() as patch:
        patch.setattr("snnbreg.datasets.nmnist._decode", None)
        assert torch.equal(NMNIST(root=str(nmnist)).load().test.frames, before)
    path = nmnist / "NMNIST/Test/3/00000.bin"
    write_nmnist(path, [(0, 0, 0, 0)] * 50)  # of the same size
    os.utime(path, ns=(0, 0))
    assert int(NMNIST(root=str(nmnist)).load().test.frames[3, 0, 0]) == 50


def test_damaged_nmnist_files_are_named(nmnist: Path) -> None:
    path = nmnist / "NMNIST/Train/4/00001.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(OSError, match=r"4/00001\.bin is truncated: 248 bytes"):
        NMNIST(root=str(nmnist)).load()
    write_nmnist(path, [(0, 0, 0, 0), (34, 7, 0, 0)])
    with pytest.raises(ValueError, match=r"4/00001\.bin holds an event at pixel \(34, 7\)"):
        NMNIST(root=str(nmnist)).load()
    path.write_bytes(b"")
    assert "train: 1 recordings without events" in NMNIST(root=str(nmnist)).load().notes[0]


def test_nmnist_has_no_published_binning(nmnist: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.binning must be fixed for nmnist"):
        NMNIST(root=str(nmnist), binning="delrec").load()


def test_an_empty_nmnist_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "NMNIST/Train").mkdir(parents=True)
    (tmp_path / "NMNIST/Test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"NMNIST/Train/<digit>/\*\.bin missing"):
        NMNIST(root=str(tmp_path)).load()
