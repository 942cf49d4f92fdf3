"""LinBreg: linearised Bregman iterations, with momentum.

Paper: A Bregman Learning Framework for Sparse Neural Networks (Bungert, Roith, Tenbrinck, Burger
2021), Algorithms 1 and 2, https://arxiv.org/abs/2105.04319
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from snnbreg.optim.base import check_number
from snnbreg.optim.bregman import BregmanOptimizer
from snnbreg.optim.dual import State


class LinBreg(BregmanOptimizer):
    r"""Stochastic gradient descent on the dual variable.

    With learning rate :math:`\tau` (lr), momentum :math:`\beta`, gradient :math:`g`, regulariser
    :math:`\lambda J` and elastic-net parameter :math:`\delta`:

    .. math::
        \begin{aligned}
        v_0 &= \theta_0 / \delta + \lambda p_0, \quad p_0 \in \partial J(\theta_0), \quad m_0 = 0\\
        m_{t+1} &= \beta m_t + (1 - \beta) \tau g_t \\
        v_{t+1} &= v_t - m_{t+1} \\
        \theta_{t+1} &= \mathrm{prox}_{\delta \lambda J}(\delta v_{t+1})
        \end{aligned}

    A weight is non-zero where :math:`|v| > \lambda` (l1). With ``lam=0`` and without momentum this
    is ``torch.optim.SGD`` with learning rate ``lr * delta``, to the last bit for delta 1; the
    momentum is the paper's (Algorithm 2; its equation (3.7d) uses the old m), not torch's.

    Args:
        params: tensors, dicts of groups, or named parameters (whose names guard loading).
        lr: learning rate.
        lam: regularisation strength lambda.
        delta: elastic-net parameter; scales the weights, not their support.
        momentum: beta in [0, 1).
        regularizer: a name from ``REGULARIZERS``; ``"none"`` for biases.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.05, -2.0, 0.0]))
        >>> optimizer = LinBreg([weight], lr=0.1, lam=1.0)
        >>> optimizer.dual(weight)
        tensor([ 1.0500, -3.0000,  0.0000], dtype=torch.float64)
        >>> weight.grad = torch.tensor([1.0, 1.0, -1.0])
        >>> optimizer.step()
        >>> weight.detach()
        tensor([ 0.0000, -2.1000,  0.0000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-1,
        lam: float = 1e-1,
        delta: float = 1.0,
        momentum: float = 0.0,
        regularizer: str = "l1",
    ) -> None:
        defaults = {
            "lr": lr,
            "lam": lam,
            "delta": delta,
            "momentum": momentum,
            "regularizer": regularizer,
        }
        super().__init__(params, defaults)

    def _check(self, group: Mapping[str, Any]) -> None:
        super()._check(group)
        check_number("momentum", group["momentum"], below=1)

    def _descend(
        self,
        targets: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        group: Mapping[str, Any],
        scale: float,
    ) -> None:
        lr, momentum = group["lr"], group["momentum"]
        if not momentum:
            torch._foreach_add_(targets, grads, alpha=-lr * scale)
            return
        for state, grad in zip(states, grads, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(grad)
        buffers = [state["momentum_buffer"] for state in states]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, grads, alpha=(1 - momentum) * lr)
        torch._foreach_add_(targets, buffers, alpha=-scale)
