"""ProxAdam: Adam with a proximal map.

Paper: Adaptive Proximal Gradient Methods for Structured Neural Networks (Yun, Lozano, Yang 2021),
algorithm ProxGen with Adam's moments
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from snnbreg.optim.base import check_betas, check_number
from snnbreg.optim.proxsgd import ProximalOptimizer
from snnbreg.optim.regularizers import get_regularizer, jointly

FORMS = ("proxgen", "plain")


class ProxAdam(ProximalOptimizer):
    r"""A step of Adam, then the proximal map of the regulariser.

    With learning rate :math:`\tau` (lr), Adam's corrected moments :math:`\hat m_t`,
    :math:`\hat s_t`, :math:`D_t = \sqrt{\hat s_t} + \epsilon` and regulariser
    :math:`\lambda J`:

    .. math::
        \begin{aligned}
        z_t &= \theta_{t-1} - \tau \hat m_t / D_t \\
        \theta_t &= \mathrm{prox}^{D_t}_{\tau \lambda J}(z_t)
        \end{aligned}

    ``form="proxgen"`` takes the proximal map in the metric of Adam, so that it minimises the loss
    plus :math:`\lambda J`: for l1 the threshold is ``lr * lam / D``, high where gradients are
    small. ``form="plain"`` takes it in the usual metric: the threshold is ``lr * lam`` for all.
    With ``lam=0`` both are ``torch.optim.Adam``.

    Args:
        params: tensors, dicts of groups, or named parameters (whose names guard loading).
        lr: learning rate.
        lam: regularisation strength lambda.
        betas: decay of the two moments, each in [0, 1).
        eps: added to the root of the second moment.
        regularizer: a name from ``REGULARIZERS``; ``"none"`` for biases. ``proxgen`` is for
            those of single entries: in a metric the map of a group has no closed form.
        form: ``"proxgen"`` or ``"plain"``.

    Raises:
        ValueError: an option is out of range, or a group regulariser with ``proxgen``.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.05, -2.0, 0.0]))
        >>> optimizer = ProxAdam([weight], lr=0.1, lam=1.0)
        >>> weight.grad = torch.tensor([3.0, 3.0, 3.0])
        >>> optimizer.step()
        >>> weight.detach()
        tensor([-0.0167, -2.0667, -0.0667])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        lam: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        regularizer: str = "l1",
        form: str = "proxgen",
    ) -> None:
        defaults = {"lr": lr, "lam": lam, "betas": tuple(betas), "eps": eps}
        super().__init__(params, {**defaults, "regularizer": regularizer, "form": form})

    def _check(self, group: Mapping[str, Any]) -> None:
        check_betas(group["betas"])
        check_number("eps", group["eps"])
        if group["form"] not in FORMS:
            valid = ", ".join(FORMS)
            raise ValueError(f"Invalid form: {group['form']!r}. Valid forms are {valid}.")
        grouped = get_regularizer(group["regularizer"]).coupled is not None
        if grouped and group["form"] == "proxgen":
            raise ValueError(
                f"Invalid form: 'proxgen' has no closed form for {group['regularizer']!r}. "
                "Use 'plain'."
            )

    def _metric(self, param: Tensor, group: Mapping[str, Any]) -> Tensor | float:
        state = self.state.get(param)
        return 1.0 if group["form"] == "plain" or not state else _adams_metric(state, group)

    def _step_group(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        regularizer, threshold = get_regularizer(group["regularizer"]), group["lr"] * group["lam"]
        free = group["regularizer"] == "none" or (threshold == 0 and not regularizer.constrains)
        for param, grad in zip(params, grads, strict=True):
            state = self.state[param]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(grad)
                state["exp_avg_sq"] = torch.zeros_like(grad)
            state["step"] += 1
            t, m, s = state["step"], state["exp_avg"], state["exp_avg_sq"]
            m.lerp_(grad, 1 - beta1)
            s.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            metric = _adams_metric(state, group)
            param.addcdiv_(m, metric, value=-group["lr"] / (1 - beta1**t))
            if group["form"] == "proxgen" and not free:
                # a threshold of lr lam / D for theta is one of lr lam for D theta
                param.copy_(regularizer.prox(param * metric, threshold).div_(metric))
        if group["form"] == "plain" and not free:
            thetas = jointly(regularizer, lambda j, theta: j.prox(theta, threshold), params)
            for param, theta in zip(params, thetas, strict=True):
                param.copy_(theta)


def _adams_metric(state: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    """D, the corrected root of the second moment."""
    root: Tensor = state["exp_avg_sq"].sqrt() / (1 - group["betas"][1] ** state["step"]) ** 0.5
    return root.add_(group["eps"])
