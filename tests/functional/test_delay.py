import pytest
import torch

from snnbreg.functional import delay_kernel, half_width, kernel_length


def test_kernel_equals_the_formula_entry_by_entry():
    delay = torch.tensor([[0.0, 2.5], [7.3, -1.2]], dtype=torch.float64)
    width = torch.tensor([1.0, 3.7], dtype=torch.float64)  # per sender = last axis
    kernel = delay_kernel(delay, width, 14)
    for k in range(1, 15):
        for i in range(2):
            for j in range(2):
                s, d = width[j].item(), delay[i, j].item()
                expected = max(0.0, s - abs(k - (1 + d))) / s**2
                assert kernel[k - 1, i, j].item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("delay", "gain"), [(0, 0.545), (3, 0.77), (10, 1.0), (11, 1.0), (25, 1.0)]
)
def test_gain_of_a_wide_kernel_is_cut_near_zero(delay, gain):
    kernel = delay_kernel(torch.tensor([float(delay)]), half_width(10.0), 60)
    assert kernel.sum().item() == pytest.approx(gain, abs=5e-3 if gain < 1 else 1e-6)


@pytest.mark.parametrize("sigma", [0.0613, 1 / 3, 0.9])
def test_gain_of_a_narrow_kernel_exceeds_one(sigma):
    s = 1 + sigma
    kernel = delay_kernel(torch.tensor([5.0], dtype=torch.float64), half_width(sigma), 20)
    assert kernel.sum().item() == pytest.approx((3 * s - 2) / s**2)


@pytest.mark.parametrize("where", [{"dtype": torch.bfloat16}, {"device": "meta"}], ids=str)
def test_the_kernel_has_the_type_and_the_place_of_the_delays(where):
    delay = torch.zeros(2, **where)
    kernel = delay_kernel(delay, torch.ones((), **where), 3)
    assert kernel.shape == (3, 2)
    assert (kernel.dtype, kernel.device) == (delay.dtype, delay.device)


def test_without_sigma_an_integer_delay_is_one_tap():
    delay = torch.tensor([0.0, 3.0, 9.0])
    kernel = delay_kernel(delay, half_width(0.0), 12)
    expected = torch.zeros(12, 3)
    expected[[0, 3, 9], [0, 1, 2]] = 1.0
    assert torch.equal(kernel, expected)


def test_gradients_of_the_kernel():
    delay = torch.tensor([0.3, 4.6, -0.7], dtype=torch.float64, requires_grad=True)
    width = torch.tensor([1.2, 3.1, 2.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d, s: delay_kernel(d, s, 9), (delay, width))


def test_half_width_starts_at_one_plus_sigma_and_follows_the_spread():
    assert half_width(10.0).item() == 11.0
    assert half_width(10.0, torch.zeros(2)).tolist() == [11.0, 11.0]
    spread = torch.tensor([-50.0, 50.0, 1.0])
    expected = [1.0, 9.0, 1 + 8 / (1 + 2.718281828**-1)]
    torch.testing.assert_close(half_width(4.0, spread), torch.tensor(expected))


def test_kernel_length_leaves_nothing_out_and_stops_there():
    torch.manual_seed(0)
    for _ in range(200):
        delay = torch.randn(1, dtype=torch.float64) * 15
        width = 1 + 12 * torch.rand((), dtype=torch.float64)
        length = kernel_length(delay, width, steps=1000)
        kernel = delay_kernel(delay, width, length + 40)
        assert not kernel[length:].any()
        if delay + width > 1:
            assert kernel[length - 1] > 0
        else:  # one age at least, though all of it may be zero
            assert length == 1


@pytest.mark.parametrize(("steps", "length"), [(1, 0), (2, 1), (10, 9), (40, 33)])
def test_kernel_length_ends_with_the_recording(steps, length):
    assert kernel_length(torch.tensor([30.0]), torch.tensor(2.5), steps) == length
