"""The CPU engine, compiled by numba: ``engine`` is its entry.

``autograd`` calls the loops over time (``lif``, ``axonal``, ``synaptic``). They are written with
vectors (``lanes``) and matrix blocks (``blocks``), and read tables of the kernels (``tables``).
"""

from .engine import delayed_recurrence, lif, supports

__all__ = ["delayed_recurrence", "lif", "supports"]
