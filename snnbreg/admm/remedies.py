"""What the published method leaves open: how strong the penalties are, and how fast it goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def balanced(
    penalty: float, primal: float, dual: float, ratio: float, factor: float = 2.0
) -> float:
    """A penalty, changed where one of the two residuals is much larger than the other.

    Args:
        penalty: > 0.
        primal: how far the constraint is from being met.
        dual: how far the variables moved in the last iteration, times the penalty.
        ratio: how much larger "much larger" is, > 1.
        factor: by how much the penalty changes, > 1.

    Reference: Boyd et al.: Distributed Optimization and Statistical Learning via ADMM (2011),
        section 3.4.1.

    Example:
        >>> balanced(1.0, 30.0, 1.0, 10.0), balanced(1.0, 1.0, 30.0, 10.0), balanced(1.0, 1, 5, 10)
        (2.0, 0.5, 1.0)
    """
    if primal > ratio * dual:
        return penalty * factor
    return penalty / factor if dual > ratio * primal else penalty


def mixture(gram: Tensor, ridge: float = 1e-10) -> Tensor:
    """The weights, of sum 1, with which residuals add up to the smallest one.

    Args:
        gram: inner products of the residuals, (m, m), float64.
        ridge: relative to its diagonal.

    Example:
        >>> mixture(torch.tensor([[1.0, -0.5], [-0.5, 0.25]]).double()).round(decimals=4)
        tensor([0.3333, 0.6667], dtype=torch.float64)
    """
    scale = gram.diagonal().mean().clamp(min=torch.finfo(gram.dtype).tiny)
    ones = gram.new_ones(len(gram))
    mix = torch.linalg.solve(gram / scale + ridge * ones.diag(), ones)
    return mix / mix.sum()


class Anderson:
    """Anderson acceleration of an iteration x <- F(x): mixes the last images F(x).

    Args:
        depth: how many are mixed.

    Reference: Walker, Ni: Anderson Acceleration for Fixed-Point Iterations (2011).
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.images: list[list[Tensor]] = []
        self.residuals: list[list[Tensor]] = []

    def next(self, points: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
        """Where to go on, from the last point and its image: tensors of the same shapes."""
        self.images.append([image.clone() for image in images])
        self.residuals.append([y - x for x, y in zip(points, images, strict=True)])
        del self.images[: -self.depth], self.residuals[: -self.depth]
        gram = torch.tensor(
            [[_inner(one, other) for other in self.residuals] for one in self.residuals]
        ).double()
        mixed = [torch.zeros_like(image) for image in images]
        for share, past in zip(mixture(gram).tolist(), self.images, strict=True):
            for total, image in zip(mixed, past, strict=True):
                total.add_(image, alpha=share)
        return mixed


def _inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return sum(float((x * y).sum(dtype=torch.float64)) for x, y in zip(one, other, strict=True))
