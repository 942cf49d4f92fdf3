"""Matrices as the compiled loops read them: dense panels or lists of their non-zero entries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .lanes import LANES
from .sparse import Matrix, list_entries

MOST_WEIGHTS = 0.45
"""Density of a matrix from which on its zeros are not skipped: dense panels are as fast there."""


def panels(matrix: Tensor) -> Tensor:
    """A matrix (N, M) as panels of LANES rows, (R / LANES, M, LANES), padded with zeros."""
    rows, columns = matrix.shape
    matrix = torch.nn.functional.pad(matrix, (0, 0, 0, -rows % LANES))
    return matrix.reshape(len(matrix) // LANES, LANES, columns).transpose(1, 2).contiguous()


def pack(matrix: Tensor) -> Matrix:
    """A matrix (N, M) in the faster form, which its density decides; both give the same bits.

    It is packed in every call, as any step of training may change which entries are zero.
    """
    dense = matrix.detach().contiguous()
    array = dense.numpy()
    most = int(MOST_WEIGHTS * array.size)
    start = np.empty(len(array) + 1, np.int64)
    column, value = np.empty(most, np.int32), np.empty(most, array.dtype)
    if list_entries(array, (0, len(array)), start, column, value):
        return Matrix(np.empty((0, 0, LANES), array.dtype), start, column, value)
    return Matrix(panels(dense).numpy(), start[:0], column[:0], value[:0])
