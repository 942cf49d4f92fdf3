"""Batch norm against torch's in double precision, and where torch's float32 goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnbreg.functional import batch_norm, column_sums, track_

SHAPES = pytest.mark.parametrize("shape", [(40, 6), (7, 6, 3, 2)])


def made(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64) + 5


def torchs(shape: tuple[int, ...], **settings: Any) -> Any:
    """torch's module, with weights that are not 1."""
    torch.manual_seed(0)
    norm: Any = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1], **settings)
    if norm.affine:
        nn.init.uniform_(norm.weight, -2, 2)
        nn.init.normal_(norm.bias)
    return norm.double()


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


@SHAPES
def test_sums_are_of_all_axes_but_the_second_and_in_double_precision(
    shape: tuple[int, ...],
) -> None:
    a, b = made(shape).float(), made(shape, 1).float()
    found = column_sums(a, b)
    for channel in range(shape[1]):
        one, other = (x[:, channel].double() for x in (a, b))
        expected = torch.stack([one.sum(), (one * other).sum()])
        torch.testing.assert_close(found[:, channel], expected, rtol=1e-14, atol=1e-12)


@SHAPES
@pytest.mark.parametrize(
    "settings", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}]
)
def test_it_is_torchs_in_double_precision(shape: tuple[int, ...], settings: Any) -> None:
    norm, ours = torchs(shape, **settings), torchs(shape, **settings)
    for seed in range(3):
        x, other = leaf(made(shape, seed)), leaf(made(shape, seed))
        slope = made(shape, seed + 10)
        expected = norm(x)
        expected.backward(slope)
        y, *statistics = batch_norm(other, ours.weight, ours.bias, ours.eps)
        y.backward(slope)
        track_(ours, *statistics)
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(other.grad, x.grad, rtol=1e-11, atol=1e-12)
    for one, of_torch in zip(ours.parameters(), norm.parameters(), strict=True):
        torch.testing.assert_close(one.grad, of_torch.grad, rtol=1e-11, atol=1e-12)
    for one, of_torch in zip(ours.buffers(), norm.buffers(), strict=True):
        torch.testing.assert_close(one, of_torch, rtol=1e-12, atol=1e-12)


def test_many_rows_of_float32_keep_their_precision() -> None:
    """torch adds them one after the other: its y is a hundred times as far away."""
    x = made((60_000, 2)).float()
    exact = torch.nn.functional.batch_norm(x.double(), None, None, training=True)
    y, mean, variance, rows = batch_norm(x, None, None, 1e-5)
    assert float((y - exact).abs().max()) < 1e-6
    assert mean.dtype == variance.dtype == torch.float64
    assert rows.tolist() == [60_000]


def test_parts_of_the_rows_have_the_statistics_of_all() -> None:
    """Two processes, one after the other: each adds what the other found."""
    x, slope, norm = made((30, 4)), made((30, 4), 1), torchs((30, 4))
    whole = leaf(x)
    y, mean, *_ = batch_norm(whole, norm.weight, norm.bias, norm.eps)
    y.backward(slope)
    parts = [slice(0, 11), slice(11, 30)]
    told: list[list[Tensor]] = [[], []]
    for _ in range(3):  # nothing is known in the first round, only the forward pass's in the second
        known, told = told, [[], []]
        found = []
        for index, part in enumerate(parts):
            own, others = leaf(x[part]), list(known[1 - index])

            def add(t: Tensor, said: list[Tensor] = told[index], heard: Any = others) -> None:
                said.append(t.clone())
                if heard:
                    t.add_(heard.pop(0))

            out, center, *_ = batch_norm(own, norm.weight, norm.bias, norm.eps, add=add)
            out.backward(slope[part])
            found.append((out, center, own.grad))
    for part, (out, center, gradient) in zip(parts, found, strict=True):
        torch.testing.assert_close(center, mean)
        torch.testing.assert_close(out, y[part])
        assert whole.grad is not None
        torch.testing.assert_close(gradient, whole.grad[part])


def test_rows_that_do_not_count_move_nothing() -> None:
    x, norm, sums = leaf(made((5, 4))), torchs((5, 4)), []

    def add(t: Tensor) -> None:
        sums.append(t.clone())
        t.add_(1.0)

    y, *_ = batch_norm(x, norm.weight, norm.bias, norm.eps, counts=False, add=add)
    y.sum().backward()
    assert not any(t.any() for t in sums)
    assert x.grad is not None
    assert not x.grad.any()
    assert y.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_channel_that_never_changes_has_no_variance_and_no_gradient_by_rounding(
    dtype: torch.dtype,
) -> None:
    """As behind weights that are all zero. The last channel varies little, but does."""
    x = made((1, 50)).to(dtype).repeat(1003, 1)
    x[::2, -1] *= 1 + 1e-5
    weight, bias = (leaf(torch.full((50,), value, dtype=dtype)) for value in (2.0, 0.5))
    y, _, variance, _ = batch_norm(x, weight, bias, 1e-5)
    y.backward(made((1003, 50)).to(dtype))
    assert not variance[:-1].any()
    assert float(variance[-1]) == pytest.approx(float(x[1, -1] * 1e-5 / 2) ** 2, rel=0.02)
    assert weight.grad is not None
    assert not weight.grad[:-1].any()
    assert weight.grad[-1] != 0


def test_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two values per channel to train, got \(1, 4\)"):
        batch_norm(made((1, 4)), None, None, 1e-5)
