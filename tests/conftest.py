"""Shared parts of the tests: a small network, a small data set, a run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests_support import COARSE, ROOT, SMALL


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """Compose the real config with overrides, as the command line would."""

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("config", list(overrides))

    return make


@pytest.fixture
def small(composed: Callable[..., DictConfig]) -> Callable[..., dict[str, Any]]:
    """A checked config of a run that takes a second, with further overrides."""
    from snnbreg.assembly import check

    def make(*overrides: str) -> dict[str, Any]:
        coarse = [] if any(o.startswith("dataset=") for o in overrides) else COARSE
        return check(composed(*SMALL, *coarse, *overrides))

    return make


@pytest.fixture
def train() -> Callable[..., dict[str, Any]]:
    """The function behind ``snnbreg train``."""
    from snnbreg.commands.train import train

    return train


@pytest.fixture
def idx_root(tmp_path: Path) -> Path:
    """A folder with MNIST's four files, 60 training and 20 test images of noise by class."""
    root = tmp_path / "idx"
    root.mkdir()
    generator = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (root / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, count], ">i4").tobytes()
        (root / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return root
