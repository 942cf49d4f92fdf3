"""Own data: classes, units and steps are those of the files, and frames are a count by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from data_files import Recording, write_events
from snnbreg.datasets import Own
from snnbreg.datasets.events import MOST_CLASSES

SIZES = {"train": 30, "valid": 6, "test": 7}


def recordings(samples: int, units: int, seed: int = 0) -> list[Recording]:
    """Times up to 0.5 s; the first recording has the last unit."""
    rng = np.random.default_rng(seed)
    made = [(rng.uniform(0, 0.5, 12), rng.integers(0, units, 12)) for _ in range(samples)]
    made[0][1][0] = units - 1
    return [(times.astype(np.float16), numbers) for times, numbers in made]


@pytest.fixture
def events(tmp_path: Path) -> Callable[..., Path]:
    """Write train, valid and test as HDF5 files."""

    def write(units: int = 1024, classes: int = 15, words: Any = (), skip: Any = ()) -> Path:
        for split, count in SIZES.items():
            if split not in skip:
                labels = [s % classes for s in range(count)]
                path = tmp_path / "data" / f"{split}.h5"
                write_events(path, recordings(count, units, count), labels, words=words)
        return tmp_path / "data"

    return write


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[..., Path]:
    """Write the splits as NPZ files; ``change`` replaces the arrays of one of them."""

    def write(split: str = "", skip: Any = (), **change: Any) -> Path:
        root = tmp_path / "frames"
        root.mkdir(exist_ok=True)
        for name, count in SIZES.items():
            frames = np.random.default_rng(count).integers(0, 4, (count, 5, 3))
            content = {"frames": frames, "labels": np.arange(count) % 3}
            content |= change if split in (name, "all") else {}
            if name not in skip:
                kept = {k: v for k, v in content.items() if v is not None}
                np.savez(root / f"{name}.npz", **kept)
        return root

    return write


@pytest.mark.parametrize(
    ("units", "channels", "given"), [(1024, 256, None), (1021, 256, None), (20, 20, None),
                                     (20, 7, 7)],
)  # fmt: skip
def test_events_of_any_number_of_units_are_counted_as_by_hand(
    events: Callable[..., Path], units: int, channels: int, given: int | None
) -> None:
    root = events(units)
    for _ in range(2):  # the second time from the cache
        splits = Own(root=str(root), channels=given, bin_ms=20).load()
        assert (splits.classes, splits.channels) == (15, channels)
        frames = np.zeros((len(splits.test), splits.steps, channels), int)
        for s, (times, numbers) in enumerate(recordings(7, units, 7)):
            for time, unit in zip(times, numbers, strict=True):
                frames[s, int(float(time) / 0.02), int(unit) * channels // units] += 1
        assert (splits.test.frames.numpy() == frames).all()
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [30, 6, 7]
    assert splits.test.targets.tolist() == [0, 1, 2, 3, 4, 5, 6]
    last = max(float(t.max()) for n in SIZES.values() for t, _ in recordings(n, units, n))
    assert splits.steps == int(last / 0.02) + 1  # nothing is lost, and nothing is empty
    assert not any("dropped" in note for note in splits.notes)


def test_what_is_read_from_the_files_may_be_said(events: Callable[..., Path]) -> None:
    root = str(events(20, words=[f"word {k}" for k in range(16)]))
    splits = Own(root=root, duration_ms=100).load()
    assert (splits.classes, splits.steps) == (16, 10)  # of the names, more than the labels say
    assert splits.train.class_names[15] == "word 15"
    assert any("no training sample of the class 15" in note for note in splits.notes)
    assert any("dropped" in note for note in splits.notes)
    splits = Own(root=root, classes=18, units=40).load()
    assert (splits.classes, splits.channels, splits.train.class_names) == (18, 40, ())


def test_frames_are_used_as_they_are(arrays: Callable[..., Path]) -> None:
    root = arrays("all", class_names=np.array(["left", "right", "up"]))
    assert Own(root=str(root), classes=4).load().train.class_names == ()
    splits = Own(root=str(root)).load()
    assert (splits.classes, splits.channels, splits.steps) == (3, 3, 5)
    assert splits.train.class_names == ("left", "right", "up")
    with np.load(root / "test.npz") as file:
        assert (splits.test.frames.numpy() == file["frames"]).all()
    assert splits.test.frames.dtype == torch.uint8
    assert splits.test.ids.tolist() == [36, 37, 38, 39, 40, 41, 42]


@pytest.mark.parametrize(
    ("frames", "kept"),
    [
        (np.full((30, 5, 3), 255.0), torch.uint8),
        (np.ones((30, 5, 3), bool), torch.uint8),
        (np.full((30, 5, 3), 256), torch.float32),
        (np.full((30, 5, 3), -1, np.int8), torch.float32),
        (np.full((30, 5, 3), 0.5, np.float16), torch.float32),
    ],
)
def test_whole_numbers_are_bytes_and_others_floats(
    arrays: Callable[..., Path], frames: np.ndarray, kept: torch.dtype
) -> None:
    splits = Own(root=str(arrays("train", frames=frames))).load()
    assert splits.train.frames.dtype == kept
    batch, _ = next(splits.loader("train", 2, shuffle=True).epoch(0))
    assert batch.dtype == torch.float32
    assert (batch == float(frames[0, 0, 0])).all()


def test_a_class_at_every_step_where_there_is_one(arrays: Callable[..., Path]) -> None:
    root = arrays()
    for split, count in SIZES.items():
        labels = np.tile([0, -7, 1, 2, -1], (count, 1))
        np.savez(root / f"{split}.npz", frames=np.ones((count, 5, 3)), labels=labels)
    splits = Own(root=str(root)).load()
    assert splits.train.targets[0].tolist() == [0, -1, 1, 2, -1]
    assert splits.classes == 3


def test_parts_are_held_out_where_files_are_missing(arrays: Callable[..., Path]) -> None:
    root = arrays(skip=("valid", "test"))
    with pytest.raises(FileNotFoundError, match=r"lacks test\.npz.*dataset\.test_fraction=0\.2"):
        Own(root=str(root)).load()
    splits = Own(root=str(root), test_fraction=0.2, valid_fraction=0.25).load()
    parts = splits.train, splits.valid, splits.test
    assert [len(part) for part in parts] == [18, 6, 6]
    with np.load(root / "train.npz") as file:
        found = torch.cat([part.frames[part.index] for part in parts]).numpy()
        order = np.lexsort(found.reshape(30, -1).T)
        theirs = np.lexsort(file["frames"].reshape(30, -1).T)
        assert (found[order] == file["frames"][theirs]).all()  # every sample, once
    assert any("6 of the training samples are the test samples" in n for n in splits.notes)
    assert any("no validation file: 0.25" in n for n in splits.notes)


def test_what_is_lost_is_counted_once(events: Callable[..., Path]) -> None:
    root = events(skip=("valid", "test"))
    splits = Own(root=str(root), test_fraction=0.2, duration_ms=100).load()
    late = sum(int((times.astype(float) >= 0.1).sum()) for times, _ in recordings(30, 1024, 30))
    assert [n for n in splits.notes if "dropped" in n] == [
        f"train: {late} events beyond the grid's duration dropped"
    ]


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("train", {"labels": np.zeros(30)}, r"train\.npz: labels must be integers.*int64"),
        ("test", {"labels": None}, r"test\.npz lacks labels; it holds frames"),
        ("valid", {"labels": np.arange(5)}, r"valid\.npz: labels must be \(6,\)"),
        ("train", {"labels": np.full(30, -1)}, r"train\.npz: sample 0 has the label -1"),
        ("train", {"labels": np.full(30, MOST_CLASSES)}, "has the label 65536"),
        ("all", {"frames": np.zeros((4, 5))}, r"frames must be \(samples, steps, channels\)"),
        ("test", {"frames": np.zeros((7, 5, 4))}, r"test\.npz has samples of \(5, 4\)"),
        ("test", {"frames": np.full((7, 5, 3), np.nan)}, r"test\.npz: frames of sample 0 hold a N"),
        ("test", {"frames": np.zeros((0, 5, 3)), "labels": []}, r"test\.npz holds no samples"),
        ("train", {"frames": np.array([1, [2]], object)}, r"train\.npz: frames .*never unpickled"),
        ("train", {"frames": np.full((30, 5, 3), "a")}, "frames must be numbers"),
        ("test", {"labels": np.zeros((7, 5), int)}, "one for each sample, or all one for each"),
        ("test", {"class_names": ["a", "b"]}, r"has the label 2, but .*test\.npz names 2"),
    ],
)  # fmt: skip
def test_frames_that_cannot_be_are_refused(
    arrays: Callable[..., Path], split: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Own(root=str(arrays(split, **change))).load()


@pytest.mark.parametrize("length", [0, 100, -20])
def test_truncated_files_are_said_to_be(
    arrays: Callable[..., Path], events: Callable[..., Path], length: int
) -> None:
    for root, name in ((arrays(), "test.npz"), (events(), "test.h5")):
        path = root / name
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(OSError, match=rf"{name} is (truncated|not a complete)"):
            Own(root=str(root)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 14}, r"train\.h5 has the label 14, but dataset\.classes=14"),
        ({"units": 1000}, r"holds unit 1023, but dataset\.units=1000"),
        ({"channels": 1025}, "channels must be between 1 and the 1024"),
        ({"bin_ms": 0.01}, r"has an event at .* s, which makes [45],?\d+,\d+ steps.*Times are sec"),
        ({"valid_fraction": 1.5}, None),
        ({"max_shift": 0, "augment": "shift"}, "max_shift of 1"),
    ],
)
def test_impossible_settings_are_refused(
    events: Callable[..., Path], options: dict[str, Any], message: str | None
) -> None:
    dataset = Own(root=str(events()), **options)
    if message is None:  # there is a validation file
        dataset.load()
        return
    with pytest.raises(ValueError, match=message):
        dataset.load()


def test_settings_of_the_other_kind_are_refused(arrays: Callable[..., Path]) -> None:
    for options in ({"units": 5}, {"channels": 3}, {"duration_ms": 10.0}):
        with pytest.raises(ValueError, match=f"dataset.{next(iter(options))} is of .h5 files"):
            Own(root=str(arrays()), **options).load()  # type: ignore[arg-type]
    floats = arrays("train", frames=np.full((30, 5, 3), 0.5))
    with pytest.raises(ValueError, match=r"need dataset\.augment=none"):
        Own(root=str(floats), augment="lose").load()


def test_folders_that_are_not_such_are_refused(
    arrays: Callable[..., Path], events: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset\.root must name the folder that has"):
        Own().load()
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        Own(root=str(tmp_path / "nothing")).load()
    dataset = Own(root=str(arrays(skip=("train",))))
    with pytest.raises(FileNotFoundError, match=r"lacks train\.h5 or .*there is test\.npz, valid"):
        dataset.load()
    np.savez(events() / "train.npz", frames=np.zeros((1, 1, 1)), labels=[0])
    with pytest.raises(ValueError, match=r"both \.h5 and \.npz"):
        Own(root=str(tmp_path / "data")).load()


def test_recordings_that_do_not_fit_are_refused(events: Callable[..., Path]) -> None:
    root = events(words=[f"w{k}" for k in range(15)])
    with h5py.File(root / "test.h5", "a") as file:
        file["extra/keys"][0] = b"other"
    with pytest.raises(ValueError, match=r"test\.h5 names other classes than .*train\.h5"):
        Own(root=str(root)).load()
    write_events(root / "test.h5", [], [])
    with pytest.raises(ValueError, match=r"test\.h5 holds no recordings"):
        Own(root=str(root)).load()
    with h5py.File(root / "train.h5", "a") as file:
        del file["labels"]
        file["labels"] = np.zeros(30)
    with pytest.raises(ValueError, match=r"train\.h5: labels must be integers"):
        Own(root=str(root)).load()
    silent = [(np.empty(0, np.float16), np.empty(0, int))]
    for split in SIZES:
        write_events(root / f"{split}.h5", silent, [0], words=())
    with pytest.raises(ValueError, match="there is no event in any file"):
        Own(root=str(root)).load()
