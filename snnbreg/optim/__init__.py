"""Optimizers of Bregman learning, regularisers, sparse initialisation and parameter groups."""

from snnbreg.optim.adabreg import AdaBreg
from snnbreg.optim.bregman import BregmanOptimizer
from snnbreg.optim.groups import Assignment, assign_groups, describe, groups_for
from snnbreg.optim.linbreg import LinBreg
from snnbreg.optim.proxadam import ProxAdam
from snnbreg.optim.proxsgd import ProxSGD
from snnbreg.optim.reach import unreachable_lam
from snnbreg.optim.regularizers import REGULARIZERS
from snnbreg.optim.sparse import ALLOCATIONS, count_nonzero, density, layer_densities, sparsify_
from snnbreg.optim.sparsifiers import SPARSIFIERS, Course, Sparsifier, prune_and_keep

__all__ = [
    "ALLOCATIONS",
    "REGULARIZERS",
    "SPARSIFIERS",
    "AdaBreg",
    "Assignment",
    "BregmanOptimizer",
    "Course",
    "LinBreg",
    "ProxAdam",
    "ProxSGD",
    "Sparsifier",
    "assign_groups",
    "count_nonzero",
    "density",
    "describe",
    "groups_for",
    "layer_densities",
    "prune_and_keep",
    "sparsify_",
    "unreachable_lam",
]
