"""Sums over the rows of matrices, in double precision."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from ... import functional
from .compile import compiled
from .operators import arrays, operator
from .threads import in_threads

ROWS = 1024
"""Summed up by one thread; the parts are added in their order, however many threads there are."""


def column_sums(a: Tensor, b: Tensor) -> Tensor:
    """Sums of a and of a b over the rows: see ``functional.column_sums``.

    Computes matrices of one type, float32 or float64; ``functional`` does everything else.

    Example:
        >>> column_sums(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])).flatten()
        tensor([ 3., 13.], dtype=torch.float64)
    """
    fits = a.ndim == 2 and a.shape == b.shape and a.dtype == b.dtype
    if not fits or a.dtype not in (torch.float32, torch.float64):
        return functional.column_sums(a, b)
    found: Tensor = SUMS(a, b)
    return found


@compiled
def _sums(a: np.ndarray, b: np.ndarray, first: int, last: int, out: np.ndarray) -> None:
    """Add the rows first .. last - 1 of a to out[0], those of a b to out[1]."""
    for row in range(first, last):
        for column in range(a.shape[1]):
            value = np.float64(a[row, column])
            out[0, column] += value
            out[1, column] += value * np.float64(b[row, column])


def _run(a: Tensor, b: Tensor) -> Tensor:
    """The sums, (2, N)."""
    first, second = arrays(a, b)

    def run(start: int, stop: int) -> list[np.ndarray]:
        parts = np.zeros((stop - start, 2, a.shape[1]))
        for part in range(start, stop):
            last = min((part + 1) * ROWS, len(first))
            _sums(first, second, part * ROWS, last, parts[part - start])
        return list(parts)

    parts = [part for found in in_threads(run, -(-len(first) // ROWS)) for part in found]
    return torch.from_numpy(reduce(np.add, parts, np.zeros((2, a.shape[1]))))


def _fake(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty((2, a.shape[1]), dtype=torch.float64)


SUMS = operator("column_sums(Tensor a, Tensor b) -> Tensor", _run, _fake)
