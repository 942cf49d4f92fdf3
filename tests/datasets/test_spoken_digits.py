from __future__ import annotations

import csv
import os
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_files import random_recordings, write_events
from snnbreg.datasets import Splits, SpokenDigits, spoken_digits
from snnbreg.datasets.binning import Binning
from snnbreg.datasets.pack import FILE, Pack, packed_recordings, read_pack, write_pack
from snnbreg.datasets.splits import SPLITS
from snnbreg.datasets.spoken_digits import FOLDS, LISTING, fold_members, read_listing

EVENTS = os.environ.get("SNNBREG_SPOKEN_DIGITS")
SIZES = (5, 3, 2)
Members = dict[str, set[tuple[int, int, int]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten recordings as event files; the longest reaches beyond a second."""
    for seed, (split, size) in enumerate(zip(SPLITS, SIZES, strict=True)):
        recordings = random_recordings(size, seed=seed, longest=1.2)
        if split == "valid":
            recordings[1] = (np.empty(0), np.empty(0))
        write_events(tmp_path / "digits" / f"{split}.h5", recordings, [s % 10 for s in range(size)])
    return tmp_path / "digits"


def pack_of(root: Path) -> Pack:
    write_pack([root / f"{split}.h5" for split in SPLITS], root / "pack.xz")
    return read_pack(root / "pack.xz")


def same(a: Splits, b: Splits) -> None:
    for split in SPLITS:
        one, other = getattr(a, split), getattr(b, split)
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.ids, other.ids)
        assert one.totals == other.totals
    assert (a.steps, a.channels, a.notes) == (b.steps, b.channels, b.notes)


GRIDS = [{}, {"bin_ms": 30.0, "channels": 20}, {"duration_ms": 700.0}, {"duration_ms": 2000.0}]


@pytest.mark.parametrize("settings", GRIDS)
def test_the_pack_gives_the_frames_of_the_event_files(
    root: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float]
) -> None:
    pack = pack_of(root)
    monkeypatch.setattr("snnbreg.datasets.spoken_digits.read_pack", lambda: pack)
    packed, read = SpokenDigits(**settings).load(), SpokenDigits(root=str(root), **settings).load()
    same(packed, read)
    assert "valid: 1 recordings without events: their frames are all zero" in packed.notes
    if settings.get("duration_ms", 1000) <= 1000:
        assert "events beyond the grid's duration dropped" in " ".join(packed.notes)


@pytest.mark.skipif(EVENTS is None, reason="SNNBREG_SPOKEN_DIGITS names no folder")
@pytest.mark.parametrize("settings", [*GRIDS, {"fold": 4}])
def test_the_pack_in_the_package_gives_the_frames_of_its_event_files(
    settings: dict[str, float],
) -> None:
    same(SpokenDigits(**settings).load(), SpokenDigits(root=EVENTS, **settings).load())


def test_a_pack_is_made_reproducibly(root: Path) -> None:
    pack_of(root)
    first = (root / "pack.xz").read_bytes()
    pack_of(root)
    assert (root / "pack.xz").read_bytes() == first


def test_a_pack_whose_counts_do_not_fit_is_refused(tmp_path: Path) -> None:
    recording = (np.full(256, 0.5), np.zeros(256, int))
    path = write_events(tmp_path / "a.h5", [recording], [0])
    with pytest.raises(ValueError, match="1 counts exceed 255"):
        write_pack([path], tmp_path / "pack.xz")


def test_the_package_brings_the_digits_and_their_licence() -> None:
    splits = SpokenDigits().load()
    assert [len(getattr(splits, split)) for split in SPLITS] == [2100, 300, 300]
    assert (splits.steps, splits.channels, splits.classes) == (100, 140, 10)
    assert splits.notes == ("train: 2 events beyond the grid's duration dropped",)
    for split in SPLITS:
        part = getattr(splits, split)
        assert part.frames.shape[1:] == (100, 140)
        counts = torch.bincount(part.targets)
        assert counts.tolist() == [len(part) // 10] * 10
    events = sum(int(getattr(splits, s).frames.sum(dtype=torch.int64)) for s in SPLITS)
    assert events == 11_027_022 - 2
    data = resources.files("snnbreg.datasets") / "data"
    assert len((data / FILE).read_bytes()) <= 4_000_000
    notice = (data / "SPOKEN_DIGITS.md").read_text()
    assert "CC BY-SA 4.0" in notice
    assert "10.5281/zenodo.1342401" in notice


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bin_ms": 5.0}, r"dataset\.bin_ms=5 is not a whole multiple of the 10 ms.*dataset\.root"),
        ({"bin_ms": 25.0}, r"dataset\.bin_ms=25 is not a whole multiple"),
        ({"duration_ms": 995.0}, r"dataset\.duration_ms=995"),
        ({"channels": 350}, r"dataset\.channels=350 does not divide the 140"),
        ({"channels": 141}, "channels must divide the 700"),
        ({"binning": "delrec"}, r"dataset\.binning=delrec needs the times.*dataset\.root"),
        ({"binning": "warped"}, r"dataset\.binning must be fixed or delrec, got 'warped'"),
        ({"limit": -1}, r"dataset\.limit must be 1 or more"),
        ({"fold": 9}, r"dataset\.fold must be 0 to 8 .*, got 9"),
        ({"fold": -1}, r"dataset\.fold must be 0 to 8 .*, got -1"),
    ],
)
def test_what_the_pack_cannot_give_is_said(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpokenDigits(**settings).load()  # type: ignore[arg-type]


def test_a_coarser_pack_refuses_finer_grids() -> None:
    pack = Pack(20_000_000, (1, 1, 1), np.zeros(3, np.uint8), np.ones((3, 50, 70), np.uint8))
    grid = SpokenDigits(bin_ms=40, channels=35)
    settings = {k: v for k, v in asdict(grid).items() if k in ("channels", "bin_ms")}
    parts = packed_recordings(pack, Binning(**settings))
    assert [part.frames.tolist() for part in parts] == [np.full((1, 25, 35), 4).tolist()] * 3
    with pytest.raises(ValueError, match="20 ms bins"):
        packed_recordings(pack, Binning(bin_ms=10, channels=70))


def test_event_files_can_be_binned_as_published(root: Path) -> None:
    splits = SpokenDigits(root=str(root), binning="delrec").load()
    assert splits.train.lengths is not None
    assert splits.train.lengths.max() == splits.train.frames.shape[1]
    x, _ = next(splits.loader("valid", 3).epoch(0))
    assert len(x) == splits.valid.frames.shape[1]


def test_missing_event_files_are_named(root: Path) -> None:
    (root / "valid.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks valid\.h5.*leave dataset\.root out"):
        SpokenDigits(root=str(root)).load()


def test_loaders_know_their_splits() -> None:
    splits = SpokenDigits(limit=10).load()
    assert [len(splits.loader(split, 4)) for split in SPLITS] == [3, 3, 3]
    with pytest.raises(ValueError, match="train, valid or test, got 'dev'"):
        splits.loader("dev", 4)


@pytest.fixture(scope="module")
def recordings() -> list[Members]:
    """Digit, speaker and recording number of the samples of each split of each fold."""
    with (resources.files("snnbreg.datasets") / "data" / LISTING).open() as file:
        rows = list(csv.DictReader(file))
    names = [(int(row["digit"]), int(row["speaker"]), int(row["recording"])) for row in rows]
    assert len({*names}) == len(names) == 2700
    assert [int(row["sample"]) for row in rows] == list(range(2700))
    numbers = {"train": range(15, 50), "valid": range(10, 15), "test": range(5, 10)}
    assert all(name[2] in numbers[row["split"]] for name, row in zip(names, rows, strict=True))
    assert [row["split"] for row in rows] == ["train"] * 2100 + ["valid"] * 300 + ["test"] * 300
    labels = read_listing()["digit"]
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
    members = fold_members(0, read_listing()["digit"], "")
    numbers = np.arange(2700)
    for split, own in (("train", numbers[:2100]), ("valid", numbers[2100:2400])):
        assert np.array_equal(members[split], own)
    assert np.array_equal(members["test"], numbers[2400:])


@pytest.mark.parametrize("fold", [0, 1, 8])
def test_a_number_is_the_same_recording_in_every_fold(fold: int) -> None:
    pack, splits = read_pack(), SpokenDigits(fold=fold).load()
    assert np.array_equal(pack.labels, read_listing()["digit"])
    members = fold_members(fold, read_listing()["digit"], "")
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
def nine(tmp_path: Path) -> Path:
    """Event files of nine recordings, one of each block of numbers; the test one is longest."""
    for seed, (split, labels) in enumerate(zip(SPLITS, (range(7), [7], [8]), strict=True)):
        some = random_recordings(len(labels), seed=seed, longest=(0.5, 0.2, 1.2)[seed])
        write_events(tmp_path / "digits" / f"{split}.h5", some, list(labels))
    return tmp_path / "digits"


@pytest.mark.parametrize("binning", ["fixed", "delrec"])
def test_event_files_have_folds_too(
    nine: Path, monkeypatch: pytest.MonkeyPatch, binning: str
) -> None:
    numbers = np.array([15, 20, 25, 30, 35, 40, 45, 10, 5])
    listing = {"digit": np.arange(9), "recording": numbers}
    monkeypatch.setattr(spoken_digits, "read_listing", lambda: listing)

    def samples(fold: int, split: str) -> dict[int, torch.Tensor]:
        splits = SpokenDigits(root=str(nine), binning=binning, fold=fold).load()
        loader = splits.loader(split, 1)
        batches = dict(zip(loader.ids.tolist(), (x for x, _ in loader.epoch(0)), strict=True))
        assert max(map(len, batches.values())) <= splits.steps == steps
        return batches

    steps = SpokenDigits(root=str(nine), binning=binning).load().steps
    files = {n: x for split in SPLITS for n, x in samples(0, split).items()}
    assert [*files] == list(range(9))
    for fold, tested, validated in ((1, 7, 0), (2, 0, 1), (8, 6, 8)):
        parts = {split: samples(fold, split) for split in SPLITS}
        assert ([*parts["test"]], [*parts["valid"]]) == ([tested], [validated])
        assert len(parts["train"]) == 7
        for part in parts.values():
            assert all(torch.equal(x, files[n]) for n, x in part.items())


def test_other_event_files_have_no_folds(nine: Path) -> None:
    message = r"dataset\.fold=3 needs .* those in .*digits have other labels\. Use dataset\.fold=0"
    with pytest.raises(ValueError, match=message):
        SpokenDigits(root=str(nine), fold=3).load()


@pytest.mark.skipif(EVENTS is None, reason="SNNBREG_SPOKEN_DIGITS names no folder")
def test_the_listing_agrees_with_the_event_files() -> None:
    found: dict[str, list[int]] = {"labels": [], "extra/speaker": []}
    for split in SPLITS:
        with h5py.File(Path(str(EVENTS)) / f"{split}.h5") as file:
            for name, values in found.items():
                values += file[name][:].tolist()
    assert found["labels"] == read_listing()["digit"].tolist()
    assert found["extra/speaker"] == read_listing()["speaker"].tolist()
