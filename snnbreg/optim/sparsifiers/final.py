"""Final steps: training on the support that was found, and pruning to an exact density."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from snnbreg.optim.ranking import Budget
from snnbreg.optim.regularizers import get_regularizer
from snnbreg.optim.sparsifiers.base import Course, Sparsifier, moments, resync


class Debias(Sparsifier):
    """Training on the found support with the shrinkage gone, for the rest of the run.

    A regulariser finds the support and makes the weights on it smaller than the loss alone would.
    From ``begin`` on the support is fixed, the regulariser is none and lambda 0: the Bregman
    optimizers are then SGD or Adam on the support. What was zero stays zero.

    Args:
        course: the training; any optimizer.
        density: None keeps the support as it is; a number keeps exactly so many of the largest
            weights. Where there are fewer non-zero ones, those zeros join them that are next: by
            the dual variable of a Bregman optimizer, by the gradient of others.
        allocation: ``global``, ``layer`` or ``erk``; with a density.
        begin: share of the run, above 0.

    Raises:
        ValueError: a value out of range, or a regulariser that constrains the weights (l1_nonneg)
            and so cannot be left out.
    """

    bregman = True

    def __init__(
        self,
        course: Course,
        density: float | None = None,
        allocation: str = "global",
        begin: float = 0.75,
    ) -> None:
        super().__init__(course, 1.0 if density is None else density, allocation)
        self.exact = density is not None
        self.begin = course.step_at("begin", begin)
        if self.begin < 1:
            raise ValueError(
                f"Invalid begin: {begin!r}. There is no support before the first step."
            )
        for group in self.optimizer.param_groups:
            if get_regularizer(group.get("regularizer", "none")).constrains:
                raise ValueError(f"debias cannot leave out {group['regularizer']}: it constrains.")

    def after_step(self) -> None:
        """Fix the support when it is time to."""
        super().after_step()
        if self.step == self.begin:
            held = {id(weight) for weight in self.weights}
            self.set_masks(self.support())
            for group in self.optimizer.param_groups:
                if "regularizer" in group and any(id(p) in held for p in group["params"]):
                    group.update(regularizer="none", lam=0.0)
            resync(self.optimizer, self.weights)

    @torch.no_grad()
    def support(self) -> list[Tensor]:
        """The masks that are kept."""
        if not self.exact:
            return [weight != 0 for weight in self.weights]
        scores = [_ranked(weight, self._promise(weight)) for weight in self.weights]
        return self.budget.select(scores, self.budget.final)

    def _promise(self, weight: Tensor) -> Tensor:
        """How near to becoming non-zero a zero weight is."""
        if hasattr(self.optimizer, "dual"):
            dual: Tensor = self.optimizer.dual(weight)
            return dual.to(weight.dtype).abs()
        return torch.zeros_like(weight) if weight.grad is None else weight.grad.abs()


def _ranked(weight: Tensor, promise: Tensor) -> Tensor:
    """Numbers that rank non-zero weights by magnitude, and below them zeros by their promise."""
    return torch.where(weight != 0, weight.detach().abs(), -1 / promise)


@torch.no_grad()
def prune_and_keep(
    weights: Mapping[str, Tensor],
    density: float,
    optimizer: Optimizer | None = None,
    allocation: str = "global",
) -> dict[str, Tensor]:
    """Set all but the largest weights to zero, once, so that they stay there at the next step.

    The optimizer forgets its moments of them, and a Bregman optimizer their dual variable: from
    there they can come back only as far as new gradients carry them. What was zero before keeps
    its dual variable.

    Args:
        weights: by name; changed in place.
        density: kept weights / all of them, exactly to the nearest number; in (0, 1].
        optimizer: what moves them, if training goes on.
        allocation: ``global`` (one ranking), ``layer`` (each matrix the same share) or ``erk``.

    Returns:
        The masks of what was kept, bool, by name.

    Example:
        >>> weight = torch.tensor([[3.0, -1.0], [0.5, 2.0]])
        >>> prune_and_keep({"weight": weight}, 0.5)["weight"].tolist()
        [[True, False], [False, True]]
    """
    budget = Budget([w.shape for w in weights.values()], density, allocation)
    masks = budget.select([w.detach().abs() for w in weights.values()], budget.final)
    for weight, mask in zip(weights.values(), masks, strict=True):
        weight.mul_(mask)
    if optimizer is not None:
        resync(optimizer, weights.values())
        for weight, mask in zip(weights.values(), masks, strict=True):
            for moment in moments(optimizer, weight):
                moment.mul_(mask)
    return dict(zip(weights, masks, strict=True))
