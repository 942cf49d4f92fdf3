"""N-MNIST on small files in their real layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import write_nmnist
from snnbreg.datasets import NMNIST, FrameLoader


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


def test_training_recordings_are_shifted_as_a_whole(nmnist: Path) -> None:
    splits = NMNIST(root=str(nmnist), augment="shift", max_shift=2, valid_fraction=0.1).load()
    loader = splits.loader("train", 18, shuffle=True, seed=3)
    epochs = [next(iter(loader.epoch(number)))[0] for number in (0, 0, 1)]
    assert torch.equal(epochs[0], epochs[1])
    plain = FrameLoader(splits.train, 18, True, 3)
    shifts = set()
    for number, moved in ((0, epochs[0]), (1, epochs[2])):
        source, _ = next(iter(plain.epoch(number)))
        for before, after in zip(source.transpose(0, 1), moved.transpose(0, 1), strict=True):
            shifts.add(shift_of(before.view(30, 2, 34, 34), after.view(30, 2, 34, 34), 2))
    assert len(shifts) > 8
    assert {abs(y) for y, _ in shifts} == {abs(x) for _, x in shifts} == {0, 1, 2}
    valid = splits.loader("valid", 2, shuffle=True)
    assert type(valid) is FrameLoader


def shift_of(before: torch.Tensor, after: torch.Tensor, most: int) -> tuple[int, int]:
    """The one shift (rows, columns) that makes the second recording of the first."""
    cells = [(*place, int(before[tuple(place)])) for place in before.nonzero().tolist()]
    wanted = {(*place, int(after[tuple(place)])) for place in after.nonzero().tolist()}
    found = []
    for y in range(-most, most + 1):
        for x in range(-most, most + 1):
            moved = [(t, p, row + y, column + x, n) for t, p, row, column, n in cells]
            if {m for m in moved if 0 <= m[2] < 34 and 0 <= m[3] < 34} == wanted:
                found.append((y, x))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"augment": "flip"}, "none or shift, got 'flip'"), ({"max_shift": 0}, "1 pixel or more")],
)
def test_an_impossible_shift_is_refused(
    nmnist: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NMNIST(root=str(nmnist), **{"augment": "shift", **options}).load()  # type: ignore[arg-type]


def test_an_empty_nmnist_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "NMNIST/Train").mkdir(parents=True)
    (tmp_path / "NMNIST/Test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"NMNIST/Train/<digit>/\*\.bin missing"):
        NMNIST(root=str(tmp_path)).load()
