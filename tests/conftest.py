"""Shared parts of the tests: a small network, a small data set, a run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

ROOT = Path(__file__).parents[1]

SMALL = [
    "dataset.limit=40", "dataset.bin_ms=50", "dataset.channels=28", "dataset.batch_size=16",
    "dataset.epochs=3", "model.hidden=[12,10]", "model.sigma=2", "model.delay_scale=3",
    "device=cpu",
]  # fmt: skip
"""Overrides that make a run of the spoken digits take a second."""


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
    from snnbreg.build import check

    return lambda *overrides: check(composed(*SMALL, *overrides))
