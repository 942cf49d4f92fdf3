"""Every data set trains, from files in its real layout to a summary."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import random_recordings, write_cifar, write_ecg, write_events, write_nmnist
from snnbreg.training import RunFolder

Small = Callable[..., dict[str, Any]]
Train = Callable[..., dict[str, Any]]

LAYERS = "model.hidden=[10,9]"
DENSE = ["optim.init_density=1", "scheduler.lam=null"]  # where the recipe steers to few weights


def speech(root: Path, names: list[str], classes: int) -> None:
    for seed, name in enumerate(names):
        recordings = random_recordings(30, seed=seed)
        write_events(root / name, recordings, [s % classes for s in range(30)])


def files_of(dataset: str, root: Path, idx_root: Path) -> Path:
    """Write a data set's files; returns the folder to name as its root."""
    rng = np.random.default_rng(0)
    if dataset == "shd":
        speech(root, ["SHD/shd_train.h5", "SHD/shd_test.h5"], 20)
    elif dataset == "ssc":
        speech(root, [f"SSC/ssc_{part}.h5" for part in ("train", "valid", "test")], 35)
    elif dataset == "arabic_commands":
        speech(root, [f"{part}.h5" for part in ("train", "valid", "test")], 40)
    elif dataset == "nmnist":
        for part, count in (("Train", 3), ("Test", 1)):
            for digit in range(10):
                for n in range(count):
                    events = [(*rng.integers(0, 34, 2), 1000 * t, t % 2) for t in range(60)]
                    write_nmnist(root / f"NMNIST/{part}/{digit}/{n:05}.bin", events)
    elif dataset == "cifar10":
        write_cifar(root, rng.integers(0, 256, (60, 3, 32, 32)), np.arange(60) % 10, True)
    elif dataset == "ecg":
        for part, count in (("train", 20), ("test", 6)):
            write_ecg(root / f"QTDB_{part}.mat", count, steps=12)
    else:
        return idx_root
    return root


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        ("shd", ["model.hidden=[10,9]", "dataset.binning=delrec", "dataset.augment=delrec"]),
        ("shd", ["model.hidden=[10,9]"]),
        ("ssc", ["model.hidden=[8,8,8]"]),
        ("ssc", ["model.hidden=[8,8,8]", "dataset.binning=delrec"]),
        ("arabic_commands", [LAYERS, *DENSE]),
        (
            "ecg",
            ["model.hidden=[6]", "dataset.limit=6", *DENSE],
        ),
        ("nmnist", [LAYERS]),
        ("psmnist", ["model.hidden=[6,6,6]", "dataset.limit=20"]),
        ("rows_mnist", [LAYERS]),
        ("smnist", ["model.hidden=[6]", "dataset.limit=20"]),
        ("mnist", [LAYERS, "dataset.steps=5"]),
        ("fashion_mnist", [LAYERS, "dataset.encoder=latency", "dataset.steps=5"]),
        ("cifar10", [LAYERS, "dataset.encoder=none", "dataset.steps=3"]),
    ],
)
def test_it_trains(
    small: Small, train: Train, tmp_path: Path, idx_root: Path, dataset: str, options: list[str]
) -> None:
    root = files_of(dataset, tmp_path / "data", idx_root)
    places = [f"dataset.root={root}"]
    if dataset != "ecg":
        places.append(f"dataset.cache={tmp_path / 'cache'}")
    run = RunFolder(tmp_path / "run")
    summary = train(small(f"dataset={dataset}", *places, "trainer.epochs=1", *options), run)
    assert summary["status"] == "completed"
    assert 0 <= summary["test_acc"] <= 1
    assert summary["density"] > 0.5  # a dense start


@pytest.mark.skipif("SNNBREG_SPOKEN_DIGITS" not in os.environ, reason="needs the event files")
def test_event_files_give_the_same_run_as_the_packed_copy(
    small: Small, train: Train, tmp_path: Path
) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("packed", "files")]
    root = os.environ["SNNBREG_SPOKEN_DIGITS"]
    for run, source in zip(runs, ([], [f"dataset.root={root}"]), strict=True):
        train(small("optim=adam", f"dataset.cache={tmp_path / 'cache'}", *source), run)
    packed, files = ([r.split(",") for r in run.metrics.read_text().split()] for run in runs)
    seconds = packed[0].index("seconds")
    assert [r[:seconds] for r in packed] == [r[:seconds] for r in files]
    assert len(packed) == 4


@pytest.mark.skipif("SNNBREG_MNIST" not in os.environ, reason="needs MNIST's files")
@pytest.mark.parametrize("dataset", ["psmnist", "rows_mnist"])
def test_real_mnist_trains(small: Small, train: Train, tmp_path: Path, dataset: str) -> None:
    root = [f"dataset.root={os.environ['SNNBREG_MNIST']}", f"dataset.cache={tmp_path}"]
    options = [f"dataset={dataset}", *root, "dataset.limit=64", "trainer.epochs=1"]
    summary = train(small(*options, "model.hidden=[16,12]"), RunFolder(tmp_path / "run"))
    assert summary["status"] == "completed"
