"""Regularisers as pure functions, and the names of all of them.

Every regulariser here is positively homogeneous, ``J(c theta) = c J(theta)`` for c > 0 (norms,
sums of norms, and a norm on a cone), so that Bregman learning needs its proximal map alone::

    theta = prox_{delta lam J}(delta v) = delta prox_{lam J}(v),    lam p = v - prox_{lam J}(v)

with p in dJ(theta): a dual variable is ``v = theta / delta + lam p``. A regulariser without that
property (a squared norm) must not be added. To add one, add an entry to ``REGULARIZERS`` or, where
its name carries sizes, to ``FAMILIES``; optimizers, sparse initialisation and error messages read
these.

================================  ==================================================================
name                              J
================================  ==================================================================
``none``                          0
``l1``                            the sum of the absolute values
``l1_nonneg``                     the sum of the entries, none of them negative
``nuclear``                       of a matrix, the sum of its singular values: low rank, no zeros
``group_rows``                    l1,2 over the rows of a matrix (receivers)
``group_columns``                 l1,2 over its columns (senders)
``group_kernels``                 l1,2 over the k x k kernels of a convolution
``group_blocks:4x4``              l1,2 over blocks, a side per dimension; at the edges smaller ones
``group_labels:NAME``             l1,2 over the groups registered by ``register_groups(NAME, ...)``
``group_neurons:in+out``          l1,2 over neurons, see ``neurons``; spans several parameters
``l1+GROUP``                      l1 plus any of the groups above (sparse group lasso)
================================  ==================================================================

Here l1,2 is ``sum_g sqrt(n_g) ||theta_g||_2``, with n_g entries in group g.

References: Bungert, Roith, Tenbrinck, Burger: A Bregman Learning Framework for Sparse Neural
Networks (2021), equations (1.2), (1.14), (2.8), https://arxiv.org/abs/2105.04319; for l1 plus
groups, Simon, Friedman, Hastie, Tibshirani: A Sparse-Group Lasso (2013); for the nuclear norm, Cai,
Candes, Shen: A Singular Value Thresholding Algorithm (2010), https://arxiv.org/abs/0810.3286
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from snnbreg.optim.functionals import (
    Regularizer,
    blocks,
    grouped,
    neurons,
    nonnegative_sum,
    nuclear,
    with_l1,
)
from snnbreg.optim.partitions import Shape, along, labelled

REGULARIZERS: dict[str, Regularizer] = {
    "none": Regularizer(lambda theta: theta.new_zeros(()), torch.zeros_like, lambda v, lam: v),
    "l1": Regularizer(lambda theta: theta.abs().sum(), torch.sign, softshrink),
    # The l1 norm of non-negative weights. Negative ones are outside its domain: the first step
    # sets them to zero.
    "l1_nonneg": Regularizer(
        nonnegative_sum,
        lambda theta: theta.sign().clamp(min=0),
        lambda v, lam: (v - lam).clamp(min=0),
        constrains=True,
    ),
    "nuclear": nuclear(),
    "group_rows": grouped(along((1,), ndim=2), cut=(0, 1)),
    "group_columns": grouped(along((0,), ndim=2), cut=(1, 1)),
    "group_kernels": grouped(along((2, 3), ndim=4), cut=(0, 1)),
}
"""The regularisers by the name that parameter groups and configs use."""

_LABELLED: dict[str, Regularizer] = {}


def _labelled(name: str, groups: str) -> Regularizer:
    """Groups of the user's own."""
    if groups not in _LABELLED:
        raise ValueError(
            f"Invalid regularizer: {name!r}. No groups are registered as {groups!r}: call "
            f"snnbreg.optim.register_groups({groups!r}, labels) first."
        )
    return _LABELLED[groups]


FAMILIES: dict[str, Callable[[str, str], Regularizer]] = {
    "group_blocks": blocks,
    "group_labels": _labelled,
    "group_neurons": neurons,
}
"""Regularisers whose name says more after a colon: ``(name, what follows) -> Regularizer``."""

