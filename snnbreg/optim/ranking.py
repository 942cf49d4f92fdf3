"""Which weights are kept: exact numbers, and ties that are broken the same way everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from snnbreg.optim.sparse import layer_densities


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """A mask of exactly ``count`` entries, those with the largest scores.

    Among equal scores the first entries win. ``scores >= threshold`` would keep too many of them.

    Args:
        scores: any shape.
        count: how many; below 0 none, above the number of entries all.

    Returns:
        bool, the shape of ``scores``.

    Example:
        >>> keep_largest(torch.tensor([1.0, 3.0, 1.0, 1.0]), 2)
        tensor([ True,  True, False, False])
    """
    flat = scores.flatten()
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= flat.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    above, equal = flat > threshold, flat == threshold
    kept = above | (equal & (equal.cumsum(0) <= count - above.sum()))
    return kept.view(scores.shape)


def layer_counts(shapes: Sequence[Sequence[int]], density: float, allocation: str) -> list[int]:
    """Numbers of weights per layer that amount to exactly ``round(density * all)``.

    Args:
        shapes: one per layer, ``(n_out, n_in, *kernel)``.
        density: share of the weights of all layers together, in (0, 1].
        allocation: ``"uniform"`` or ``"erk"``, see :func:`~snnbreg.optim.layer_densities`.

    Returns:
        The integer parts of the shares; what is missing goes to the largest fractions.

    Example:
        >>> layer_counts([(4, 2), (3, 3), (1, 3)], 0.35, "uniform")  # 2.8, 3.15, 1.05
        [3, 3, 1]
    """
    sizes = [math.prod(shape) for shape in shapes]
    densities = layer_densities(shapes, density, allocation)
    shares = [size * part for size, part in zip(sizes, densities, strict=True)]
    counts = [min(size, math.floor(share)) for size, share in zip(sizes, shares, strict=True)]
    missing = round(density * sum(sizes)) - sum(counts)
    by_fraction = sorted(range(len(sizes)), key=lambda i: counts[i] - shares[i])
    for i in [i for i in by_fraction if counts[i] < sizes[i]][:missing]:
        counts[i] += 1
    return counts


class Budget:
    """How many weights are kept: in every layer, or in all layers together.

    Args:
        shapes: one per layer.
        density: at the end, in (0, 1].
        allocation: ``"layer"`` (each layer the same density), ``"erk"`` (small layers keep more)
            or ``"global"`` (one ranking over all layers, which may empty one).

    Attributes:
        sizes: numbers of weights, one per layer, or a single one of all together.
        final: how many of them are kept at the end; they amount to ``round(density * all)``.

    Raises:
        ValueError: an unknown allocation, or a density outside (0, 1].
    """

    ALLOCATIONS = ("layer", "erk", "global")

    def __init__(self, shapes: Sequence[Sequence[int]], density: float, allocation: str) -> None:
        if allocation not in self.ALLOCATIONS:
            valid = ", ".join(self.ALLOCATIONS)
            raise ValueError(f"Invalid allocation: {allocation!r}. Valid allocations are {valid}.")
        self.sizes = [math.prod(shape) for shape in shapes]
        self.final = layer_counts(shapes, density, "erk" if allocation == "erk" else "uniform")
        if allocation == "global":
            self.sizes, self.final = [sum(self.sizes)], [sum(self.final)]

    def select(self, scores: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
        """The masks of the largest scores, as many as ``counts`` says for each of ``sizes``."""
        if len(counts) == len(scores):
            return [keep_largest(s, count) for s, count in zip(scores, counts, strict=True)]
        kept = keep_largest(torch.cat([s.flatten() for s in scores]), counts[0])
        parts = kept.split([s.numel() for s in scores])
        return [part.view(s.shape) for part, s in zip(parts, scores, strict=True)]
