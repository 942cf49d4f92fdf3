"""The GPU engine, compiled by Triton: ``engine`` is its entry.

``autograd`` launches the kernels (``lif``, ``axonal``), which share the ``equations``.
"""

from ...functional import column_sums, continued_lif, continued_recurrence, delayed_linear, linear
from .engine import INTERPRETED, delayed_recurrence, lif, supports

__all__ = [
    "INTERPRETED",
    "column_sums",
    "continued_lif",
    "continued_recurrence",
    "delayed_linear",
    "delayed_recurrence",
    "lif",
    "linear",
    "supports",
]
