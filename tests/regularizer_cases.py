"""All regularisers for the shared tests: small parameters, and their groups listed by hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnbreg.optim import register_groups
from snnbreg.optim.functionals import Regularizer
from snnbreg.optim.regularizers import get_regularizer

LABELS = torch.tensor([[5, -1, 5], [0, 0, -1]])
register_groups("by_hand", LABELS)
register_groups("diagonals", lambda shape: torch.arange(shape[0])[:, None] - torch.arange(shape[1]))


class Case(NamedTuple):
    """A regulariser of six numbers.

    Attributes:
        name: what optimizers call it.
        shapes: of the parameters, one unless it couples several.
        groups: positions of the six numbers, laid end to end, that belong together.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...] = ()

    def functional(self) -> Regularizer:
        """The regulariser, of the six numbers laid end to end where it couples parameters."""
        found = get_regularizer(self.name, *self.shapes)
        return found if found.joint is None else found.joint(self.shapes)

    def shaped(self, numbers: Tensor) -> Tensor:
        """Six numbers as the functional takes them."""
        return numbers if len(self.shapes) > 1 else numbers.reshape(self.shapes[0])

    def oracle(self, points: Tensor) -> Tensor:
        """J of many points (n, 6), from its definition."""
        total = points.new_zeros(len(points))
        if self.name.startswith("l1"):
            total += points.abs().sum(1)
        if self.name == "l1_nonneg":
            total[(points < 0).any(1)] = math.inf
        if self.name == "nuclear":
            total += torch.linalg.svdvals(points.view(-1, *self.shapes[0])).sum(1)
        for group in self.groups:
            total += math.sqrt(len(group)) * points[:, list(group)].square().sum(1).sqrt()
        return total


ROWS, COLUMNS = ((0, 1, 2), (3, 4, 5)), ((0, 3), (1, 4), (2, 5))
GROUPS = [
    Case("group_rows", ((2, 3),), ROWS),
    Case("group_columns", ((2, 3),), COLUMNS),
    Case("group_kernels", ((1, 2, 1, 3),), ROWS),
    Case("group_blocks:2x2", ((3, 2),), ((0, 1, 2, 3), (4, 5))),
    Case("group_blocks:1x2x1", ((1, 2, 3),), COLUMNS),
    Case("group_labels:by_hand", ((2, 3),), ((0, 2), (1, 5), (3, 4))),
    Case("group_labels:diagonals", ((2, 3),), ((0, 4), (1, 5), (2,), (3,))),
    Case("group_neurons:in+out", ((2, 1), (2, 2)), ((0, 2, 4), (1, 3, 5))),
    Case("group_neurons:in+in+out", ((2,), (2, 1), (1, 2)), ((0, 2, 4), (1, 3, 5))),
]
CASES = [
    Case("none", ((6,),)),
    Case("l1", ((2, 3),)),
    Case("l1_nonneg", ((2, 3),)),
    Case("nuclear", ((2, 3),)),
    *GROUPS,
    *(case._replace(name=f"l1+{case.name}") for case in GROUPS),
]
NAMES = [case.name for case in CASES]

# Larger parameters of the same kinds, for optimizers.
register_groups("large", lambda shape: torch.arange(math.prod(shape)).view(*shape) % 7)
LARGE: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((12, 15),),
    "l1": ((12, 15),),
    "l1_nonneg": ((12, 15),),
    "nuclear": ((12, 15),),
    "group_rows": ((12, 15),),
    "group_columns": ((12, 15),),
    "group_kernels": ((4, 5, 3, 3),),
    "group_blocks:5x4": ((12, 15),),
    "group_labels:large": ((12, 15),),
    "group_neurons:in+out": ((8, 15), (12, 8)),
    "l1+group_rows": ((12, 15),),
    "l1+group_kernels": ((4, 5, 3, 3),),
    "l1+group_neurons:in+in+out": ((8,), (8, 15), (12, 8)),
}
