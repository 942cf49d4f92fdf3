"""The functionals behind the names of ``regularizers``, and how each is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from snnbreg.optim.partitions import Partition, Shape, dimensions, slices, tiles

Choose = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class Regularizer:
    """A positively homogeneous convex functional ``J`` of one parameter.

    Attributes:
        value: ``theta -> J(theta)``, a scalar tensor.
        subgradient: ``theta -> p`` in ``dJ(theta)``, the element of least norm: zeros where theta
            (its group) is zero.
        prox: ``(v, lam) -> theta``, the minimiser of ``lam J(theta) + ||theta - v||^2 / 2``.
        coupled: ``changed -> affected``, both bool of the parameter's shape: the entries whose
            dual variable cannot stay where some entries of theta were changed from outside;
            ``None`` where every entry stands alone.
        draw: ``(shape, choose) -> keep`` for a random mask that broadcasts to the shape:
            ``choose(counts)`` draws one bool for each that is kept or dropped as a whole.
        mask: ``(theta, keep) -> theta``, without what ``keep`` from draw does not keep.
        requires: ``shape -> what a parameter must be``, in words, if this one is not; else "".
        cut: ``(dimension, multiple)``: pieces of so many indices of this dimension stand alone;
            ``None`` if there is none, or every entry stands alone.
        constrains: whether a constraint remains when lam is 0.
        makes_zeros: whether prox sets entries to zero; the nuclear norm lowers the rank instead.
        joint: where groups span several tensors, ``shapes -> Regularizer`` of all tensors of a
            parameter group, laid end to end; value, subgradient and prox are then not to be used.
    """

    value: Callable[[Tensor], Tensor]
    subgradient: Callable[[Tensor], Tensor]
    prox: Callable[[Tensor, float], Tensor]
    coupled: Callable[[Tensor], Tensor] | None = None
    draw: Callable[[Shape, Choose], Tensor] = lambda shape, choose: choose(shape)
    mask: Callable[[Tensor, Tensor], Tensor] = lambda theta, keep: theta * keep
    requires: Callable[[Shape], str] = lambda shape: ""
    cut: tuple[int, int] | None = None
    constrains: bool = False
    makes_zeros: bool = True
    joint: Callable[[Sequence[Shape]], Regularizer] | None = None


def nonnegative_sum(theta: Tensor) -> Tensor:
    """The sum of the entries, infinite if one of them is negative."""
    return torch.where((theta < 0).any(), math.inf, theta.sum())


def grouped(groups: Partition, cut: tuple[int, int] | None = None) -> Regularizer:
    """The l1,2 norm ``sum_g sqrt(n_g) ||theta_g||_2`` of the groups of a partition."""

    def value(theta: Tensor) -> Tensor:
        return (groups.roots(theta) * groups.norms(theta)).sum()

    def subgradient(theta: Tensor) -> Tensor:
        norms = groups.norms(theta)
        inverse = groups.roots(theta) / torch.where(norms == 0, math.inf, norms)
        return theta * groups.spread(inverse, theta.shape)

    def prox(v: Tensor, lam: float) -> Tensor:
        norms, radii = groups.norms(v), lam * groups.roots(v)
        return v * groups.spread(torch.where(norms <= radii, 0.0, 1 - radii / norms), v.shape)

    def coupled(changed: Tensor) -> Tensor:
        number = groups.norms(changed.double())
        return groups.spread(number > 0, changed.shape).expand_as(changed)

    def draw(shape: Shape, choose: Choose) -> Tensor:
        return groups.spread(choose(groups.counts(shape)), shape)

    return Regularizer(value, subgradient, prox, coupled, draw, requires=groups.requires, cut=cut)


def with_l1(group: Regularizer) -> Regularizer:
    """The l1 norm plus a group norm: its prox is a soft threshold, then the group's prox."""
    if group.joint is not None:
        joint = group.joint
        return replace(group, joint=lambda shapes: with_l1(joint(shapes)))
    return replace(
        group,
        value=lambda theta: theta.abs().sum() + group.value(theta),
        subgradient=lambda theta: theta.sign() + group.subgradient(theta),
        prox=lambda v, lam: group.prox(softshrink(v, lam), lam),
    )


def nuclear() -> Regularizer:
    """The nuclear norm of a matrix: soft threshold of the singular values.

    Singular values below the rounding error of float32 are zero to the subgradient, so that a
    matrix of low rank stays one when it is read from float32 weights.
    """

    def decomposed(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        left, values, right = torch.linalg.svd(theta, full_matrices=False)
        return left, values, right

    def subgradient(theta: Tensor) -> Tensor:
        left, values, right = decomposed(theta)
        noise = max(theta.shape) * torch.finfo(torch.float32).eps * values.max()
        return (left * (values > noise)) @ right

    def prox(v: Tensor, lam: float) -> Tensor:
        if not v.isfinite().all():  # of a run that diverges; it has no singular values
            return torch.full_like(v, math.nan)
        left, values, right = decomposed(v)
        return (left * softshrink(values, lam)) @ right

    def mask(theta: Tensor, keep: Tensor) -> Tensor:
        left, values, right = decomposed(theta)
        return (left * (values * keep)) @ right

    return Regularizer(
        lambda theta: torch.linalg.svdvals(theta).sum(),
        subgradient,
        prox,
        coupled=lambda changed: changed.any().expand_as(changed),
        draw=lambda shape, choose: choose([min(shape)]),
        mask=mask,
        requires=dimensions(2),
        makes_zeros=False,
    )


def blocks(name: str, sizes: str) -> Regularizer:
    """Blocks such as 4x4."""
    sides = tuple(int(side) if side.isdecimal() else 0 for side in sizes.split("x"))
    if 0 in sides:
        raise ValueError(f"Invalid regularizer: {name!r}. Write the sides of a block as in 4x4.")
    return grouped(tiles(sides), cut=(0, sides[0]))


def neurons(name: str, roles: str) -> Regularizer:
    """All weights into a neuron and out of it: one group, spread over several tensors.

    ``roles`` says of each parameter of the optimizer's group, in their order, whether it leads
    ``in`` (the neuron is the first index: a row, a filter, a bias) or ``out`` (the second: a
    column). A tensor has one role, in one group: were the matrix between two layers divided by
    its rows and by its columns as well, the groups would overlap, and the prox has no closed form.
    """
    words = roles.split("+")
    if not set(words) <= {"in", "out"}:
        raise ValueError(
            f"Invalid regularizer: {name!r}. Say for each parameter of the group whether it leads "
            "in or out, as in group_neurons:in+out; a matrix that leads from a layer to itself "
            "can only be one of them."
        )
    dims = tuple(int(word == "out") for word in words)

    def joint(shapes: Sequence[Shape]) -> Regularizer:
        if len(shapes) != len(dims):
            raise ValueError(
                f"Invalid regularizer: {name!r} is for {len(dims)} parameters, but the group has "
                f"{len(shapes)}. Name a role, in or out, for each."
            )
        neurons = [shape[d] if d < len(shape) else 0 for shape, d in zip(shapes, dims, strict=True)]
        if len(set(neurons)) > 1 or not neurons[0]:
            shown = ", ".join(
                f"{word} {tuple(shape)}" for word, shape in zip(words, shapes, strict=True)
            )
            raise ValueError(
                f"Invalid regularizer: {name!r} needs as many rows of parameters that lead in as "
                f"columns of those that lead out, but has {shown}."
            )
        return grouped(slices(shapes, dims))

    def alone(*_: object) -> Tensor:
        raise ValueError(f"Regularizer {name!r} couples the parameters of its group.")

    return Regularizer(alone, alone, alone, joint=joint)
