"""The gradient of the recurrent weights: sums of dR z' over steps and samples.

CHUNK vectors of samples are taken at once, and the zeros of z are skipped where there are enough of
them. Legend: N neurons, R rows = N rounded up to LANES.
"""

from __future__ import annotations

import numpy as np

from .blocks import product, transpose
from .compile import compiled
from .lanes import LANES, count_bits, load_as, lowest_bit, nonzero_lanes, sum_lanes
from .sparse import VECTORS, WIDTH, nonzero_bits, sum_rows, sum_rows_of_one

CHUNK = 16
"""Vectors of samples whose outer products are added to the gradient of W at once."""


@compiled
def add_to_gradients(
    stored: int,
    most_delayed: float,
    grad_r: np.ndarray,
    delayed: np.ndarray,
    sums: np.ndarray,
    grad_weight: np.ndarray,
    grad_kernel: np.ndarray,
) -> None:
    """Add the stored steps to the gradients of W, d and s."""
    if grad_weight.size:
        count = 0
        _, rows, _ = delayed.shape
        for at in range(0, stored * rows * LANES, LANES):
            count += count_bits(nonzero_lanes(delayed, at))
        if count < most_delayed * stored * rows * LANES:
            _add_to_weight_sparse(stored, count, grad_r, delayed, grad_weight)
        else:
            _add_to_weight(stored, grad_r, delayed, grad_weight)
    if grad_kernel.size:
        for which in range(2):
            for j in range(grad_kernel.shape[1]):
                at = (which * grad_kernel.shape[1] + j) * LANES
                grad_kernel[which, j] += sum_lanes(load_as(sums, at, 0.0))
        sums[:] = 0


@compiled
def _add_to_weight(
    stored: int, grad_r: np.ndarray, delayed: np.ndarray, grad_weight: np.ndarray
) -> None:
    """Add the sum of dR z' over the stored steps and tiles to the gradient of W."""
    blocks, length, _ = grad_r.shape
    rows = blocks * LANES
    panel = np.empty((CHUNK, LANES, LANES), delayed.dtype)
    for j in range(blocks):
        for k in range(stored):
            transpose(
                delayed, (k * rows + j * LANES) * LANES, LANES, panel, k * LANES * LANES, LANES
            )
        for i in range(blocks):
            product(
                panel, 0, grad_r, i * length * LANES,
                grad_weight, (i * rows + j * LANES) * LANES, stored * LANES, True,
            )  # fmt: skip


@compiled
def _add_to_weight_sparse(
    stored: int, count: int, grad_r: np.ndarray, delayed: np.ndarray, grad_weight: np.ndarray
) -> None:
    """The same bits, where ``count`` entries of z are not zero."""
    blocks, length, _ = grad_r.shape
    rows = blocks * LANES
    end = np.empty(rows, np.int64)
    row, value = np.empty(count, np.int32), np.empty(count, delayed.dtype)
    found = 0
    for j in range(rows):
        for k in range(0, stored, VECTORS):
            vectors = min(VECTORS, stored - k)
            bits = nonzero_bits(delayed, (k * rows + j) * LANES, rows * LANES, vectors)
            while bits:
                r = k * LANES + lowest_bit(bits)
                row[found], value[found] = r, delayed[r // LANES, j, r % LANES]
                found += 1
                bits &= bits - 1
        end[j] = found
    for i in range(0, blocks, WIDTH):
        begin = 0
        for j in range(rows):
            if i + WIDTH <= blocks:
                sum_rows(
                    value, row, begin, end[j], grad_r, i * length * LANES, length * LANES,
                    grad_weight, (i * rows + j) * LANES, rows * LANES, True,
                )  # fmt: skip
            else:
                sum_rows_of_one(
                    value, row, begin, end[j], grad_r, i * length * LANES, 0,
                    grad_weight, (i * rows + j) * LANES, 0, True,
                )  # fmt: skip
            begin = end[j]
