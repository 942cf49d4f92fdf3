"""What several tests share."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
"""The repository."""

SMALL = [
    "dataset.limit=40", "dataset.batch_size=16", "dataset.epochs=3", "model.hidden=[12,10]",
    "model.sigma=2", "model.delay_scale=3", "model.weight_init=kaiming",
    "optim.init_density=0.8", "device=cpu",
]  # fmt: skip
"""Overrides that make a run take a second; of the spoken digits together with COARSE."""

COARSE = ["dataset.bin_ms=50", "dataset.channels=28"]
SMALL_DIGITS = [*SMALL, *COARSE]


def load_script(path: str) -> ModuleType:
    """A program of the repository as a module, such as ``scripts/report.py``; its main sleeps."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_equal_states(one: Any, other: Any) -> None:
    """Equal bit for bit, through nested containers; the times (``seconds``) may differ."""
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds"}:
            assert_equal_states(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal_states(a, b)
    else:
        assert one == other
