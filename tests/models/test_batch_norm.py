"""Batch norm of currents: torch's module with better sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnbreg.models.batch_norm import BatchNorm


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_it_trains_and_evaluates_as_torchs_does(engine: str) -> None:
    norm, ours = nn.BatchNorm1d(6).double(), BatchNorm(6, engine).double()
    ours.load_state_dict(norm.state_dict())
    for _ in range(3):
        x = 3 * torch.randn(50, 6, dtype=torch.float64) + 5
        torch.testing.assert_close(ours(x), norm(x))
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(x), norm.eval()(x))


def test_the_statistics_of_many_rows_are_right() -> None:
    x = 3 * torch.randn(50_000, 2) + 5
    ours = BatchNorm(2)
    ours.momentum = 1.0
    ours(x)
    torch.testing.assert_close(ours.running_mean, x.double().mean(0).float(), rtol=1e-7, atol=0)
    torch.testing.assert_close(ours.running_var, x.double().var(0).float(), rtol=1e-7, atol=0)


def test_half_precision_is_torchs() -> None:
    norm, ours = nn.BatchNorm1d(6), BatchNorm(6)
    x = torch.randn(50, 6).bfloat16()
    assert torch.equal(ours(x), norm(x))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="engine='none' is unknown"):
        BatchNorm(6, "none")
    with pytest.raises(ValueError, match="two values per channel"):
        BatchNorm(6)(torch.randn(1, 6))
