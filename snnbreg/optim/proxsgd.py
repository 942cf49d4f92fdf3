"""ProxSGD: stochastic proximal gradient descent, the baseline of Bregman learning.

Paper: A Bregman Learning Framework for Sparse Neural Networks (Bungert, Roith, Tenbrinck, Burger
2021), equation (1.5), https://arxiv.org/abs/2105.04319
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from snnbreg.optim.base import RegularizedOptimizer
from snnbreg.optim.ranking import keep_largest
from snnbreg.optim.regularizers import get_regularizer, jointly


class ProximalOptimizer(RegularizedOptimizer):
    """Base of optimizers that take a step of their own, then the proximal map of lam J."""

    @torch.no_grad()
    def prune_to(self, count: int, groups: Sequence[int]) -> None:
        """Set all but the largest weights of some groups to zero, and forget their moments.

        Args:
            count: how many are kept, exactly; zeros among them where there are no others.
            groups: indices of parameter groups, whose weights are ranked together.
        """
        params = [param for index in groups for param in self.param_groups[index]["params"]]
        kept = keep_largest(torch.cat([param.flatten().abs() for param in params]), count)
        for param, part in zip(params, kept.split([p.numel() for p in params]), strict=True):
            mask = part.view(param.shape)
            entries = [param, *self.state.get(param, {}).values()]
            for entry in entries:
                if isinstance(entry, Tensor) and entry.shape == param.shape:
                    entry.mul_(mask)

    @torch.no_grad()
    def factor_for(self, count: int, steps: int, groups: Sequence[int]) -> float:
        """The factor of the lambdas at which so many weights would outlast so many steps of l1.

        As if gradients were zero and learning rates stayed as they are. Gradients hold on to
        weights, so that more of them last.

        Args:
            count: of weights that last, >= 1.
            steps: how many.
            groups: indices of parameter groups, whose weights are ranked together.

        Returns:
            The largest one; 0 where there are no more than ``count`` weights that are not zero,
            infinity where learning rate or lambda are 0.
        """
        lasting = []
        for index in groups:
            group = self.param_groups[index]
            shrinkage = group["lr"] * group["lam"] * steps
            for param in group["params"]:
                lasting.append((param.abs() * self._metric(param, group) / shrinkage).flatten())
        factors = torch.cat(lasting).nan_to_num(nan=0.0, posinf=math.inf)  # 0 / 0, 1 / 0
        return float(factors.kthvalue(max(1, factors.numel() - count)).values)

    def _metric(self, param: Tensor, group: Mapping[str, Any]) -> Tensor | float:
        """What the shrinkage of a weight is divided by."""
        return 1.0


class ProxSGD(ProximalOptimizer):
    r"""A gradient step, then the proximal map of the regulariser.

    With learning rate :math:`\tau` (lr), gradient :math:`g` and regulariser :math:`\lambda J`:

    .. math::
        \theta_{t+1} = \mathrm{prox}_{\tau \lambda J}(\theta_t - \tau g_t)

    Unlike LinBreg it shrinks the weights in every step (l1: by ``lr * lam``), so it minimises the
    loss plus :math:`\lambda J`. With ``lam=0`` it is ``torch.optim.SGD``.

    Args:
        params: tensors, dicts of groups, or named parameters (whose names guard loading).
        lr: learning rate.
        lam: regularisation strength lambda.
        regularizer: a name from ``REGULARIZERS``; ``"none"`` for biases.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.tensor([0.05, -2.0, 0.0]))
        >>> optimizer = ProxSGD([weight], lr=0.1, lam=1.0)
        >>> weight.grad = torch.zeros(3)
        >>> optimizer.step()
        >>> weight.detach()
        tensor([ 0.0000, -1.9000,  0.0000])
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-1, lam: float = 1e-4, regularizer: str = "l1"
    ) -> None:
        super().__init__(params, {"lr": lr, "lam": lam, "regularizer": regularizer})

    def _step_group(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        functional, lam = get_regularizer(group["regularizer"]), group["lr"] * group["lam"]
        for param, grad in zip(params, grads, strict=True):
            param.add_(grad, alpha=-group["lr"])
        thetas = jointly(functional, lambda j, theta: j.prox(theta, lam), params)
        for param, theta in zip(params, thetas, strict=True):
            param.copy_(theta)
