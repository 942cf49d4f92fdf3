"""The functionals of the paper's theory: the elastic net and the Bregman distances it measures.

Reference: Bungert, Roith, Tenbrinck, Burger: A Bregman Learning Framework for Sparse Neural
Networks (2021), sections 1.4 and 2.2, https://arxiv.org/abs/2105.04319
"""

from __future__ import annotations

import math

from torch import Tensor

from snnbreg.optim.regularizers import get_regularizer


def elastic_net(name: str, theta: Tensor, lam: float = 1.0, delta: float = math.inf) -> Tensor:
    r"""The elastic net (2.6), or :math:`\lambda J` alone where delta is infinite.

    .. math::
        J_\delta(\theta) = \lambda J(\theta) + \frac{1}{2 \delta} \|\theta\|^2

    Args:
        name: the regulariser ``J``, a name that ``regularizers`` lists.
        theta: the weights, any shape the regulariser takes.
        lam: regularisation strength, >= 0.
        delta: elastic-net parameter, > 0.

    Returns:
        A scalar tensor.

    Example:
        >>> import torch
        >>> elastic_net("group_columns", torch.tensor([[3.0, 0.0], [4.0, 0.0]]), lam=2.0**0.5)
        tensor(10.)
    """
    functional = get_regularizer(name, theta.shape).value(theta)
    return lam * functional + theta.square().sum() / (2 * delta)


def bregman_distance(
    name: str,
    other: Tensor,
    theta: Tensor,
    dual: Tensor,
    lam: float = 1.0,
    delta: float = math.inf,
) -> Tensor:
    r"""The Bregman distance (1.16) of the elastic net, from theta to another point.

    .. math::
        D^v_{J_\delta}(\bar\theta, \theta) = J_\delta(\bar\theta) - J_\delta(\theta)
            - \langle v, \bar\theta - \theta \rangle, \quad v \in \partial J_\delta(\theta)

    It is not negative, and zero where both are the same; it has no symmetry. Without delta it is
    that of :math:`\lambda J`, which is :math:`\|\bar\theta - \theta\|^2 / (2 \delta)` less
    (Lemma B.1). It is infinite at points that a constraint excludes.

    Args:
        name: the regulariser ``J``, a name that ``regularizers`` lists.
        other: the point :math:`\bar\theta` that is looked at, shape of ``theta``.
        theta: the point that the distance is taken from.
        dual: a subgradient of the elastic net there: a Bregman optimizer's ``dual(param)``; of
            :math:`\lambda J` without delta, so ``dual(param) - theta / delta``.
        lam: regularisation strength, >= 0.
        delta: elastic-net parameter, > 0.

    Returns:
        A scalar tensor, >= 0 up to rounding.

    Example:
        >>> import torch
        >>> theta, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 2.0])
        >>> bregman_distance("l1", other, theta, dual=torch.tensor([1.0, 0.5]))  # 2 * 1 + 2 * 0.5
        tensor(3.)
    """
    linear = (dual * (other - theta)).sum()
    return elastic_net(name, other, lam, delta) - elastic_net(name, theta, lam, delta) - linear


def symmetric_bregman_distance(
    other: Tensor, theta: Tensor, other_dual: Tensor, dual: Tensor
) -> Tensor:
    r"""The sum of both Bregman distances (1.18), which needs the subgradients alone.

    .. math::
        D^{sym}(\bar\theta, \theta) = D^v(\bar\theta, \theta) + D^{\bar v}(\theta, \bar\theta)
            = \langle \bar v - v, \bar\theta - \theta \rangle

    Args:
        other: a point, any shape.
        theta: another, of the same shape.
        other_dual: a subgradient of the functional at ``other``: of the elastic net, a Bregman
            optimizer's ``dual(param)``.
        dual: a subgradient of the same functional at ``theta``.

    Returns:
        A scalar tensor, >= 0 up to rounding.

    Example:
        >>> import torch
        >>> points = torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 0.0])
        >>> symmetric_bregman_distance(*points, torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 0.5]))
        tensor(5.)
    """
    return ((other_dual - dual) * (other - theta)).sum()
