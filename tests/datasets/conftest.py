"""Fixtures: small files in the real layouts of the data sets, and no user cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import random_recordings, write_events, write_idx


@pytest.fixture(autouse=True)
def _no_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNNBREG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def event_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of random recordings with labels 0, 1, 2, ..."""

    def make(name: str = "some.h5", samples: int = 5, classes: int = 5, **options: Any) -> Path:
        labels = [s % classes for s in range(samples)]
        return write_events(tmp_path / name, random_recordings(samples, **options), labels)

    return make


@pytest.fixture
def mnist(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder with four IDX files, two of them gzipped; 100 and 20 images."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (120, 28, 28)), np.arange(120) % 10
    root = tmp_path / "mnist"
    write_idx(root / "train-images-idx3-ubyte.gz", images[:100])
    write_idx(root / "train-labels-idx1-ubyte", labels[:100])
    write_idx(root / "t10k-images-idx3-ubyte", images[100:])
    write_idx(root / "t10k-labels-idx1-ubyte.gz", labels[100:])
    return root, images, labels
