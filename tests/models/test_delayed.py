import math

import pytest
import torch

from snnbreg import functional
from snnbreg.models import DelayedRecurrentLIF
from snnbreg.models.delay import DELAYS


def build(neurons=6, **settings):
    torch.manual_seed(0)
    return DelayedRecurrentLIF(neurons, **settings)


def test_parameters_by_kind_of_delay():
    def shapes(**settings):
        return {name: tuple(p.shape) for name, p in build(**settings).named_parameters()}

    assert shapes() == {"weight": (6, 6), "delay": (6,)}
    assert shapes(learn_spread=True) == {"weight": (6, 6), "delay": (6,), "spread": (6,)}
    assert shapes(delays="synaptic") == {"weight": (6, 6), "delay": (6, 6)}
    common = {"weight": (6, 6), "delay": (1,), "spread": (1,)}
    assert shapes(delays="common", learn_spread=True) == common
    assert shapes(delays="fixed") == {"weight": (6, 6)}
    assert shapes(delays="none") == {"weight": (6, 6)}
    assert "delay" in build(delays="fixed").state_dict()
    assert "delay" not in build(delays="none").state_dict()


def test_initial_values():
    layer = build(300, delays="synaptic", learn_spread=True)
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(300), atol=1e-5, rtol=0)
    delay = layer.delay.detach()
    assert delay.min() >= 0
    assert delay.mean().item() == pytest.approx(12 * math.sqrt(2 / math.pi), rel=0.01)
    assert delay.square().mean().sqrt().item() == pytest.approx(12, rel=0.01)
    assert not layer.spread.any()
    delay = build(2000, delay_init="uniform", delay_range=(5.0, 9.0), delays="fixed").delay
    assert 5 <= delay.min() < 5.05
    assert 8.95 < delay.max() <= 9


@pytest.mark.parametrize("delays", ["axonal", "synaptic"])
@pytest.mark.parametrize("learn_spread", [False, True])
def test_passes_every_setting_on(delays, learn_spread):
    settings = {
        "tau": 3.0,
        "threshold": 0.8,
        "reset": "hard",
        "detach_reset": True,
        "surrogate": "atan",
        "alpha": 2.0,
    }
    layer = build(delays=delays, learn_spread=learn_spread, sigma=2.5, dropout=0.5, **settings)
    layer = layer.double()
    if learn_spread:
        torch.nn.init.normal_(layer.spread)
    current = torch.rand(20, 3, 6, dtype=torch.float64)
    torch.manual_seed(5)
    spikes = layer(current)
    torch.manual_seed(5)
    mask = torch.empty(3, 6, dtype=torch.float64).bernoulli_(0.5) / 0.5
    s = torch.tensor(3.5, dtype=torch.float64)
    if learn_spread:
        s = 1 + 5.0 / (1 + torch.exp(-layer.spread))
    args = current, layer.weight, layer.delay, s
    parameters = functional.lif_parameters(**settings)
    expected = functional.delayed_recurrence(*args, mask, parameters)
    undropped = functional.delayed_recurrence(*args, None, parameters)
    assert torch.equal(spikes, expected)
    assert not torch.equal(spikes, undropped)
    assert torch.equal(layer.eval()(current), undropped)


def test_without_delays_it_is_the_ordinary_recurrence():
    layer = build(delays="none")
    current = 1.5 * torch.rand(30, 2, 6)
    v = past = torch.zeros(2, 6)
    for spikes, current_t in zip(layer(current), current, strict=True):
        h = 0.5 * v + (current_t + past @ layer.weight.T)
        past = (h >= 1).float()
        v = h - past
        assert torch.equal(spikes, past)


def test_a_common_delay_is_the_same_delay_for_every_sender():
    common = build(delays="common", learn_spread=True, sigma=2.5)
    axonal = build(delays="axonal", learn_spread=True, sigma=2.5)
    torch.nn.init.constant_(common.spread, 0.7)
    torch.nn.init.constant_(axonal.spread, 0.7)
    torch.nn.init.constant_(axonal.delay, common.delay.item())
    current = torch.rand(40, 3, 6)
    spikes = common(current)
    assert torch.equal(spikes, axonal(current))
    weighting = torch.rand(40, 3, 6)
    for layer in (common, axonal):
        (layer(current) * weighting).sum().backward()
    for name in ("delay", "spread"):
        grad = getattr(axonal, name).grad.sum()
        torch.testing.assert_close(getattr(common, name).grad[0], grad, rtol=1e-4, atol=1e-6)


def test_gradients_reach_everything_that_is_learned():
    layer = build(learn_spread=True, sigma=4.0)
    (layer(torch.rand(30, 4, 6)) * torch.rand(30, 4, 6)).sum().backward()
    for name, parameter in layer.named_parameters():
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_have_the_type_of_the_input(dtype):
    assert build().to(dtype)(torch.rand(5, 2, 6, dtype=dtype)).dtype == dtype


def test_sigma_is_settable_acts_and_survives_the_state_dict():
    layer = build(sigma=10.0)
    current = torch.rand(40, 4, 6)
    before = layer(current)
    layer.sigma = 0.37
    assert layer.sigma == 0.37
    after = layer(current)
    assert not torch.equal(before, after)
    copy = DelayedRecurrentLIF(6)
    copy.load_state_dict(layer.state_dict(), strict=True)
    assert copy.sigma == 0.37
    assert torch.equal(copy(current), after)


def test_a_state_without_sigma_is_refused():
    layer = build()
    state = layer.state_dict()
    del state["sigma_steps"]
    with pytest.raises(RuntimeError, match="sigma_steps"):
        layer.load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neurons": 0}, "neurons=0"),
        ({"delays": "random"}, f"delays='random' is unknown: choose one of .*{DELAYS[0]}"),
        ({"delays": "none", "learn_spread": True}, "learn_spread=True needs delays"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"sigma": float("nan")}, "sigma=nan"),
        ({"tau": 0.5}, "tau=0.5"),
        ({"dropout": 1.5}, "dropout=1.5"),
        ({"engine": "fast"}, "engine='fast' is unknown"),
        ({"delay_init": "normal"}, "delay_init='normal' is unknown: .*half_normal.*uniform"),
        ({"delay_scale": 0.0}, "delay_scale=0.0"),
        ({"delay_init": "uniform", "delay_range": (5.0, 1.0)}, r"delay_range=\(5.0, 1.0\)"),
        ({"delay_init": "uniform", "delay_range": (-5.0, 1.0)}, r"delay_range=\(-5.0, 1.0\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_inputs_and_values_that_cannot_be_right_are_refused():
    layer = build()
    with pytest.raises(ValueError, match=r"\(5, 2, 7\): expected \(T, B, 6\)"):
        layer(torch.rand(5, 2, 7))
    with pytest.raises(ValueError, match=r"convert one of them, for instance with layer.to"):
        layer(torch.rand(5, 2, 6).double())
    with pytest.raises(ValueError, match="at least one step"):
        build(dropout=0.5)(torch.rand(0, 2, 6))
    for value in (-0.5, float("inf")):
        with pytest.raises(ValueError, match=f"sigma={value}"):
            layer.sigma = value
    with pytest.raises(ValueError, match="no meaning with delays='none'"):
        build(delays="none").sigma = 3.0
    torch.nn.init.constant_(layer.delay, float("nan"))
    with pytest.raises(ValueError, match="training has diverged"):
        layer(torch.rand(5, 2, 6))
