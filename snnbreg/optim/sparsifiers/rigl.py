"""RigL: the rigged lottery.

Paper: Rigging the Lottery: Making All Tickets Winners (Evci et al. 2020),
https://arxiv.org/abs/1911.11134
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snnbreg.optim.ranking import keep_largest
from snnbreg.optim.sparsifiers.base import Course, check_share, check_steps
from snnbreg.optim.sparsifiers.rewiring import Rewiring


class RigL(Rewiring):
    r"""Moves weights from where they are small to where the gradient is large.

    Every so many steps until ``end``, in place of an optimizer step, the share
    :math:`f_t = \alpha / 2 \, (1 + \cos(\pi t / T))` of each matrix's weights is dropped, the
    smallest ones, and as many are grown where the dense gradient is largest among all that was not
    kept. New weights start at zero; one that has not moved when the next change would come gives
    way to one that was dropped.

    Args:
        course: the training.
        density: kept weights / all weights.
        allocation: ``erk`` (published) or ``layer``.
        fraction: alpha, the share that is moved at first, in (0, 1).
        every: steps between changes.
        end: share of the run at T.
        second_moment: of Adam for a new weight: ``zero`` (published: its first steps are then
            three to four learning rates long, the bias correction being over), or ``gradient``,
            its squared gradient.
        regrow_dropped: whether what is dropped may return at once, and so stay as it was.
        rescale: see :class:`~snnbreg.optim.sparsifiers.base.RandomStart`.
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "erk",
        fraction: float = 0.3,
        every: int = 100,
        end: float = 0.75,
        second_moment: str = "zero",
        regrow_dropped: bool = True,
        rescale: bool = True,
    ) -> None:
        super().__init__(course, density, allocation, rescale)
        check_share("fraction", fraction)
        check_steps("every", every)
        if second_moment not in ("zero", "gradient"):
            raise ValueError(
                f"Invalid second_moment: {second_moment!r}. Valid values are zero, gradient."
            )
        self.alpha, self.every, self.end = fraction, every, course.step_at("end", end)
        self.second_moment, self.regrow_dropped = second_moment, regrow_dropped

    def fraction(self) -> float:
        """The share of the weights that is moved at this step."""
        if self.step >= self.end:
            return 0.0
        return self.alpha / 2 * (1 + math.cos(math.pi * self.step / self.end))

    def after_backward(self) -> None:
        """Move weights in place of a step, or mask the gradients for one."""
        if not self._due():
            self.mask_gradients()
            return
        self.move(
            [self._moved(*pair) for pair in zip(self.weights, self.masks.values(), strict=True)]
        )
        for optimizer in self.course.optimizers.values():
            optimizer.zero_grad()  # nothing is left to step with

    def after_step(self) -> None:
        """See what the new weights became, where others could come or the run ends."""
        super().after_step()
        last = self.step == self.course.epochs * self.course.steps_per_epoch
        if last or self.step % self.every == 0:
            self.settle()

    def _due(self) -> bool:
        """Whether weights are to be moved, and have somewhere to go."""
        due = self.step > 0 and self.step % self.every == 0 and self.fraction() > 0
        return due and not all(bool(mask.all()) for mask in self.masks.values())

    @torch.no_grad()
    def _moved(self, weight: Tensor, mask: Tensor) -> Tensor:
        if weight.grad is None:
            return mask
        active = int(mask.sum())
        count = min(active, max(1, int(self.fraction() * active)))
        new = moved(weight, mask, weight.grad, count, self.regrow_dropped)
        second = self.optimizer.state.get(weight, {}).get("exp_avg_sq")
        if self.second_moment == "gradient" and second is not None:
            second.copy_(torch.where(new & ~mask, weight.grad.square(), second))
        return new


def moved(
    weight: Tensor, mask: Tensor, gradient: Tensor, count: int, regrow_dropped: bool = True
) -> Tensor:
    """The mask after ``count`` of its weights have moved.

    Args:
        weight: zero where masked.
        mask: bool, of the same shape.
        gradient: of all entries, masked or not.
        count: how many smallest weights are dropped and how many largest gradients grown; fewer
            where there are no places left.
        regrow_dropped: whether the dropped ones are among the places.

    Example:
        >>> weight = torch.tensor([0.5, -0.1, 0.0, 0.0])
        >>> moved(weight, weight != 0, torch.tensor([0.0, 0.1, 0.3, -0.4]), 1)
        tensor([ True, False, False,  True])
    """
    if not regrow_dropped:
        count = min(count, int((~mask).sum()))
    active = int(mask.sum())
    kept = keep_largest(torch.where(mask, weight.abs(), -1.0), active - count)
    taken = kept if regrow_dropped else mask
    return kept | keep_largest(torch.where(taken, -1.0, gradient.abs()), count)
