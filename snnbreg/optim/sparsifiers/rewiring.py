"""What SET and RigL share: new weights that do not move are given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snnbreg.optim.ranking import keep_largest
from snnbreg.optim.sparsifiers.base import Course, RandomStart


class Rewiring(RandomStart):
    """Drops weights and grows as many elsewhere, which start at zero.

    Where no gradient arrives, as behind silent neurons, a new weight stays zero, and the network
    would have fewer weights than it may. So what was dropped waits: when the next change comes, or
    the run ends, new weights that are still zero are given up, and as many of the dropped ones,
    the largest first, are there again with the value they had. (Published codes count them as
    weights.)
    """

    def __init__(self, course: Course, density: float, allocation: str, rescale: bool) -> None:
        super().__init__(course, density, allocation, rescale)
        self.dropped: dict[str, Tensor] = {}

    @torch.no_grad()
    def move(self, masks: Sequence[Tensor]) -> None:
        """Write new masks; what they drop waits."""
        triples = zip(self.masks.items(), self.weights, masks, strict=True)
        self.dropped = {name: weight * (old & ~new) for (name, old), weight, new in triples}
        self.set_masks(masks)

    @torch.no_grad()
    def settle(self) -> None:
        """Give up new weights that did not move, for what was dropped; nothing waits then."""
        for name, dropped in self.dropped.items():
            weight, mask = self.course.weights[name], self.masks[name]
            idle = mask & (weight == 0)
            count = min(int(idle.sum()), int((dropped != 0).sum()))
            back = keep_largest(dropped.abs(), count)
            mask &= ~keep_largest(idle.to(weight.dtype), count)
            mask |= back
            weight.add_(dropped * back)
        self.dropped = {}

    def state_dict(self) -> dict[str, Any]:
        """The masks, and what waits."""
        return {**super().state_dict(), "dropped": dict(self.dropped)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class; in a state from before anything waited, nothing does."""
        super().load_state_dict(state)
        self.dropped = {
            name: value.to(self.course.weights[name].device)
            for name, value in state.get("dropped", {}).items()
        }
