"""The weight update with a regulariser: its optimality conditions, and exact zeros."""

from __future__ import annotations

import pytest
import torch

from snnbreg.admm.remedies import anderson, balanced
from snnbreg.admm.weights import Gram
from snnbreg.optim import elastic_net
from snnbreg.optim.regularizers import prox


def quadratic() -> tuple[Gram, torch.Tensor]:
    """A random Gram matrix and products, float64."""
    torch.manual_seed(1)
    senders, wanted = torch.randn(50, 8).double(), torch.randn(50, 4).double()
    wanted[:, 2] *= 0.01
    return Gram(senders.T @ senders, 0.5), wanted.T @ senders


@pytest.mark.parametrize("name", ["l1", "l1_nonneg", "group_rows"])
def test_fista_ends_where_the_proximal_step_does_not_move(name: str) -> None:
    gram, products = quadratic()
    lam = 6.0
    start = torch.zeros_like(products)
    weight = gram.fista(products, start, lam, lambda v, size: prox(name, v, size), 400)
    step = 1e-2  # any positive one has the minimiser as its fixed point
    moved = prox(name, weight - step * (weight @ gram.matrix - products), step * lam)
    torch.testing.assert_close(moved, weight, atol=1e-12, rtol=0)
    assert 0 < int(torch.count_nonzero(weight)) < weight.numel()

    def cost(w: torch.Tensor) -> float:
        return float(
            ((w @ gram.matrix) * w).sum() / 2 - (products * w).sum() + elastic_net(name, w, lam)
        )

    assert cost(weight) < min(cost(0.99 * weight), cost(1.01 * weight), cost(start))


def test_without_a_regulariser_fista_and_cholesky_agree() -> None:
    gram, products = quadratic()
    weight = gram.fista(products, torch.zeros_like(products), 0.0, lambda v, _: v, 500)
    torch.testing.assert_close(weight, gram.solve(products), atol=1e-12, rtol=0)
    senders = gram.matrix - 0.5 * torch.eye(8).double()
    torch.testing.assert_close(
        gram.solve(products), torch.linalg.solve(gram.matrix, products.T).T, atol=1e-12, rtol=0
    )
    torch.testing.assert_close(
        Gram(senders, 0.0).solve(products), products @ torch.linalg.pinv(senders)
    )


def test_bregman_iterations_let_weights_appear_and_end_unshrunk() -> None:
    gram, products = quadratic()
    dual = torch.zeros_like(products)
    counts = []
    for _ in range(30):
        weight, dual = gram.bregman(products, dual, 60.0, lambda v, lam: prox("l1", v, lam), 1)
        counts.append(int(torch.count_nonzero(weight)))
    assert counts[0] < counts[4] < counts[-1]
    assert 0 < counts[4] < products.numel()
    for _ in range(3000):
        weight, dual = gram.bregman(products, dual, 60.0, lambda v, lam: prox("l1", v, lam), 1)
    torch.testing.assert_close(weight, gram.solve(products), atol=1e-6, rtol=0)


def test_a_penalty_follows_the_larger_residual() -> None:
    assert [balanced(1.0, p, d, 10.0) for p, d in ((11, 1), (9, 1), (1, 9), (1, 11))] == [
        2,
        1,
        1,
        0.5,
    ]


def test_anderson_solves_a_linear_iteration_in_as_many_points_as_dimensions() -> None:
    torch.manual_seed(0)
    matrix, shift = torch.randn(4, 4).double() / 4, torch.randn(4).double()
    fixed = torch.linalg.solve(torch.eye(4).double() - matrix, shift)
    x, points, images = torch.zeros(4).double(), [], []
    for _ in range(6):
        points.append(x)
        images.append(matrix @ x + shift)
        x = anderson(points, images, ridge=1e-14)
    assert float((x - fixed).abs().max()) < 1e-5
    assert float((images[-1] - fixed).abs().max()) < 1e-4
