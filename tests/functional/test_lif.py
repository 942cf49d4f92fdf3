import pytest
import snntorch
import torch

from snnbreg.functional import (
    LIFParameters,
    leaky_integrator,
    lif,
    lif_parameters,
    lif_step,
    spike,
    surrogate_slope,
)
from snnbreg.functional.lif import charge, reset_membrane, reset_slope


@pytest.mark.parametrize(
    ("reset", "spikes", "membranes"),
    [  # leak 1/2; H by hand: 0.75, 1.125, ...
        ("soft", [0, 1, 0, 1, 1], [0.75, 0.125, 0.8125, 0.15625, 1.078125]),
        ("hard", [0, 1, 0, 1, 1], [0.75, 0.0, 0.75, 0.0, 0.0]),
    ],
)
def test_hand_computed_trace(reset, spikes, membranes):
    lif_soft_or_hard = lif_parameters(tau=2.0, reset=reset)
    v = torch.zeros(1)
    seen = []
    for current in [0.75, 0.75, 0.75, 0.75, 2.0]:
        s, v = lif_step(torch.tensor([current]), v, lif_soft_or_hard)
        seen.append((s.item(), v.item()))
    assert seen == list(zip(spikes, membranes, strict=True))


@pytest.mark.parametrize(
    ("reset", "mechanism", "reset_delay"),
    [("soft", "subtract", False), ("hard", "zero", True)],
)
def test_traces_and_gradients_equal_snntorch(reset, mechanism, reset_delay):
    """Its reset comes one step late: in 'zero' mode that is ours, in 'subtract' mode only
    with ``reset_delay=False`` and membranes below the threshold after the reset."""
    torch.manual_seed(0)
    neuron = snntorch.Leaky(
        beta=0.8,
        threshold=1.25,
        spike_grad=snntorch.surrogate.atan(5.0),
        reset_mechanism=mechanism,
        reset_delay=reset_delay,
    )
    ours = lif_parameters(5.0, 1.25, reset, detach_reset=True, surrogate="atan", alpha=5.0)
    current = torch.rand(60, 3, 4)
    theirs, mine = (current.clone().requires_grad_() for _ in range(2))
    v = mem = torch.zeros(3, 4)
    expected, spikes, after_reset = [], [], []
    for t in range(60):
        spk, mem = neuron(theirs[t], mem)
        s, v = lif_step(mine[t], v, ours)
        expected.append(spk)
        spikes.append(s)
        after_reset.append((mem if not reset_delay else mem * (1 - spk), v))
    snntorch.SpikingNeuron.init()  # it keeps every instance in a class list
    expected, spikes = torch.stack(expected), torch.stack(spikes)
    assert 0.1 < expected.mean() < 0.9
    assert torch.equal(spikes, expected)
    for mem_t, v_t in after_reset:
        torch.testing.assert_close(v_t, mem_t)
    if reset == "hard":  # with reset_delay=False, snntorch's reset is not detached
        weights = torch.randn_like(spikes)
        (expected * weights).sum().backward()
        (spikes * weights).sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_over_time_is_the_step_repeated_from_rest():
    torch.manual_seed(0)
    current = torch.rand(20, 2, 3, dtype=torch.float64) * 1.5
    settings = lif_parameters(tau=3.0, threshold=0.8)
    v = torch.zeros(2, 3, dtype=torch.float64)
    for t, spikes in enumerate(lif(current, settings)):
        expected, v = lif_step(current[t], v, settings)
        assert torch.equal(spikes, expected)


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_reset_slope_is_the_derivative_of_the_reset(reset, detach_reset):
    settings = LIFParameters(0.5, 1.5, reset, detach_reset)
    h = torch.linspace(-1, 4, 23, dtype=torch.float64, requires_grad=True)
    spikes = spike(h - 1.5)
    (expected,) = torch.autograd.grad(reset_membrane(h, spikes, settings).sum(), h)
    slope = surrogate_slope(h - 1.5)
    torch.testing.assert_close(reset_slope(h.detach(), spikes, slope, settings), expected)


def test_charge_leaks_the_membrane_and_not_the_input():
    v, current = torch.tensor([2.0]), torch.tensor([3.0])
    assert charge(v, current, lif_parameters(tau=4.0)).item() == 0.75 * 2.0 + 3.0


def test_leaky_integrator_is_a_sum_of_decaying_inputs():
    current = torch.randn(9, 2, 3, dtype=torch.float64)
    age = torch.arange(9.0, dtype=torch.float64)[:, None] - torch.arange(9.0)
    decay = torch.where(age >= 0, 0.7**age, 0.0)
    torch.testing.assert_close(
        leaky_integrator(current, 0.7), torch.einsum("ts,sbk->tbk", decay, current)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 0.5}, "tau=0.5 must be at least 1"),
        ({"tau": float("nan")}, "tau=nan"),
        ({"threshold": 0.0}, "threshold=0.0"),
        ({"threshold": float("inf")}, "threshold=inf"),
        ({"reset": "zero"}, "reset='zero' is unknown: choose one of .*soft.*hard"),
        ({"surrogate": "sigmoid"}, "surrogate='sigmoid' is unknown: choose one of .*triangle"),
        ({"alpha": 0.0}, "alpha=0.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        lif_parameters(**settings)


def test_one_step_is_enough():
    current = torch.tensor([[[0.5, 1.0]]])
    assert lif(current).tolist() == [[[0.0, 1.0]]]
    assert leaky_integrator(current).tolist() == [[[0.5, 1.0]]]


def test_without_settings_the_time_constant_is_two_steps():
    assert LIFParameters() == lif_parameters()
    assert lif_parameters(tau=1.0, alpha=0.5) == LIFParameters(leak=0.0, alpha=0.5)
    assert leaky_integrator(torch.ones(3, 1, 1)).flatten().tolist() == [1.0, 1.5, 1.75]


@pytest.mark.parametrize("function", [lif, leaky_integrator])
@pytest.mark.parametrize(
    ("current", "message"),
    [
        (torch.zeros(4, 3), r"^current has the shape \(4, 3\): expected \(T, B, N\)"),
        (torch.zeros(0, 2, 3), "at least one step"),
        (torch.zeros(4, 2, 3, dtype=torch.uint8), r"torch.uint8: convert it with .float\(\)"),
    ],
)
def test_wrong_currents_are_refused(function, current, message):
    with pytest.raises(ValueError, match=message):
        function(current)
