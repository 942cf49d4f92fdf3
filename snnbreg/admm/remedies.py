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


def anderson(points: Sequence[Tensor], images: Sequence[Tensor], ridge: float = 1e-10) -> Tensor:
    """The next point of a fixed-point iteration x <- F(x) from several earlier ones.

    The mixture of the images whose residuals, mixed likewise, are smallest; its weights sum to 1.

    Args:
        points: earlier points x, the last one last, any one shape.
        images: F of each.
        ridge: of the small least-squares problem, relative to its scale.

    Reference: Walker, Ni: Anderson Acceleration for Fixed-Point Iterations (2011).

    Example:
        >>> x = [torch.tensor([0.0]), torch.tensor([1.0])]  # of F(x) = x / 2 + 1
        >>> round(anderson(x, [0.5 * p + 1 for p in x]).item(), 4)
        2.0
    """
    residuals = torch.stack([
        (image - point).flatten().double() for point, image in zip(points, images, strict=True)
    ])  # fmt: skip
    gram = residuals @ residuals.T
    gram.diagonal().add_(ridge * gram.diagonal().mean().clamp(min=torch.finfo(gram.dtype).tiny))
    mix = torch.linalg.solve(gram, gram.new_ones(len(gram)))
    mix = (mix / mix.sum()).to(images[-1].dtype)
    mixed = torch.zeros_like(images[-1])
    for share, image in zip(mix, images, strict=True):
        mixed += share * image
    return mixed
