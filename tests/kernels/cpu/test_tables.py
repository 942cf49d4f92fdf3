import numpy as np
import pytest
import torch

from snnbreg.functional import delay_kernel
from snnbreg.kernels.cpu.tables import NEVER, delay_table

LENGTH = 60


def kernels(dtype=np.float64):
    """Delays and half-widths of all sorts: whole, fractional, cut, lost, single, wide."""
    delay = np.array([0, 0, 0.3, 2, 5, 5.5, 7.25, 12, 20, 0.5, -0.4, -3, -3, -9, 4, 1, 3], dtype)
    width = np.array([1, 6, 4.0, 1, 1, 1.0, 2.5, 3, 11.3, 1, 1.5, 2, 6, 3, 1.06, 2, 4], dtype)
    h = delay_kernel(torch.from_numpy(delay), torch.from_numpy(width), LENGTH).numpy()
    return delay, width, np.concatenate([np.zeros((1, len(delay)), dtype), h])  # from k = 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_spike_is_inside_from_its_entry_to_its_exit(dtype):
    random = np.random.default_rng(0)
    delay = np.abs(random.normal(0, 12, 400)).astype(dtype)
    width = (1 + random.choice([0, 0.06, 3.7, 10], 400)).astype(dtype)
    delay[::3] = delay[::3].round()
    ages, _ = delay_table(delay, width)
    h = delay_kernel(torch.from_numpy(delay), torch.from_numpy(width), 80).numpy()
    k = np.arange(1, 81)[:, None]
    assert np.array_equal(h > 0, (k >= ages[:, 0]) & (k < ages[:, 2]))


def test_the_events_of_one_spike_trace_its_kernel():
    delay, width, h = kernels()
    ages, table = delay_table(delay, width)
    for j in range(len(delay)):
        n = c = m = 0.0
        for k in range(1, LENGTH + 1):
            entered, crossed, left, _ = (float(age == k) for age in ages[j])
            m += -c + entered * table[j, 1] - 2 * crossed + left * table[j, 2]
            c += entered * table[j, 0] + 2 * crossed - left
            n += entered - left
            z = (n * table[j, 3] + c * table[j, 4] + m) * table[j, 5]
            assert z == pytest.approx(h[k, j], abs=1e-14)
        assert (n, c, m) == (0, 0, 0)


def test_a_spike_on_the_peak_is_marked_where_the_delay_is_whole():
    ages, _ = delay_table(np.array([3.0, 3.5, 0.0, -2.0]), np.array([2.0, 2.0, 5.0, 6.0]))
    assert ages[:, 3].tolist() == [4, NEVER, 1, NEVER]
