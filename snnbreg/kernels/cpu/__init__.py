"""The CPU engine, compiled by numba: ``engine`` is its entry.

``autograd`` calls the loops over time (``lif``, ``axonal``, ``synaptic``); ``feedforward`` calls
that of feed-forward delays (``filter``), ``event_linear`` those of synapses without (``events``).
They are written with vectors (``lanes``), matrix blocks (``blocks``) and sums that skip zeros
(``sparse``), and read tables of the kernels (``tables``) and packed weights (``matrices``);
large tensors use ``memory`` again. Batch norms add up rows by ``columns``.
"""

from .columns import column_sums
from .engine import continued_lif, continued_recurrence, delayed_recurrence, lif, supports
from .event_linear import linear
from .feedforward import delayed_linear

__all__ = [
    "column_sums",
    "continued_lif",
    "continued_recurrence",
    "delayed_linear",
    "delayed_recurrence",
    "lif",
    "linear",
    "supports",
]
