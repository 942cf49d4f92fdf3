"""Heartbeats: the published files against a literal reading, and the packed copy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import write_ecg
from snnbreg.datasets import ECG, FrameLoader
from snnbreg.datasets.ecg import WAVES, read_mat, read_pack, write_pack
from snnbreg.training import TASKS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ecg(tmp_path / "QTDB_train.mat", 10, steps=7)
    write_ecg(tmp_path / "QTDB_test.mat", 3, steps=7, seed=1)
    return tmp_path


def literal(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    content = loadmat(path)
    x, y = content["x"], content["y"]
    frames, labels = np.zeros(x.shape, np.uint8), np.full(x.shape[:2], -1)
    for place in np.ndindex(x.shape):
        frames[place] = 1 if x[place] == 1 else 0
    for s, t in np.ndindex(x.shape[:2]):
        for wave in range(6):
            if y[s, t, wave]:
                labels[s, t] = wave
    return frames, labels


def test_events_and_waves_are_those_of_the_files(root: Path) -> None:
    splits = ECG(root=str(root), unlabelled="ignored").load()
    assert (splits.steps, splits.channels, splits.classes) == (7, 4, 6)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [8, 2, 3]
    assert sorted([*splits.train.ids.tolist(), *splits.valid.ids.tolist()]) == list(range(10))
    assert splits.test.class_names == WAVES
    for part, name in ((splits.train, "train"), (splits.test, "test")):
        frames, labels = literal(root / f"QTDB_{name}.mat")
        assert (part.frames.numpy() == frames).all()
        assert (part.labels.numpy() == labels).all()
    assert (splits.train.labels == -1).any()
    other = ECG(root=str(root), split_seed=1).load()
    assert other.valid.ids.tolist() != splits.valid.ids.tolist()


def test_as_published_a_step_without_a_label_counts_as_the_first_class(root: Path) -> None:
    """The published script compares argmax of the one-hot labels with the predictions."""
    from scipy.io import loadmat

    content = loadmat(root / "QTDB_test.mat")
    outputs = torch.randn(7, 3, 6, generator=torch.Generator().manual_seed(0))
    predicted = outputs.argmax(2).T.numpy()
    published = (predicted == content["y"].argmax(2)).mean()
    labelled = content["y"].any(2)
    alone = (predicted == content["y"].argmax(2))[labelled].mean()
    for unlabelled, expected in (("published", published), ("ignored", alone)):
        test = ECG(root=str(root), unlabelled=unlabelled).load().test
        ((_, labels),) = FrameLoader(test, 3).epoch(0)
        score = TASKS["step_cross_entropy"].score(outputs, labels)
        assert float(score.total) / score.count == pytest.approx(expected)
    assert published != alone


def test_a_pack_gives_back_what_was_packed(root: Path, tmp_path: Path) -> None:
    parts = [read_mat(root / f"QTDB_{name}.mat") for name in ("train", "test")]
    write_pack(parts, tmp_path / "pack.xz")
    for part, found in zip(parts, read_pack(tmp_path / "pack.xz", 10).values(), strict=True):
        for before, after in zip(part, found, strict=True):
            assert before.dtype == after.dtype
            assert np.array_equal(before, after)


def test_the_package_has_the_published_recordings() -> None:
    found = read_pack()
    assert {name: beats.frames.shape for name, beats in found.items()} == {
        "train": (618, 1301, 4),
        "test": (141, 1301, 4),
    }
    assert [int(beats.frames.sum()) for beats in found.values()] == [248_772, 57_897]
    assert [int((beats.labels < 0).sum()) for beats in found.values()] == [65_785, 19_056]
    waves = found["test"].labels.clip(0).reshape(-1)
    shares = (np.bincount(waves) / len(waves)).round(4)
    assert shares.tolist() == [0.2355, 0.0553, 0.0536, 0.0494, 0.3046, 0.3014]


@pytest.mark.skipif("SNNBREG_ECG" not in os.environ, reason="needs the published files")
def test_the_published_files_give_what_the_package_has() -> None:
    for name, beats in read_pack().items():
        found = read_mat(Path(os.environ["SNNBREG_ECG"]) / f"QTDB_{name}.mat")
        assert np.array_equal(found.frames, beats.frames)
        assert np.array_equal(found.labels, beats.labels)


def test_what_is_wrong_is_said(root: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.unlabelled must be published or ignored"):
        ECG(unlabelled="no").load()
    path = root / "QTDB_test.mat"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(OSError, match=r"QTDB_test\.mat is truncated or no MATLAB file"):
        ECG(root=str(root)).load()
    write_ecg(path, 2, channels=3)
    with pytest.raises(ValueError, match=r"x \(recordings, steps, 4\).*shapes are \(2, 9, 3\)"):
        ECG(root=str(root)).load()
    write_ecg(path, 2, event=2)
    with pytest.raises(ValueError, match="x must hold events 0 or 1"):
        ECG(root=str(root)).load()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks QTDB_test\.mat.*inside the package"):
        ECG(root=str(root)).load()
