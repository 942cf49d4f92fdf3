import math

import pytest
import torch
from torch.nn.functional import linear

from snnbreg.functional import delayed_linear
from snnbreg.models import DelayedLinear, hard_delays


def build(**settings):
    torch.manual_seed(0)
    return DelayedLinear(5, 4, **settings)


def test_parameters_by_kind_of_delay():
    def shapes(**settings):
        return {name: tuple(p.shape) for name, p in build(**settings).named_parameters()}

    plain = {"weight": (4, 5), "bias": (4,)}
    assert shapes() == {**plain, "delay": (5,)}
    assert shapes(learn_spread=True) == {**plain, "delay": (5,), "spread": (5,)}
    assert shapes(delays="synaptic", bias=False) == {"weight": (4, 5), "delay": (4, 5)}
    assert shapes(delays="common", learn_spread=True) == {**plain, "delay": (1,), "spread": (1,)}
    assert shapes(delays="fixed") == plain
    assert "delay" in build(delays="fixed").state_dict()


def test_initial_weights_are_those_of_a_linear_layer():
    torch.manual_seed(0)
    plain = torch.nn.Linear(5, 4)
    layer = build(delays="synaptic")
    assert torch.equal(layer.weight, plain.weight)
    assert torch.equal(layer.bias, plain.bias)


@pytest.mark.parametrize("delays", ["axonal", "synaptic", "common", "fixed"])
def test_passes_everything_to_the_equation(delays):
    layer = build(delays=delays, learn_spread=True, sigma=2.5).double()
    torch.nn.init.normal_(layer.spread)
    events = torch.rand(20, 3, 5, dtype=torch.float64, requires_grad=True)
    shape = (4, 5) if delays == "synaptic" else (5,)
    width = (1 + 5.0 / (1 + torch.exp(-layer.spread))).expand(5)
    delay = layer.delay.expand(shape)
    expected = delayed_linear(events, layer.weight, layer.bias, delay, width)
    currents = layer(events)
    torch.testing.assert_close(currents, expected, rtol=0, atol=1e-12)
    (currents * torch.rand_like(currents)).sum().backward()
    assert events.grad.any()
    for name, parameter in layer.named_parameters():
        assert (parameter.grad != 0).any(), name


def test_without_delays_it_is_a_linear_layer():
    layer = build(delays="none")
    events = torch.rand(6, 2, 5)
    torch.testing.assert_close(layer(events), linear(events, layer.weight, layer.bias))


def test_sigma_acts_and_survives_the_state_dict():
    layer = build(sigma=10.0)
    events = torch.rand(20, 2, 5)
    before = layer(events)
    layer.sigma = 0.37
    assert not torch.equal(before, layer(events))
    copy = DelayedLinear(5, 4)
    copy.load_state_dict(layer.state_dict(), strict=True)
    assert copy.sigma == 0.37
    assert torch.equal(copy(events), layer(events))


@pytest.mark.parametrize("delays", ["axonal", "synaptic", "common", "fixed"])
def test_as_deployed_every_event_arrives_once_after_a_whole_delay(delays):
    layer = build(delays=delays, bias=False, sigma=6.0, delay_scale=3.0)
    saved = {name: value.clone() for name, value in layer.state_dict().items()}
    events = (torch.rand(30, 2, 5) < 0.3).float()
    with hard_delays(layer, sigma=0.0):
        currents = layer(events)
    steps = saved["delay"].round().expand(4, 5).int()
    expected = torch.zeros(60, 2, 4)
    for t, b, j in events.nonzero().tolist():
        for i in range(4):
            expected[t + steps[i, j], b, i] += layer.weight[i, j].detach()
    torch.testing.assert_close(currents, expected[:30])
    assert all(torch.equal(value, saved[name]) for name, value in layer.state_dict().items())


def test_a_common_delay_starts_at_the_mean_and_a_constant_everywhere():
    torch.manual_seed(0)
    axonal = DelayedLinear(4000, 2)
    torch.manual_seed(0)
    common = DelayedLinear(4000, 2, delays="common")
    assert common.delay.item() == pytest.approx(axonal.delay.mean().item(), rel=1e-6)
    assert common.delay.item() == pytest.approx(12 * math.sqrt(2 / math.pi), rel=0.05)
    constant = build(delays="fixed", delay_init="constant", delay_scale=7.0)
    assert constant.delay.tolist() == [7.0] * 5


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="delays='late' is unknown: choose one of"):
        build(delays="late")
    with pytest.raises(ValueError, match="engine='fast' is unknown"):
        build(engine="fast")
    with pytest.raises(ValueError, match=r"delay_scale=0\.0"):
        build(delay_init="constant", delay_scale=0.0)
