from __future__ import annotations

import csv
import os
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_files import random_recordings, write_events
from snnbreg.datasets import SpokenDigits, folds
from snnbreg.datasets.folds import FILE, FOLDS, Listing, fold_members, read_listing
from snnbreg.datasets.pack import SPLITS, read_pack

EVENTS = os.environ.get("SNNBREG_SPOKEN_DIGITS")
Members = dict[str, set[tuple[int, int, int]]]


@pytest.fixture(scope="module")
def recordings() -> list[Members]:
    """Digit, speaker and recording number of the samples of each split of each fold."""
    with (resources.files("snnbreg.datasets") / "data" / FILE).open() as file:
        rows = list(csv.DictReader(file))
    names = [(int(row["digit"]), int(row["speaker"]), int(row["recording"])) for row in rows]
    assert len({*names}) == len(names) == 2700
    assert [int(row["sample"]) for row in rows] == list(range(2700))
    numbers = {"train": range(15, 50), "valid": range(10, 15), "test": range(5, 10)}
    assert all(name[2] in numbers[row["split"]] for name, row in zip(names, rows, strict=True))
    assert [row["split"] for row in rows] == ["train"] * 2100 + ["valid"] * 300 + ["test"] * 300
    labels = read_listing().digit
    return [
        {split: {names[i] for i in own} for split, own in fold_members(fold, labels, "").items()}
        for fold in range(FOLDS)
    ]


def test_every_recording_is_tested_once_and_validated_once(recordings: list[Members]) -> None:
    for split in ("test", "valid"):
        seen = [name for fold in recordings for name in fold[split]]
        assert len(seen) == len({*seen}) == 2700


def test_the_splits_of_a_fold_are_disjoint_and_balanced(recordings: list[Members]) -> None:
    for f, fold in enumerate(recordings):
        assert len(fold["train"] | fold["valid"] | fold["test"]) == 2700
        for digit in range(10):
            for speaker in range(6):
                numbers = {
                    split: sorted(k for d, s, k in names if (d, s) == (digit, speaker))
                    for split, names in fold.items()
                }
                assert len(numbers["train"]) == 35
                assert numbers["test"] == [5 * f + 5 + i for i in range(5)]
                assert numbers["valid"] == [5 * ((f + 1) % 9) + 5 + i for i in range(5)]


def test_fold_0_has_the_splits_of_the_files_in_their_order() -> None:
    members = fold_members(0, read_listing().digit, "")
    numbers = np.arange(2700)
    for split, own in (("train", numbers[:2100]), ("valid", numbers[2100:2400])):
        assert np.array_equal(members[split], own)
    assert np.array_equal(members["test"], numbers[2400:])


@pytest.mark.parametrize("fold", [0, 1, 8])
def test_a_number_is_the_same_recording_in_every_fold(fold: int) -> None:
    pack, splits = read_pack(), SpokenDigits(fold=fold).load()
    assert np.array_equal(pack.labels, read_listing().digit)
    members = fold_members(fold, read_listing().digit, "")
    for split in SPLITS:
        part = getattr(splits, split)
        assert part.ids.tolist() == members[split].tolist()
        assert part.targets.tolist() == pack.labels[part.ids].tolist()
        x, y = next(splits.loader(split, 3000).epoch(0))
        assert torch.equal(y, part.targets)
        assert torch.equal(x.byte().transpose(0, 1), torch.from_numpy(pack.frames[part.ids, :100]))


def test_folds_share_one_copy_of_the_frames_and_the_note_does_not_name_a_split() -> None:
    splits = SpokenDigits(fold=5).load()
    assert splits.nbytes() == 2700 * 100 * 140
    assert splits.notes == ("all splits: 2 events beyond the grid's duration dropped",)


def test_a_limit_chooses_from_the_fold() -> None:
    whole, some = SpokenDigits(fold=2).load(), SpokenDigits(fold=2, limit=20).load()
    for split in SPLITS:
        few = getattr(some, split).ids.tolist()
        assert len(few) == 20
        assert {*few} < {*getattr(whole, split).ids.tolist()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Event files of nine recordings, one of each block of numbers; the test one is longest."""
    for seed, (split, labels) in enumerate(zip(SPLITS, (range(7), [7], [8]), strict=True)):
        some = random_recordings(len(labels), seed=seed, longest=(0.5, 0.2, 1.2)[seed])
        write_events(tmp_path / "digits" / f"{split}.h5", some, list(labels))
    return tmp_path / "digits"


@pytest.mark.parametrize("binning", ["fixed", "delrec"])
def test_event_files_have_folds_too(
    root: Path, monkeypatch: pytest.MonkeyPatch, binning: str
) -> None:
    numbers = np.array([15, 20, 25, 30, 35, 40, 45, 10, 5])
    listing = Listing(np.arange(9), np.zeros(9, np.int64), numbers)
    monkeypatch.setattr(folds, "read_listing", lambda: listing)

    def samples(fold: int, split: str) -> dict[int, torch.Tensor]:
        splits = SpokenDigits(root=str(root), binning=binning, fold=fold).load()
        loader = splits.loader(split, 1)
        batches = dict(zip(loader.ids.tolist(), (x for x, _ in loader.epoch(0)), strict=True))
        assert max(map(len, batches.values())) <= splits.steps == steps
        return batches

    steps = SpokenDigits(root=str(root), binning=binning).load().steps
    files = {n: x for split in SPLITS for n, x in samples(0, split).items()}
    assert [*files] == list(range(9))
    for fold, tested, validated in ((1, 7, 0), (2, 0, 1), (8, 6, 8)):
        parts = {split: samples(fold, split) for split in SPLITS}
        assert ([*parts["test"]], [*parts["valid"]]) == ([tested], [validated])
        assert len(parts["train"]) == 7
        for part in parts.values():
            assert all(torch.equal(x, files[n]) for n, x in part.items())


def test_other_event_files_have_no_folds(root: Path) -> None:
    message = r"dataset\.fold=3 needs .* those in .*digits have other labels\. Use dataset\.fold=0"
    with pytest.raises(ValueError, match=message):
        SpokenDigits(root=str(root), fold=3).load()


@pytest.mark.skipif(EVENTS is None, reason="SNNBREG_SPOKEN_DIGITS names no folder")
def test_the_listing_agrees_with_the_event_files() -> None:
    found: dict[str, list[int]] = {"labels": [], "extra/speaker": []}
    for split in SPLITS:
        with h5py.File(Path(str(EVENTS)) / f"{split}.h5") as file:
            for name, values in found.items():
                values += file[name][:].tolist()
    assert found["labels"] == read_listing().digit.tolist()
    assert found["extra/speaker"] == read_listing().speaker.tolist()
