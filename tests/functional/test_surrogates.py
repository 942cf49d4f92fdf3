import math

import pytest
import snntorch.surrogate
import torch

from snnbreg.functional import SURROGATES, spike, surrogate_slope
from snnbreg.functional.surrogates import atan_slope


def grad_of(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
def test_fires_at_the_threshold_and_above_in_the_input_type(surrogate, dtype):
    x = torch.tensor([-1.0, -1e-7, -0.0, 0.0, 1e-7, 3.0], dtype=dtype)
    spikes = spike(x, surrogate)
    assert spikes.dtype == dtype
    assert spikes.tolist() == [0, 0, 1, 1, 1, 1]


def test_slopes_are_the_derivatives_of_their_primitives():
    x = torch.linspace(-1.7, 1.7, 41, dtype=torch.float64)

    def smooth_step(x):  # integral of the triangle from -1
        return torch.where(x.abs() < 1, x - x * x.abs() / 2 + 0.5, (x > 0).to(x))

    def arcus(x):
        return torch.atan(math.pi / 2 * 3.0 * x) / math.pi

    torch.testing.assert_close(grad_of(lambda x: spike(x, "triangle"), x), grad_of(smooth_step, x))
    torch.testing.assert_close(grad_of(lambda x: spike(x, "atan", 3.0), x), grad_of(arcus, x))


def test_atan_slope_equals_snntorch():
    x = torch.linspace(-2, 2, 33)
    torch.testing.assert_close(atan_slope(x, 5.0), grad_of(snntorch.surrogate.atan(5.0), x))


def test_the_steepness_of_atan_is_5_unless_given():
    x = torch.tensor([0.0])  # the peak is half the steepness
    assert atan_slope(x).item() == 2.5
    assert surrogate_slope(x, "atan").item() == 2.5
    assert grad_of(lambda x: spike(x, "atan"), x).item() == 2.5
    assert surrogate_slope(x, "atan", 3.0).item() == 1.5


def test_a_function_brings_its_own_rule_and_slope():
    x = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    sigmoid = snntorch.surrogate.fast_sigmoid(slope=4)
    spikes = spike(x, sigmoid)
    assert spikes.dtype == torch.float64
    assert spikes.tolist() == [0, 0, 1]  # snntorch fires above the threshold only
    expected = 1 / (4 * x.abs() + 1) ** 2
    torch.testing.assert_close(grad_of(lambda x: spike(x, sigmoid), x), expected)
    with torch.no_grad():
        torch.testing.assert_close(surrogate_slope(x, sigmoid), expected)


@pytest.mark.parametrize("function", [spike, surrogate_slope])
def test_unknown_names_are_refused_with_the_valid_ones(function):
    with pytest.raises(ValueError, match=r"'sigmoid' is unknown: choose one of .*atan.*triangle"):
        function(torch.zeros(1), "sigmoid")
