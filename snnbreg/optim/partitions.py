"""Ways to divide the entries of a tensor into groups, and what the l1,2 norm asks of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Shape = Sequence[int]


@dataclass(frozen=True)
class Partition:
    """Groups of entries: every entry is in one.

    Attributes:
        norms: ``x -> `` the 2-norm of each group.
        roots: ``x -> `` the square root of each group's number of entries: one number where they
            are equal, else shaped as the norms.
        spread: ``(per_group, shape) -> `` for every entry the number of its group, in a shape that
            broadcasts to ``shape``.
        counts: ``shape -> `` the shape of one number per group.
        requires: ``shape -> `` what a tensor must be, in words, if one of this shape cannot be
            divided; else "".
    """

    norms: Callable[[Tensor], Tensor]
    roots: Callable[[Tensor], Tensor | float]
    spread: Callable[[Tensor, Shape], Tensor]
    counts: Callable[[Shape], list[int]]
    requires: Callable[[Shape], str] = lambda shape: ""


def dimensions(ndim: int) -> Callable[[Shape], str]:
    """Requires so many dimensions."""
    return lambda shape: "" if len(shape) == ndim else f"a parameter of {ndim} dimensions"


def along(dims: tuple[int, ...], ndim: int) -> Partition:
    """Groups that span whole dimensions: rows and columns of a matrix, kernels.

    Args:
        dims: the dimensions a group spans.
        ndim: the number of dimensions of the tensor.
    """
    return Partition(
        norms=lambda x: torch.linalg.vector_norm(x, dim=dims, keepdim=True),
        roots=lambda x: math.sqrt(math.prod(x.shape[dim] for dim in dims)),
        spread=lambda per_group, shape: per_group,
        counts=lambda shape: [1 if dim in dims else size for dim, size in enumerate(shape)],
        requires=dimensions(ndim),
    )


def tiles(sides: tuple[int, ...]) -> Partition:
    """Blocks of one size, one side per dimension; those at the far edges may be smaller."""

    def counts(shape: Shape) -> list[int]:
        return [-(-size // side) for size, side in zip(shape, sides, strict=True)]

    def norms(x: Tensor) -> Tensor:
        blocks = counts(x.shape)
        short = [n * b - size for n, b, size in zip(blocks, sides, x.shape, strict=True)]
        if any(short):  # pad wants the last dimension first
            x = torch.nn.functional.pad(x, [end for gap in reversed(short) for end in (0, gap)])
        divided = x.reshape([size for pair in zip(blocks, sides, strict=True) for size in pair])
        return torch.linalg.vector_norm(divided, dim=tuple(range(1, divided.ndim, 2)))

    def roots(x: Tensor) -> Tensor | float:
        if any(size % side for size, side in zip(x.shape, sides, strict=True)):
            return norms(torch.ones_like(x))
        return math.sqrt(math.prod(sides))

    def spread(per_group: Tensor, shape: Shape) -> Tensor:
        for dim, (side, size) in enumerate(zip(sides, shape, strict=True)):
            per_group = per_group.repeat_interleave(side, dim).narrow(dim, 0, size)
        return per_group

    return Partition(norms, roots, spread, counts, dimensions(len(sides)))


def labelled(labels: Tensor | Callable[[Shape], Tensor]) -> Partition:
    """Any groups: the entries with the same label.

    Args:
        labels: integers of the parameter's shape, or a function that makes them for a shape.
    """

    def made(shape: Shape) -> Tensor:
        return labels if isinstance(labels, Tensor) else labels(tuple(shape))

    @lru_cache(maxsize=64)
    def numbered(shape: Shape, device: torch.device) -> tuple[Tensor, Tensor]:
        """The number of every entry's group, 0, 1, ..., and the sizes of the groups."""
        _, index, sizes = torch.unique(made(shape), return_inverse=True, return_counts=True)
        return index.to(device), sizes.to(device)

    def norms(x: Tensor) -> Tensor:
        index, sizes = numbered(x.shape, x.device)
        squares = x.new_zeros(len(sizes)).index_add_(0, index.flatten(), x.square().flatten())
        return squares.sqrt_()

    def requires(shape: Shape) -> str:
        found = made(shape)
        if found.is_floating_point() or found.is_complex():
            return "labels that are integers"
        fits = found.shape == tuple(shape)
        return "" if fits else f"a parameter of its labels' shape {tuple(found.shape)}"

    return Partition(
        norms,
        roots=lambda x: numbered(x.shape, x.device)[1].to(x.dtype).sqrt(),
        spread=lambda per_group, shape: per_group[numbered(tuple(shape), per_group.device)[0]],
        counts=lambda shape: [len(numbered(tuple(shape), torch.device("cpu"))[1])],
        requires=requires,
    )


def slices(shapes: Sequence[Shape], dims: Sequence[int]) -> Partition:
    """Groups that span several tensors, laid end to end: one slice of each.

    Args:
        shapes: of the tensors.
        dims: the dimension of each tensor whose index is the number of the group; as long in all.
    """
    sizes = [math.prod(shape) for shape in shapes]
    groups = shapes[0][dims[0]]

    def norms(x: Tensor) -> Tensor:
        parts = zip(x.split(sizes), shapes, dims, strict=True)
        squares = (
            part.view(*shape).square().movedim(dim, 0).reshape(groups, -1).sum(1)
            for part, shape, dim in parts
        )
        return torch.stack(list(squares)).sum(0).sqrt_()

    def spread(per_group: Tensor, shape: Shape) -> Tensor:
        parts = []
        for size, dim in zip(shapes, dims, strict=True):
            beside = [-1 if axis == dim else 1 for axis in range(len(size))]
            parts.append(per_group.view(beside).expand(*size).flatten())
        return torch.cat(parts)

    return Partition(
        norms,
        roots=lambda x: math.sqrt(sum(sizes) / groups),
        spread=spread,
        counts=lambda shape: [groups],
    )
