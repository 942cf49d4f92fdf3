"""The CPU engine, compiled by numba: ``engine`` is its entry.

``autograd`` calls the loops over time (``lif``, ``axonal``, ``synaptic``); ``feedforward`` calls
that of feed-forward delays (``filter``). They are written with
vectors (``lanes``) and matrix blocks (``blocks``), and read tables of the kernels (``tables``).
"""

from .engine import continued_lif, continued_recurrence, delayed_recurrence, lif, supports
from .feedforward import delayed_linear

__all__ = [
    "continued_lif",
    "continued_recurrence",
    "delayed_linear",
    "delayed_recurrence",
    "lif",
    "supports",
]
