"""What the published method leaves open: how strong the penalties are, and how fast it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snnbreg.admm.equations import Neuron, spiking


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


RATE = 0.15
"""Of the neurons of a layer that fire in a step, at the start of a network that is made active."""


def scale_to_fire(
    weights: Sequence[Tensor], current: Tensor, neuron: Neuron, add: Callable[[Tensor], None]
) -> None:
    """Multiply hidden weights, layer by layer, until a share of ``RATE`` of the neurons fires.

    Default weights grow too small with depth: the third layer is silent, and no step changes that.

    Args:
        weights: by layer, changed in place; the output layer's stay.
        current: W a of the first layer as its weights are, (T, N, n).
        neuron: leak, threshold and reset.
        add: sums a tensor over all processes, which hold different samples.
    """

    def fired(scale: float) -> tuple[float, Tensor]:
        spikes = spiking(current * scale, neuron)[1]
        counts = torch.tensor([float(spikes.sum(dtype=torch.float64)), spikes.numel()]).double()
        add(counts)
        return float(counts[0] / counts[1]), spikes

    for layer, weight in enumerate(weights[:-1]):
        low, high = -12.0, 12.0  # powers of two
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if fired(2**middle)[0] < RATE else (low, middle)
        weight.mul_(2**high)
        current = fired(2**high)[1] @ weights[layer + 1].T


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
