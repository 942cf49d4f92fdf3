"""Regularisers as pure functions, and the table that names them.

Every regulariser here is positively homogeneous, ``J(c theta) = c J(theta)`` for c > 0, so that
Bregman learning needs its proximal map alone::

    theta = prox_{delta lam J}(delta v) = delta prox_{lam J}(v),    lam p = v - prox_{lam J}(v)

with p in dJ(theta): a dual variable is ``v = theta / delta + lam p``. To add a regulariser, add
one entry to ``REGULARIZERS``; optimizers, sparse initialisation and error messages read the table.

Reference: Bungert, Roith, Tenbrinck, Burger: A Bregman Learning Framework for Sparse Neural
Networks (2021), equation (2.8), https://arxiv.org/abs/2105.04319
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softshrink

Uniform = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class Regularizer:
    """A positively homogeneous convex functional ``J`` of one parameter.

    Attributes:
        value: ``theta -> J(theta)``, a scalar tensor.
        subgradient: ``theta -> p`` in ``dJ(theta)``, the element with zeros where theta is zero.
        prox: ``(v, lam) -> theta``, the minimiser of ``lam J(theta) + ||theta - v||^2 / 2``.
        coupled: ``changed -> affected``, both bool of the parameter's shape: the entries whose
            dual variable cannot stay where some entries of theta were changed from outside;
            ``None`` where every entry stands alone.
        draw: ``(shape, uniform) -> u`` for a random mask: ``uniform(shape)`` draws numbers in
            [0, 1); what is kept or dropped together gets one number.
        ndim: the number of dimensions a parameter must have; ``None`` if any will do.
        constrains: whether a constraint remains when lam is 0.
    """

    value: Callable[[Tensor], Tensor]
    subgradient: Callable[[Tensor], Tensor]
    prox: Callable[[Tensor, float], Tensor]
    coupled: Callable[[Tensor], Tensor] | None = None
    draw: Callable[[Sequence[int], Uniform], Tensor] = lambda shape, uniform: uniform(shape)
    ndim: int | None = None
    constrains: bool = False


def _nonnegative_sum(theta: Tensor) -> Tensor:
    """The sum of the entries, infinite if one of them is negative."""
    return torch.where((theta < 0).any(), math.inf, theta.sum())


def _grouped(dims: tuple[int, ...], ndim: int) -> Regularizer:
    """The l1,2 norm ``sum_g sqrt(n_g) ||theta_g||_2`` of groups that span ``dims``."""

    def scale(theta: Tensor) -> float:
        return math.sqrt(math.prod(theta.shape[d] for d in dims))

    def norms(theta: Tensor) -> Tensor:
        return torch.linalg.vector_norm(theta, dim=dims, keepdim=True)

    def value(theta: Tensor) -> Tensor:
        return scale(theta) * norms(theta).sum()

    def subgradient(theta: Tensor) -> Tensor:
        norm = norms(theta)
        return scale(theta) * theta / torch.where(norm == 0, 1.0, norm)

    def prox(v: Tensor, lam: float) -> Tensor:
        norm = norms(v)
        radius = lam * scale(v)
        return v * torch.where(norm <= radius, 0.0, 1 - radius / norm)

    def coupled(changed: Tensor) -> Tensor:
        return changed.any(dims, keepdim=True).expand_as(changed)

    def draw(shape: Sequence[int], uniform: Uniform) -> Tensor:
        return uniform([1 if dim in dims else size for dim, size in enumerate(shape)])

    return Regularizer(value, subgradient, prox, coupled, draw, ndim)


REGULARIZERS: dict[str, Regularizer] = {
    "none": Regularizer(lambda theta: theta.new_zeros(()), torch.zeros_like, lambda v, lam: v),
    "l1": Regularizer(lambda theta: theta.abs().sum(), torch.sign, softshrink),
    # The l1 norm of non-negative weights. Negative ones are outside its domain: the first step
    # sets them to zero.
    "l1_nonneg": Regularizer(
        _nonnegative_sum,
        lambda theta: theta.sign().clamp(min=0),
        lambda v, lam: (v - lam).clamp(min=0),
        constrains=True,
    ),
    # Rows (receivers) and columns (senders) of a matrix, and the k*k kernels of a convolution.
    "group_rows": _grouped((1,), ndim=2),
    "group_columns": _grouped((0,), ndim=2),
    "group_kernels": _grouped((2, 3), ndim=4),
}
"""The regularisers by the name that parameter groups and configs use."""


def get_regularizer(name: str, shape: torch.Size | None = None) -> Regularizer:
    """Look a regulariser up by its name.

    Args:
        name: one of ``REGULARIZERS``.
        shape: the shape of the parameter it is for, to check its number of dimensions.

    Raises:
        ValueError: unknown name, or a shape the regulariser is not defined for.
    """
    if name not in REGULARIZERS:
        valid = ", ".join(REGULARIZERS)
        raise ValueError(f"Invalid regularizer: {name!r}. Valid regularizers are {valid}.")
    regularizer = REGULARIZERS[name]
    if shape is not None and regularizer.ndim not in (None, len(shape)):
        raise ValueError(
            f"Invalid regularizer: {name!r} needs a parameter of {regularizer.ndim} dimensions, "
            f"but one of shape {tuple(shape)} has {len(shape)}. Give it a group of its own with "
            "another regularizer, 'l1' or 'none'."
        )
    return regularizer


def prox(name: str, v: Tensor, lam: float, delta: float = 1.0) -> Tensor:
    """The weights of a dual variable: ``theta = prox_{delta lam J}(delta v)``.

    This is the minimiser of ``lam J(theta) + ||theta||^2 / (2 delta) - <v, theta>``. For l1,
    ``theta = delta sign(v) max(|v| - lam, 0)``; for a group,
    ``theta = delta v max(0, 1 - lam sqrt(n) / ||v||)``.

    Args:
        name: the regulariser ``J``, one of ``REGULARIZERS``.
        v: the dual variable, any shape the regulariser takes.
        lam: regularisation strength, >= 0.
        delta: elastic-net parameter, > 0; it scales the weights, not their support.

    Returns:
        theta, shape and dtype of ``v``.

    Example:
        >>> prox("l1", torch.tensor([-3.0, 0.5, 2.0]), lam=1.0)
        tensor([-2.,  0.,  1.])
        >>> prox("group_rows", torch.tensor([[3.0, 4.0], [0.3, 0.4]]), lam=0.5**0.5)
        tensor([[2.4000, 3.2000],
                [0.0000, 0.0000]])
    """
    return delta * get_regularizer(name, v.shape).prox(v, lam)


def subgradient(name: str, theta: Tensor) -> Tensor:
    """An element ``p`` of ``dJ(theta)``: zero where theta (or its group) is zero.

    Args:
        name: the regulariser ``J``, one of ``REGULARIZERS``.
        theta: the weights, any shape the regulariser takes.

    Returns:
        p, shape and dtype of ``theta``.

    Example:
        >>> subgradient("l1", torch.tensor([-3.0, 0.0, 2.0]))
        tensor([-1.,  0.,  1.])
    """
    return get_regularizer(name, theta.shape).subgradient(theta)


def value(name: str, theta: Tensor, lam: float = 1.0, delta: float = math.inf) -> Tensor:
    """The elastic net ``lam J(theta) + ||theta||^2 / (2 delta)``; without delta, ``lam J``.

    Args:
        name: the regulariser ``J``, one of ``REGULARIZERS``.
        theta: the weights, any shape the regulariser takes.
        lam: regularisation strength, >= 0.
        delta: elastic-net parameter, > 0.

    Returns:
        A scalar tensor.

    Example:
        >>> value("group_columns", torch.tensor([[3.0, 0.0], [4.0, 0.0]]), lam=2.0**0.5)
        tensor(10.)
    """
    functional = get_regularizer(name, theta.shape).value(theta)
    return lam * functional + theta.square().sum() / (2 * delta)
