"""Optimizers of Bregman learning, regularisers, sparse initialisation and parameter groups."""

from snnbreg.optim.adabreg import AdaBreg
from snnbreg.optim.bregman import BregmanOptimizer
from snnbreg.optim.energies import bregman_distance, elastic_net, symmetric_bregman_distance
from snnbreg.optim.groups import (
    Assignment,
    assign_groups,
    describe,
    groups_for,
    parameter_groups,
)
from snnbreg.optim.linbreg import LinBreg
from snnbreg.optim.proxadam import ProxAdam
from snnbreg.optim.proxsgd import ProxSGD
from snnbreg.optim.reach import unreachable_lam
from snnbreg.optim.regularizers import REGULARIZERS, get_regularizer, register_groups
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
    "bregman_distance",
    "count_nonzero",
    "density",
    "describe",
    "elastic_net",
    "get_regularizer",
    "groups_for",
    "layer_densities",
    "parameter_groups",
    "prune_and_keep",
    "register_groups",
    "sparsify_",
    "symmetric_bregman_distance",
    "unreachable_lam",
]
