"""DEEP R: deep rewiring.

Paper: Deep Rewiring: Training very sparse deep networks (Bellec et al. 2018),
https://arxiv.org/abs/1711.05136; growth by gradient as in Meszaros et al. 2024 (PMC11695354), with
the sign that lowers the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from snnbreg.optim.base import check_number
from snnbreg.optim.ranking import keep_largest
from snnbreg.optim.sparsifiers.base import Course, RandomStart, learning_rates, moments


class DeepR(RandomStart):
    r"""Every weight has a fixed sign; one that would cross zero goes, and another comes.

    With sign :math:`s`, :math:`w = s \theta`, learning rate :math:`\eta` and
    :math:`\nu \sim N(0, 1)`, an active weight moves by

    .. math:: \theta \leftarrow \theta - \eta s g - \eta \alpha + \sqrt{2 \eta T} \, \nu

    where the first term stands for the optimizer's step, whatever it is; the l1 term and the noise
    are apart from it, so that Adam does not normalise them away. Weights with
    :math:`\theta < 0` are dropped at once, and as many come in their matrix.

    Args:
        course: the training.
        density: active weights / all weights, in every step.
        allocation: ``erk`` or ``layer``.
        l1: alpha >= 0.
        temperature: T >= 0; the published script has 2.5e-11.
        growth: ``random`` places, or by ``gradient``: where ``s g`` is most negative.
        birth: theta of a new weight, >= 0.
        rescale: see :class:`~snnbreg.optim.sparsifiers.base.RandomStart`.

    Attributes:
        positive: the signs, True for +, by name; as the dense initial weights had them
            (zeros: drawn).
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "erk",
        l1: float = 1e-5,
        temperature: float = 2.5e-11,
        growth: str = "random",
        birth: float = 1e-12,
        rescale: bool = True,
    ) -> None:
        for option, value in (("l1", l1), ("temperature", temperature), ("birth", birth)):
            check_number(option, value)
        if growth not in ("random", "gradient"):
            raise ValueError(f"Invalid growth: {growth!r}. Valid values are random, gradient.")
        self.positive = {n: w.detach() > 0 for n, w in course.weights.items()}
        zero = [w.detach() == 0 for w in course.weights.values()]
        super().__init__(course, density, allocation, rescale)
        generator = self.generator(2)
        for positive, empty in zip(self.positive.values(), zero, strict=True):
            coins = torch.rand(empty.shape, generator=generator).to(empty.device)
            positive |= empty & (coins < 0.5)
        self.l1, self.temperature, self.growth, self.birth = l1, temperature, growth, birth
        self.scores: list[Tensor] = []  # of this step's births

    @torch.no_grad()
    def after_backward(self) -> None:
        """Remember where a weight would help, then mask the gradients."""
        if self.growth == "gradient":
            pairs = zip(self.weights, self.positive.values(), strict=True)
            self.scores = [
                torch.zeros_like(w) if w.grad is None else torch.where(plus, -w.grad, w.grad)
                for w, plus in pairs
            ]
        super().after_backward()

    @torch.no_grad()
    def after_step(self) -> None:
        """Shrink, shake, drop and grow."""
        generator, rates = self.generator(), learning_rates(self.optimizer)
        for i, (name, mask) in enumerate(self.masks.items()):
            weight, count = self.weights[i], int(mask.sum())
            rate, sign = rates.get(weight, 0.0), self.positive[name].to(weight) * 2 - 1
            weight.sub_(sign, alpha=rate * self.l1)
            if self.temperature:
                noise = torch.randn(weight.shape, generator=generator).to(weight)
                weight.add_(noise, alpha=(2 * rate * self.temperature) ** 0.5)
            mask &= sign * weight >= 0
            weight.mul_(mask)
            for moment in moments(self.optimizer, weight):
                moment.mul_(mask)  # also of what comes back at once
            if self.growth == "gradient":
                scores = self.scores[i]
            else:
                scores = torch.rand(weight.shape, generator=generator).to(weight.device)
            grown = keep_largest(torch.where(mask, -torch.inf, scores), count - int(mask.sum()))
            mask |= grown
            weight.add_(grown * sign, alpha=self.birth)
        super().after_step()

    def state_dict(self) -> dict[str, Any]:
        """The masks and the signs."""
        return {**super().state_dict(), "positive": dict(self.positive)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        super().load_state_dict(state)
        for name, positive in self.positive.items():
            positive.copy_(state["positive"][name])
