"""The benchmark of optimizers and epochs runs, at a size that takes no time."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from tests_support import load_script


@pytest.fixture
def benchmark() -> ModuleType:
    return load_script("scripts/benchmark_training.py")


def test_optimizers_are_compared_with_adam(benchmark: ModuleType) -> None:
    shapes = [(4, 3, 3, 3), (4,), (5, 4)]
    rows = benchmark.optimizer_steps(shapes, "group_kernels", "cpu", rounds=2)
    assert rows[0][0].startswith("torch Adam")
    assert rows[0][2] == 1.0
    assert all(milliseconds > 0 and ratio > 0 for _, milliseconds, ratio in rows)


def test_resnet18_has_its_known_size(benchmark: ModuleType) -> None:
    assert sum(torch.Size(shape).numel() for shape in benchmark.resnet18()) == 11_173_962


def test_an_epoch_is_scaled_up_from_its_batches(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(benchmark.SIZES, "rows_mnist", (300, 5, 28, 10))
    monkeypatch.setattr(benchmark, "MOST_BATCHES", 2)
    name, samples, steps, size, batch, epoch = benchmark.epoch(
        "rows_mnist", "reference", torch.device("cpu")
    )
    assert (name, samples, steps, size) == ("rows_mnist", 300, 5, 128)
    assert epoch == pytest.approx(3 * batch)
