"""SET: sparse evolutionary training.

Paper: Scalable training of artificial neural networks with adaptive sparse connectivity inspired
by network science (Mocanu et al. 2018), Nature Communications 9:2383
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnbreg.optim.ranking import keep_largest
from snnbreg.optim.sparsifiers.base import Course, check_share
from snnbreg.optim.sparsifiers.rewiring import Rewiring


class SET(Rewiring):
    """Drops the weights nearest to zero between epochs and grows as many at random places.

    Positive and negative weights are counted apart, and the same share of both is dropped. New
    weights are zero and stand at places that were masked before: what is dropped does not return
    at once, and a dense matrix stays as it is. Before the first epoch nothing is dropped, so that
    the last change is followed by an epoch of training; after it, a new weight that did not move
    gives way to one that was dropped. The optimizer keeps its moments of all other weights; the
    published code starts it anew every epoch.

    Args:
        course: the training.
        density: kept weights / all weights.
        allocation: ``erk`` (published) or ``layer``.
        fraction: share of the weights that is dropped, in (0, 1).
        rescale: see :class:`~snnbreg.optim.sparsifiers.base.RandomStart`.
    """

    def __init__(
        self,
        course: Course,
        density: float = 0.1,
        allocation: str = "erk",
        fraction: float = 0.3,
        rescale: bool = True,
    ) -> None:
        super().__init__(course, density, allocation, rescale)
        check_share("fraction", fraction)
        self.fraction = fraction

    def before_epoch(self, epoch: int) -> None:
        """Drop and grow."""
        if epoch == 0:
            return
        generator, masks = self.generator(), []
        for weight, mask in zip(self.weights, self.masks.values(), strict=True):
            noise = torch.rand(weight.shape, generator=generator).to(weight.device)
            masks.append(evolved(weight.detach(), mask, self.fraction, noise))
        self.move(masks)

    def after_epoch(self, epoch: int) -> None:
        """See what the new weights became."""
        self.settle()


def evolved(weight: Tensor, mask: Tensor, fraction: float, noise: Tensor) -> Tensor:
    """The mask without its smallest weights of either sign, and with as many new places.

    Args:
        weight: zero where masked.
        mask: bool, of the same shape.
        fraction: share of the weights of each sign that is dropped.
        noise: numbers without order, of the same shape; the largest are the new places.
    """
    dropped = torch.zeros_like(mask)
    for sign in (mask & (weight >= 0), mask & (weight < 0)):
        count = int(fraction * int(sign.sum()) + 1e-9)
        dropped |= keep_largest(torch.where(sign, -weight.abs(), -torch.inf), count)
    places = int((~mask).sum())
    if int(dropped.sum()) > places:
        dropped = keep_largest(torch.where(dropped, -weight.abs(), -torch.inf), places)
    grown = keep_largest(torch.where(mask, -1.0, noise), int(dropped.sum()))
    return (mask & ~dropped) | grown
