import numpy as np
import pytest
import torch

from snnbreg.kernels.cpu import sparse
from snnbreg.kernels.cpu.compile import compiled
from snnbreg.kernels.cpu.lanes import LANES, count_bits, lowest_bit, nonzero_lanes
from snnbreg.kernels.cpu.matrices import MOST_WEIGHTS, pack
from snnbreg.kernels.cpu.sparse import WIDTH

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@compiled
def bits_of(values):
    bits = nonzero_lanes(values, 1)
    return bits, count_bits(bits), lowest_bit(bits)


@compiled
def add_rows(value, index, first, last, table, out, accumulate):
    sparse.sum_rows(
        value, index, first, last, table, 0, table[0].size, out, 0, out[0].size, accumulate
    )
    sparse.sum_rows_of_one(
        value, index, first, last, table, 0, 0, out, 2 * out[0].size, 0, accumulate
    )


@DTYPES
def test_the_bits_are_the_lanes_that_are_not_zero(dtype):
    values = np.zeros(LANES + 1, dtype)
    values[[0, 4, 9, 16]] = 5, -0.5, np.nan, 1e-38  # the first one lies before the vector
    assert bits_of(values) == (1 << 3 | 1 << 8 | 1 << 15, 3, 3)
    values[9] = -0.0
    assert bits_of(values)[1] == 2


@DTYPES
@pytest.mark.parametrize("accumulate", [False, True])
def test_rows_of_panels_are_summed_as_listed(dtype, accumulate):
    random = np.random.default_rng(0)
    table = random.normal(size=(WIDTH, 9, LANES)).astype(dtype)
    index = np.array([3, 0, 8, 8, 2, 7], np.int32)
    value = random.normal(size=6).astype(dtype)
    for first, last in ((0, 6), (1, 4), (2, 2)):
        out = np.full((WIDTH + 1, LANES), 7, dtype)
        add_rows(value, index, first, last, table, out, accumulate)
        expected = np.full((WIDTH, LANES), 7.0 if accumulate else 0.0)
        for e in range(first, last):
            expected += np.float64(value[e]) * table[:, index[e]]
        tolerance = 50 * np.finfo(dtype).eps
        np.testing.assert_allclose(out[:WIDTH], expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(out[WIDTH], expected[0], rtol=0, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (5, 16), (17, 33)])
def test_the_entries_of_some_rows_are_listed_in_order(dtype, shape):
    random = np.random.default_rng(0)
    matrix = (random.normal(size=shape) * (random.random(shape) < 0.4)).astype(dtype)
    rows = min(1, shape[0] - 1), shape[0]
    found = [(r, c) for r in range(*rows) for c in range(shape[1]) if matrix[r, c] != 0]
    for most in (len(found), len(found) + 50):
        start = np.full(rows[1] - rows[0] + 1, -1)
        column, value = np.full(most, -1, np.int32), np.zeros(most, dtype)
        assert sparse.list_entries(matrix, rows, start, column, value)
        listed = [
            (rows[0] + r, column[e])
            for r in range(len(start) - 1)
            for e in range(start[r], start[r + 1])
        ]
        assert listed == found
        assert value[: len(found)].tolist() == [matrix[place] for place in found]


def test_entries_that_do_not_fit_are_not_listed():
    matrix = np.ones((3, 20), np.float32)
    for most in (0, 1, 40, 59):
        column, value = np.full(most + 1, -1, np.int32), np.zeros(most + 1, np.float32)
        start = np.zeros(4, np.int64)
        assert not sparse.list_entries(matrix, (0, 3), start, column[:most], value[:most])
        assert column[most] == -1  # nothing was written beyond the end


def test_only_a_matrix_with_enough_zeros_is_packed_as_a_list():
    weight = torch.ones(20, 10)
    assert pack(weight).start.size == 0
    weight.view(-1)[: int((1 - MOST_WEIGHTS) * 200)] = 0
    assert pack(weight).start.size == 21
    weight[19, 9] = 0
    weight.view(-1)[0] = 1
    assert pack(weight).start.size == 21
    weight[19, 9] = 1
    assert pack(weight).start.size == 0


@DTYPES
@pytest.mark.parametrize("tiles", [1, WIDTH])
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (19, 40), (33, 5)])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.1, 0.35, 1.0])
def test_both_forms_of_a_matrix_multiply_to_the_same_bits(dtype, tiles, shape, density):
    random = np.random.default_rng(0)
    matrix = (random.normal(size=shape) * (random.random(shape) < density)).astype(dtype)
    right = random.normal(size=(tiles, shape[1], LANES)).astype(dtype)
    rows = -(-shape[0] // LANES) * LANES
    packed = pack(torch.from_numpy(matrix))
    listed = np.count_nonzero(matrix) <= int(MOST_WEIGHTS * matrix.size)
    assert (packed.start.size > 0) == listed
    outs = []
    for form in (packed, dense_form(matrix)):
        out = np.full((tiles, rows, LANES), 7, dtype)
        sparse.multiply(form, right, 0, right[0].size, out, 0, out[0].size, tiles)
        outs.append(out[:, : shape[0]])
    assert np.array_equal(*outs)
    exact = np.einsum("ij,kjb->kib", matrix.astype(np.float64), right)
    np.testing.assert_allclose(outs[0], exact, rtol=0, atol=200 * np.finfo(dtype).eps)


def dense_form(matrix):
    """The panels of a matrix, written out."""
    rows, columns = matrix.shape
    blocks = -(-rows // LANES)
    panels = np.zeros((blocks, columns, LANES), matrix.dtype)
    for i in range(rows):
        panels[i // LANES, :, i % LANES] = matrix[i]
    none = np.empty(0, matrix.dtype)
    return sparse.Matrix(panels, np.empty(0, np.int64), np.empty(0, np.int32), none)
