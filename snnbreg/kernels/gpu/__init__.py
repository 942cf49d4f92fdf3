"""The GPU engine, compiled by Triton: ``engine`` is its entry.

``autograd`` launches the kernels (``lif``, ``axonal``), which share the ``equations``.
"""

from ...functional import continued_lif, continued_recurrence, delayed_linear, linear
from .engine import INTERPRETED, delayed_recurrence, lif, supports

__all__ = [
    "INTERPRETED",
    "continued_lif",
    "continued_recurrence",
    "delayed_linear",
    "delayed_recurrence",
    "lif",
    "linear",
    "supports",
]