_EXAMPLES = ("group_blocks:4x4", "group_labels:NAME", "group_neurons:in+out", "l1+GROUP")


def register_groups(name: str, labels: Tensor | Callable[[Shape], Tensor]) -> None:
    """Name groups of your own: ``regularizer="group_labels:NAME"`` then is their l1,2 norm.

    The name is what an optimizer's state holds: a program that loads it registers the groups
    first, best in the module that defines the network.

    Args:
        name: of your choice; a second registration replaces the first.
        labels: integers of the parameter's shape, equal where entries belong together; or a
            function that makes them for the shape of any parameter.

    Example:
        >>> register_groups("halves", torch.tensor([[0, 0, 1, 1]]))
        >>> prox("group_labels:halves", torch.tensor([[3.0, 4.0, 0.3, 0.4]]), lam=0.5**0.5)
        tensor([[2.4000, 3.2000, 0.0000, 0.0000]])
    """
    _LABELLED[name] = grouped(labelled(labels))
    _parsed.cache_clear()


@lru_cache(maxsize=256)
def _parsed(name: str) -> Regularizer:
    """The regulariser of a name that is no entry of the table."""
    plus, group = name.startswith("l1+group_"), name.removeprefix("l1+")
    kind, colon, rest = group.partition(":")
    if colon and kind in FAMILIES:
        found = FAMILIES[kind](name, rest)
    elif plus and group in REGULARIZERS:
        found = REGULARIZERS[group]
    else:
        valid = ", ".join((*REGULARIZERS, *_EXAMPLES))
        raise ValueError(f"Invalid regularizer: {name!r}. Valid regularizers are {valid}.")
    return with_l1(found) if plus else found


def get_regularizer(name: str, *shapes: Shape) -> Regularizer:
    """Look a regulariser up by its name.

    Args:
        name: one of ``REGULARIZERS``, or of the forms that the top of this file lists.
        shapes: of the parameters it is for, to check whether it fits them.

    Raises:
        ValueError: unknown name, or shapes the regulariser is not defined for.
    """
    regularizer = REGULARIZERS[name] if name in REGULARIZERS else _parsed(name)
    if shapes and regularizer.joint is not None:
        regularizer.joint(shapes)
    for shape in shapes:
        needed = regularizer.requires(shape)
        if needed:
            raise ValueError(
                f"Invalid regularizer: {name!r} needs {needed}, not one of shape {tuple(shape)}. "
                "Give it a group of its own with another regularizer, 'l1' or 'none'."
            )
    return regularizer


def jointly(
    regularizer: Regularizer,
    function: Callable[[Regularizer, Tensor], Tensor],
    tensors: Sequence[Tensor],
) -> list[Tensor]:
    """``function(regularizer, tensor)`` of every tensor of a parameter group.

    Where the regulariser couples the tensors, the function is called once, with all of them laid
    end to end, and its result is divided among them again.
    """
    if regularizer.joint is None:
        return [function(regularizer, tensor) for tensor in tensors]
    whole = regularizer.joint([tensor.shape for tensor in tensors])
    result = function(whole, torch.cat([tensor.reshape(-1) for tensor in tensors]))
    parts = result.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def prox(name: str, v: Tensor, lam: float, delta: float = 1.0) -> Tensor:
    """The weights of a dual variable: ``theta = prox_{delta lam J}(delta v)``.

    This is the minimiser of ``lam J(theta) + ||theta||^2 / (2 delta) - <v, theta>``. For l1,
    ``theta = delta sign(v) max(|v| - lam, 0)``; for a group,
    ``theta = delta v max(0, 1 - lam sqrt(n) / ||v||)``. That delta stands in front is right for
    positively homogeneous J, which all of ``REGULARIZERS`` are.

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
