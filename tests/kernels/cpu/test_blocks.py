import numpy as np
import pytest

from snnbreg.kernels.cpu import blocks
from snnbreg.kernels.cpu.compile import compiled
from snnbreg.kernels.cpu.lanes import LANES, load, sum_lanes


@compiled
def multiply(left, right, block, accumulate):
    blocks.product(left, 0, right, 0, block, 0, left.shape[0], accumulate)


@compiled
def sum_of_lanes(values):
    return sum_lanes(load(values, 0) * 2 + load(values, LANES))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 37])
def test_product(dtype, length):
    random = np.random.default_rng(0)
    left, right = random.normal(size=(2, length, LANES)).astype(dtype)
    block = np.full((LANES, LANES), 7, dtype)
    tolerance = 100 * np.finfo(dtype).eps
    multiply(left, right, block, False)
    np.testing.assert_allclose(block, left.T @ right, rtol=0, atol=tolerance)
    multiply(left, right, block, True)
    np.testing.assert_allclose(block, 2 * (left.T @ right), rtol=0, atol=tolerance)


@pytest.mark.parametrize("batch", [3, LANES, 2 * LANES + 5])
@pytest.mark.parametrize("neurons", [2, LANES, 3 * LANES + 1])
def test_tiles_come_and_go(batch, neurons):
    source = np.random.default_rng(0).normal(size=(3, batch, neurons))
    target = np.zeros_like(source)
    for first in range(0, batch, LANES):
        lanes = min(LANES, batch - first)
        tile = np.full((-(-neurons // LANES) * LANES, LANES), np.nan)
        blocks.load_tile(source, 1, first, tile)
        assert np.array_equal(tile[:neurons, :lanes], source[1, first : first + lanes].T)
        assert not tile[:neurons, lanes:].any()
        blocks.store_tile(tile, target, 1, first)
    assert np.array_equal(target[1], source[1])
    assert not target[0].any()
    assert not target[2].any()


def test_lanes_are_summed():
    values = np.arange(2.0 * LANES)
    assert sum_of_lanes(values) == 2 * values[:LANES].sum() + values[LANES:].sum()
