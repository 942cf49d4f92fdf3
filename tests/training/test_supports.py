"""Supports of weights: their changes and their structures, against sets counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnbreg.training.network import NamedWeights
from snnbreg.training.supports import Supports, counts


def members(weights: list[Tensor]) -> set[tuple[int, ...]]:
    return {
        (i, *map(int, place))
        for i, weight in enumerate(weights)
        for place in weight.nonzero()  # type: ignore[no-untyped-call]
    }


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.4)


def test_changes_are_those_of_sets() -> None:
    params = [nn.Parameter(random(4, 5, seed=0)), nn.Parameter(random(2, 3, 2, 2, seed=1))]
    supports = Supports([NamedWeights(str(i), p) for i, p in enumerate(params)])
    before = ever = members(params)
    for seed in range(2, 6):
        with torch.no_grad():
            for i, param in enumerate(params):
                param.copy_(random(*param.shape, seed=seed + 10 * i))
        now = members(params)
        ever = ever | now
        row = supports.row()
        assert all(isinstance(row[name], int) for name in ("born", "died", "ever_alive"))
        assert row == {
            "born": len(now - before),
            "died": len(before - now),
            "overlap": len(now & before) / len(now | before),
            "ever_alive": len(ever),
        }
        before = now


def test_empty_supports_are_the_same() -> None:
    supports = Supports([NamedWeights("w", torch.zeros(2, 2))])
    assert supports.row() == {"born": 0, "died": 0, "overlap": 1.0, "ever_alive": 0}


def test_a_state_is_continued_and_an_old_one_begins_with_what_is_there() -> None:
    weight = torch.tensor([[1.0, 0.0, 0.0]])
    first = Supports([NamedWeights("w", weight)])
    weight.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
    first.row()
    again, old = (Supports([NamedWeights("w", torch.ones(1, 3))]) for _ in range(2))
    again.weights = old.weights = [NamedWeights("w", weight)]
    again.load_state_dict(first.state_dict())
    old.load_state_dict({})
    weight.copy_(torch.tensor([[0.0, 1.0, 2.0]]))
    expected = {"born": 1, "died": 0, "overlap": 0.5}
    assert again.row() == {**expected, "ever_alive": 3}
    assert old.row() == {**expected, "ever_alive": 2}
    assert first.state_dict()["w"].tolist() == [[True, True, False]]  # no memory is shared


def test_rows_and_kernels_are_counted() -> None:
    matrix = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, -1.0]])
    kernels = torch.zeros(2, 3, 2, 2)
    kernels[0, 1, 1, 0] = kernels[0, 1, 0, 0] = kernels[1, 2, 0, 1] = -1.0
    found = counts([NamedWeights("a", matrix), NamedWeights("b", kernels)])
    assert found == {
        "nonzero": 6, "density": 6 / 30, "linear": 0.5, "rows": pytest.approx(2 / 3),
        "kernels": pytest.approx(2 / 6), "nonzero/a": 3, "nonzero/b": 3, "rows/a": 2,
        "kernels/b": 2, "l1": 1.0 + 2.0 + 1.0 + 3 * 1.0,
    }  # fmt: skip
    signals = counts([NamedWeights("c", torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))])
    assert (signals["kernels"], signals["kernels/c"]) == (0.5, 1)  # of one dimension
    alone = counts([NamedWeights("a", matrix)])
    assert set(alone) == {"nonzero", "density", "l1", "rows", "nonzero/a", "rows/a"}


def test_the_l1_norm_of_many_weights_is_exact() -> None:
    weight = torch.full((3000, 1000), -0.1)
    size = 3_000_000 * abs(float(weight[0, 0]))
    assert counts([NamedWeights("a", weight)])["l1"] == pytest.approx(size, rel=1e-6)
