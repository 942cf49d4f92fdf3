"""AdaBreg: the Bregman version of Adam.

Paper: A Bregman Learning Framework for Sparse Neural Networks (Bungert, Roith, Tenbrinck, Burger
2021), Algorithm 3, https://arxiv.org/abs/2105.04319
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.optimizer import ParamsT

from snnbreg.optim.base import check_betas, check_number
from snnbreg.optim.bregman import BregmanOptimizer
from snnbreg.optim.dual import State


class AdaBreg(BregmanOptimizer):
    r"""Adam on the dual variable.

    With learning rate :math:`\tau` (lr), gradient :math:`g`, regulariser :math:`\lambda J` and
    elastic-net parameter :math:`\delta`:

    .. math::
        \begin{aligned}
        v_0 &= \theta_0 / \delta + \lambda p_0, \quad p_0 \in \partial J(\theta_0), \quad
            m_0 = s_0 = 0\\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad \hat m_t = m_t / (1 - \beta_1^t)\\
        s_t &= \beta_2 s_{t-1} + (1 - \beta_2) g_t^2, \quad \hat s_t = s_t / (1 - \beta_2^t)\\
        v_t &= v_{t-1} - \tau \hat m_t / (\sqrt{\hat s_t} + \epsilon) \\
        \theta_t &= \mathrm{prox}_{\delta \lambda J}(\delta v_t)
        \end{aligned}

    The moments are those of ``torch.optim.Adam``, computed by its own function. A weight is
    non-zero where :math:`|v| > \lambda` (l1). With ``lam=0`` this is
    ``torch.optim.Adam`` with learning rate ``lr * delta``, to the last bit for delta 1. The
    published code before 2024 left out the first bias correction; the paper and this class have
    it.

    Args:
        params: tensors, dicts of groups, or named parameters (whose names guard loading).
        lr: learning rate.
        lam: regularisation strength lambda.
        delta: elastic-net parameter; scales the weights, not their support.
        betas: decay of the two moments, each in [0, 1).
        eps: added to the root of the second moment.
        regularizer: a name from ``REGULARIZERS``; ``"none"`` for biases.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.05, -2.0, 0.0]))
        >>> optimizer = AdaBreg([weight], lr=0.1, lam=1.0)
        >>> weight.grad = torch.tensor([3.0, 3.0, -3.0])
        >>> optimizer.step()
        >>> weight.detach()
        tensor([ 0.0000, -2.1000,  0.0000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        lam: float = 1.0,
        delta: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        regularizer: str = "l1",
    ) -> None:
        defaults = {
            "lr": lr,
            "lam": lam,
            "delta": delta,
            "betas": tuple(betas),
            "eps": eps,
            "regularizer": regularizer,
        }
        super().__init__(params, defaults)

    def _check(self, group: Mapping[str, Any]) -> None:
        super()._check(group)
        check_betas(group["betas"])
        check_number("eps", group["eps"])

    def _descend(
        self,
        targets: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        group: Mapping[str, Any],
        scale: float,
    ) -> None:
        for state, grad in zip(states, grads, strict=True):
            if "step" not in state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(grad)
                state["exp_avg_sq"] = torch.zeros_like(grad)
        # The parameters themselves move as by torch.optim.Adam, to the last bit; an update is
        # made by the fastest of its forms.
        fused = targets[0].is_cpu and targets[0].dtype == grads[0].dtype
        adam(
            targets,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True if fused and not targets[0].requires_grad else None,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"] * scale,
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, see the base class; of Adam, and with the step as a number, as well."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "step" in state:
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float32)
