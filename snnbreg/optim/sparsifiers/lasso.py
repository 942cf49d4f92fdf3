"""Lasso and group Lasso: a regulariser by its subgradient, and a threshold in the end."""

from __future__ import annotations

import torch
from torch import Tensor

from snnbreg.optim.base import check_number
from snnbreg.optim.regularizers import get_regularizer
from snnbreg.optim.regularizers import subgradient as subgradient_of
from snnbreg.optim.sparsifiers.base import Course, Sparsifier, learning_rates


class Lasso(Sparsifier):
    r"""Adds a regulariser to the loss by its subgradient, and thresholds the weights once.

    Such weights come near zero but never stay there: at ``end`` all but the largest are set to
    zero for good, and what remains of the run is training without the regulariser.

    Args:
        course: the training.
        density: kept weights / all weights, from ``end`` on.
        allocation: ``global`` (one ranking of all weights), ``layer`` or ``erk``.
        lam: strength of the regulariser.
        regularizer: a name from ``REGULARIZERS``; l1 for matrices of a shape it is not defined
            for. Groups are ranked as wholes, by their norm; the last one may be kept in part.
        decoupled: :math:`w \leftarrow w - \eta \lambda p` after the step; otherwise
            :math:`\lambda p` is part of the gradient, which Adam normalises.
        end: share of the run at the threshold; 1 for none of it afterwards.
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "global",
        lam: float = 1e-4,
        regularizer: str = "l1",
        decoupled: bool = True,
        end: float = 0.9,
    ) -> None:
        super().__init__(course, density, allocation)
        check_number("lam", lam)
        if get_regularizer(regularizer).joint is not None:
            raise ValueError(
                f"Invalid regularizer: lasso takes one of single tensors, not {regularizer!r}."
            )
        self.lam, self.decoupled, self.end = lam, decoupled, course.step_at("end", end)
        self.names = [_fitting(regularizer, weight) for weight in self.weights]

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add the subgradient where it is part of the gradient."""
        if not self.decoupled and self.step < self.end:
            for weight, p in zip(self.weights, self.subgradients(), strict=True):
                if weight.grad is not None:
                    weight.grad.add_(p, alpha=self.lam)
        super().after_backward()

    @torch.no_grad()
    def after_step(self) -> None:
        """Shrink where it is not, and prune when it is time to."""
        if self.decoupled and self.step < self.end:
            rates = learning_rates(self.optimizer)
            for weight, p in zip(self.weights, self.subgradients(), strict=True):
                weight.sub_(p, alpha=rates.get(weight, 0.0) * self.lam)
        super().after_step()
        if self.step == self.end:
            self.prune(self.budget.final)

    def magnitudes(self) -> list[Tensor]:
        """|w|, or the norm of its group / sqrt(n): w / p, p the subgradient; 0 for zeros."""
        pairs = zip(self.weights, self.subgradients(), strict=True)
        return [torch.where(p == 0, 0.0, (weight.detach() / p).abs()) for weight, p in pairs]

    def subgradients(self) -> list[Tensor]:
        """An element p of dJ(w) for every matrix."""
        pairs = zip(self.names, self.weights, strict=True)
        return [subgradient_of(name, weight.detach()) for name, weight in pairs]


def _fitting(name: str, weight: Tensor) -> str:
    """The regulariser's name, or l1 where it is not defined for the shape."""
    return "l1" if get_regularizer(name).requires(weight.shape) else name
