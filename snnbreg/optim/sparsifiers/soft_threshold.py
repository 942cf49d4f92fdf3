"""STR: soft threshold reparametrization.

Paper: Soft Threshold Weight Reparameterization for Learnable Sparsity (Kusupati et al. 2020),
https://arxiv.org/abs/2002.03231
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnbreg.optim.sparsifiers.base import Course
from snnbreg.optim.sparsifiers.gmp import GMP


class STR(GMP):
    r"""Trains weights through a soft threshold that is learned for every matrix.

    The optimizer moves dense weights :math:`w` and one number :math:`s_l` per matrix; the network
    computes, and the run folder keeps,

    .. math:: \tilde w = \operatorname{sign}(w) \max(|w| - \sigma(s_l + c), 0)

    with the logistic function :math:`\sigma`. The published form has no :math:`c`: weight decay
    draws all :math:`s_l` alike from -3200 towards 0, the density is what comes of it, and without
    decay nothing ever happens; here :math:`c` takes the decay's place and is set after every step
    to where exactly as many weights are non-zero as GMP's cubic asks for, so that the gradient
    decides between the matrices and the schedule how many.

    What is zero gets no gradient and no momentum, and comes back only when the threshold falls
    below its :math:`|w|`. A norm of gradients that is clipped does not count :math:`s`. No
    threshold reaches weights beyond 1; where such weights are to go, the largest are kept.

    Args:
        course: the training.
        density: non-zero weights / all weights, from ``end`` on in every step.
        begin: share of the run before the first threshold; as published there is next to none at
            first.
        end: share of the run from which the density is the final one. A threshold shrinks what is
            left, too: the rest of the run, at a learning rate that still moves, makes up for it.

    Attributes:
        dense: the weights :math:`w` by name.
        offsets: :math:`s`, shape (matrices,), a parameter of the weights' optimizer.
        shift: :math:`c`; -inf while nothing is pruned.
    """

    def __init__(
        self, course: Course, density: float = 0.1, begin: float = 0.2, end: float = 0.6
    ) -> None:
        super().__init__(course, density, "global", begin, end)
        self.dense = {name: w.detach().clone() for name, w in course.weights.items()}
        self.offsets = nn.Parameter(self.weights[0].new_zeros(len(self.dense)))
        self.shift = torch.full_like(self.offsets.detach()[0], -torch.inf)
        named = "param_names" in self.optimizer.param_groups[0]  # torch wants all or none
        params = [("sparsifier.offsets", self.offsets)] if named else [self.offsets]
        self.optimizer.add_param_group({"params": params})

    @torch.no_grad()
    def after_backward(self) -> None:
        """Turn gradients of the thresholded weights into those of w and s; show w to the step."""
        super().after_backward()
        thresholds = self._thresholds()
        slopes = thresholds * (1 - thresholds)
        self.offsets.grad = torch.zeros_like(self.offsets)
        for i, (name, weight) in enumerate(self.course.weights.items()):
            if weight.grad is not None:
                self.offsets.grad[i] = -slopes[i] * (weight.sign() * weight.grad).sum()
            weight.copy_(self.dense[name])

    @torch.no_grad()
    def after_step(self) -> None:
        """Take the new w from the network, and give it the thresholded ones."""
        self.step += 1
        for name, weight in self.course.weights.items():
            self.dense[name].copy_(weight)
        masks = self._steer()
        for weight, threshold in zip(self.weights, self._thresholds(), strict=True):
            weight.copy_(soft_threshold(weight, threshold))
        self.set_masks(masks)

    def _thresholds(self) -> Tensor:
        return torch.sigmoid(self.offsets.detach() + self.shift)

    def _steer(self) -> list[Tensor]:
        """Set the shift to the middle between the last weight that is kept and the next."""
        pairs = zip(self.dense.values(), self.offsets.detach(), strict=True)
        levels = [_logit(w.abs()) - s for w, s in pairs]
        masks = self.budget.select(levels, self.counts())
        kept = torch.cat([mask.flatten() for mask in masks])
        level = torch.cat([each.flatten() for each in levels])
        if not kept.all():
            self.shift.copy_((level[kept].min() + level[~kept].max()) / 2)
        return masks

    def state_dict(self) -> dict[str, Any]:
        """The masks, w, s and c; the optimizer's own state has no values."""
        own = {"dense": dict(self.dense), "offsets": self.offsets.detach(), "shift": self.shift}
        return {**super().state_dict(), **own}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        super().load_state_dict(state)
        for name, weight in self.dense.items():
            weight.copy_(state["dense"][name])
        self.offsets.copy_(state["offsets"])
        self.shift.copy_(state["shift"])


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """``sign(w) max(|w| - threshold, 0)``.

    Example:
        >>> soft_threshold(torch.tensor([0.9, 0.3, -0.6]), torch.tensor(0.5))
        tensor([ 0.4000,  0.0000, -0.1000])
    """
    return weight.sign() * (weight.abs() - threshold).clamp(min=0)


def _logit(size: Tensor) -> Tensor:
    """The inverse of the logistic function; from 1 on, which it never reaches, still increasing."""
    below = size.clamp(max=1 - torch.finfo(size.dtype).eps)
    return torch.logit(below) + (size - below)
