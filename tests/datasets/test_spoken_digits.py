from __future__ import annotations

import os
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import random_recordings, write_events
from snnbreg.datasets import Splits, SpokenDigits
from snnbreg.datasets.pack import FILE, SPLITS, Pack, packed_recordings, read_pack, write_pack

EVENTS = os.environ.get("SNNBREG_SPOKEN_DIGITS")
SIZES = (5, 3, 2)


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
    assert (a.steps, a.channels, a.notes) == (b.steps, b.channels, b.notes)
    assert a.saturated == b.saturated


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
    from snnbreg.datasets.binning import Binning

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
