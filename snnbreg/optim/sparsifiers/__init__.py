"""Rivals of Bregman learning and final steps: masks over the weights of any network."""

from collections.abc import Callable

from snnbreg.optim.sparsifiers.base import Course, Sparsifier
from snnbreg.optim.sparsifiers.deepr import DeepR
from snnbreg.optim.sparsifiers.final import Debias, prune_and_keep
from snnbreg.optim.sparsifiers.gmp import GMP
from snnbreg.optim.sparsifiers.lasso import Lasso
from snnbreg.optim.sparsifiers.rewind import Iterative, Magnitude
from snnbreg.optim.sparsifiers.rigl import RigL
from snnbreg.optim.sparsifiers.set import SET
from snnbreg.optim.sparsifiers.soft_threshold import STR

SPARSIFIERS: dict[str, Callable[..., Sparsifier]] = {
    "gmp": GMP,
    "magnitude": Magnitude,
    "iterative": Iterative,
    "set": SET,
    "rigl": RigL,
    "deepr": DeepR,
    "lasso": Lasso,
    "str": STR,
    "debias": Debias,
}
"""The sparsifiers by the name that configs use; constructor arguments are the keys."""

__all__ = [
    "GMP",
    "SET",
    "SPARSIFIERS",
    "STR",
    "Course",
    "Debias",
    "DeepR",
    "Iterative",
    "Lasso",
    "Magnitude",
    "RigL",
    "Sparsifier",
    "prune_and_keep",
]
