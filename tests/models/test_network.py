import math

import pytest
import torch
from torch.nn.functional import batch_norm, linear

from snnbreg.functional import lif_parameters
from snnbreg.models import LIF, DelayedRecurrentLIF, SpikingNetwork

SHD = {
    "inputs": 140,
    "outputs": 20,
    "hidden": (256, 256),
    "recurrent": (False, True),
    "norm": "batch",
    "readout": "leaky",
    "delay_init": "uniform",
    "tau": 1.05,
    "reset": "hard",
    "detach_reset": True,
    "surrogate": "atan",
    "dropout": 0.4,
    "dropout_on": "spikes",
    "recurrent_dropout": 0.2,
    "weight_init": "kaiming",
}
SSC = {"inputs": 140, "outputs": 35, "hidden": (256, 256, 256), "learn_spread": True}
PSMNIST = {"inputs": 1, "outputs": 10, "hidden": (64, 212, 212), "learn_spread": True}


def build(**settings):
    torch.manual_seed(0)
    return SpikingNetwork(**{"inputs": 5, "outputs": 3, "hidden": (8, 7), **settings})


@pytest.mark.parametrize(
    ("settings", "parameters", "matrices"),
    [(SHD, 173_844, 172_032), (SSC, 374_819, 372_480), (PSMNIST, 156_154, 154_680)],
    ids=["shd", "ssc", "psmnist"],
)
def test_the_published_networks_have_the_published_sizes(settings, parameters, matrices):
    network = SpikingNetwork(**settings)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(weight.numel() for _, weight, _ in network.synapses()) == matrices


@pytest.mark.parametrize("recurrent", [True, False, (False, True)])
def test_synapses_are_the_weight_matrices_and_know_their_senders(recurrent):
    network = build(recurrent=recurrent, hidden=(8, 7), learn_spread=True)
    named = dict(network.named_parameters())
    synapses = network.synapses()
    assert {name for name, _, _ in synapses} == {n for n, p in named.items() if p.ndim == 2}
    frames = torch.rand(4, 2, 5)
    widths = {"input": 5}
    for name, layer in network.spiking_layers().items():
        layer.register_forward_hook(lambda _, __, out, n=name: widths.update({n: out.shape[2]}))
    network(frames)
    for name, weight, senders in synapses:
        assert weight is named[name]
        assert weight.shape[1] == widths[senders], name


def test_spiking_layers_return_spikes_and_recurrence_follows_the_flags():
    network = build(recurrent=(False, True), dropout=0.5, dropout_on="spikes")
    layers = network.spiking_layers()
    assert list(layers) == ["layers.0", "layers.1"]
    assert isinstance(layers["layers.0"], LIF)
    assert isinstance(layers["layers.1"], DelayedRecurrentLIF)
    seen = []
    for layer in layers.values():
        layer.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    network(3 * torch.rand(6, 2, 5))
    for spikes, neurons in zip(seen, (8, 7), strict=True):
        assert spikes.shape == (6, 2, neurons)
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}  # not scaled by the dropout


@pytest.mark.parametrize("dropout_on", ["current", "spikes"])
def test_order_of_the_layers(dropout_on):
    network = build(hidden=(8,), recurrent=False, norm="batch", dropout=0.5, dropout_on=dropout_on)
    frames = 3 * torch.rand(6, 4, 5)
    torch.manual_seed(9)
    outputs = network(frames)
    torch.manual_seed(9)
    mask = torch.empty(4, 8).bernoulli_(0.5) / 0.5
    first = network.layers[0]
    current = linear(frames, first.linear.weight, first.linear.bias).reshape(24, 8)
    current = batch_norm(current, None, None, training=True, eps=1e-5).reshape(6, 4, 8)
    before, after = (mask, 1.0) if dropout_on == "current" else (1.0, mask)
    spikes = LIF()(current * before) * after
    expected = linear(spikes, network.readout.linear.weight, network.readout.linear.bias)
    torch.testing.assert_close(outputs, expected)
    mean = linear(frames, first.linear.weight, first.linear.bias).mean((0, 1))
    torch.testing.assert_close(first.norm.running_mean, 0.1 * mean)


def test_neurons_receive_the_settings():
    settings = {
        "tau": 4.0,
        "threshold": 0.7,
        "reset": "hard",
        "detach_reset": True,
        "surrogate": "atan",
        "alpha": 3.0,
    }
    network = build(
        **settings,
        recurrent=(False, True),
        readout="spiking",
        recurrent_dropout=0.25,
        dropout=0.5,
        engine="reference",
        delay_init="uniform",
        delay_range=(40.0, 41.0),
    )
    neurons = [*network.spiking_layers().values(), network.readout.neuron]
    for neuron in neurons:
        assert neuron.lif == lif_parameters(**settings)
        assert neuron.engine == "reference"
    assert neurons[1].dropout.p == 0.25
    assert [layer.dropout.p for layer in network.layers] == [0.5, 0.5]
    assert 40 <= neurons[1].delay.min() <= neurons[1].delay.max() <= 41
    wide = build(delay_scale=1200.0).delays()["layers.0"]
    torch.testing.assert_close(wide, 100 * build().delays()["layers.0"])


def test_readouts():
    frames = 3 * torch.rand(6, 2, 5)
    currents = build(readout="linear").eval()(frames)
    leaky = build(readout="leaky", tau=4.0).eval()(frames)
    plain = build(readout="linear", tau=4.0).eval()(frames)
    torch.testing.assert_close(leaky[0], plain[0])
    torch.testing.assert_close(leaky[1:], plain[1:] + 0.75 * leaky[:-1])
    spiking = build(readout="spiking").eval()(frames)
    assert torch.equal(spiking, LIF()(currents))


def test_initial_weights():
    for init, bound in (("default", 1 / math.sqrt(50)), ("kaiming", math.sqrt(6 / 50))):
        first = build(inputs=50, hidden=(200,), weight_init=init).layers[0].linear
        assert 0.99 * bound < first.weight.abs().max() <= bound
        assert first.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert 0.9 / math.sqrt(50) < first.bias.abs().max() <= 1 / math.sqrt(50)
    assert build(bias=False).readout.linear.bias is None


def test_sigma_reaches_every_delayed_layer_and_is_saved():
    network = build(hidden=(4, 4, 4), recurrent=(True, False, True))
    network.sigma = 3.25
    assert [network.layers[i].neuron.sigma for i in (0, 2)] == [3.25, 3.25]
    copy = build(hidden=(4, 4, 4), recurrent=(True, False, True))
    copy.load_state_dict(network.state_dict(), strict=True)
    assert copy.sigma == 3.25
    assert list(network.delays()) == ["layers.0", "layers.2"]


@pytest.mark.parametrize("kind", ["axonal", "synaptic", "common", "fixed"])
def test_feedforward_delays(kind):
    network = build(feedforward_delays=kind, sigma=4.0, learn_spread=True, engine="reference")
    assert list(network.delays()) == ["layers.0.linear", "layers.0", "layers.1.linear", "layers.1"]
    for i, senders, receivers in ((0, 5, 8), (1, 8, 7)):
        layer = network.layers[i].linear
        assert layer.delay.shape == {
            "axonal": (senders,), "synaptic": (receivers, senders), "common": (1,),
            "fixed": (senders,),
        }[kind]  # fmt: skip
        assert layer.spread is not None
        assert layer.engine == "reference"
    network.sigma = 1.25
    assert [layer.linear.sigma for layer in network.layers] == [1.25, 1.25]
    plain = build(learn_spread=True)
    names = [(name, weight.shape, senders) for name, weight, senders in network.synapses()]
    assert names == [(name, weight.shape, senders) for name, weight, senders in plain.synapses()]
    copy = build(feedforward_delays=kind, learn_spread=True)
    copy.load_state_dict(network.state_dict(), strict=True)
    frames = torch.rand(9, 2, 5)
    assert torch.equal(copy.eval()(frames), network.eval()(frames))


def test_feedforward_delays_delay_what_the_layer_receives():
    """Without recurrence, a delay of 3 steps in one layer moves everything after it by 3."""
    settings = {
        "recurrent": False, "sigma": 0.0, "bias": False, "delay_init": "constant",
        "delay_scale": 3.0,
    }  # fmt: skip
    plain = build(**settings, feedforward_delays="none")
    with torch.no_grad():
        plain.layers[1].linear.weight.abs_()  # so that the second layer fires
    delayed = build(**settings, feedforward_delays=("none", "axonal"))
    delayed.load_state_dict({**delayed.state_dict(), **plain.state_dict()})
    frames = 20 * torch.rand(12, 2, 5)
    expected = plain.eval()(frames)
    assert expected.any()
    torch.testing.assert_close(delayed.eval()(frames)[3:], expected[:-3])


def test_feedforward_delays_per_layer_and_in_published_networks():
    network = build(feedforward_delays=("none", "synaptic"), recurrent=(True, False))
    assert list(network.delays()) == ["layers.0", "layers.1.linear"]
    # "rec+ff" of the paper on SHD, 0.24M: delays per synapse between the hidden layers alone
    shd = SpikingNetwork(**SHD, feedforward_delays=("none", "synaptic"))
    assert sum(p.numel() for p in shd.parameters()) == 173_844 + 256 * 256
    # a spread is for the feed-forward delays where the recurrence has none
    network = build(delays="none", feedforward_delays="axonal", learn_spread=True)
    assert [name for name, _ in network.named_parameters() if name.endswith("spread")] == [
        "layers.0.linear.spread",
        "layers.1.linear.spread",
    ]


def test_names_and_initial_values_of_networks_without_feedforward_delays_stay():
    """Those of checkpoints written before there were feed-forward delays."""
    network = build(learn_spread=True, hidden=(8,))
    assert list(network.state_dict()) == [
        "layers.0.linear.weight",
        "layers.0.linear.bias",
        "layers.0.neuron.weight",
        "layers.0.neuron.delay",
        "layers.0.neuron.spread",
        "layers.0.neuron.sigma_steps",
        "readout.linear.weight",
        "readout.linear.bias",
    ]
    torch.manual_seed(0)
    first = torch.nn.Linear(5, 8)
    recurrent = torch.nn.init.orthogonal_(torch.empty(8, 8))
    delay = torch.randn(8).abs() * 12
    last = torch.nn.Linear(8, 3)
    expected = {
        "layers.0.linear": first.weight,
        "layers.0.neuron": recurrent,
        "readout.linear": last.weight,
    }
    for name, weight in expected.items():
        assert torch.equal(network.get_submodule(name).weight, weight)
    assert torch.equal(network.layers[0].neuron.delay, delay)


@pytest.mark.parametrize("settings", [{"recurrent": False}, {"delays": "none"}])
def test_networks_without_delays_take_the_same_calls(settings):
    network = build(**settings)
    network.sigma = 3.0
    assert network.sigma == 0.0
    assert network.delays() == {}
    with network.hard_delays(sigma=0.0):
        network.round_delays_()
        assert network(torch.rand(4, 2, 5)).shape == (4, 2, 3)


@pytest.mark.parametrize("delays", ["axonal", "synaptic", "common", "fixed", "none"])
@pytest.mark.parametrize("readout", ["linear", "leaky", "spiking"])
def test_gradients_reach_every_parameter(delays, readout):
    network = build(delays=delays, readout=readout, norm="batch", sigma=4.0, surrogate="atan")
    outputs = network(3 * torch.rand(20, 8, 5))
    (outputs * torch.rand_like(outputs)).sum().backward()
    before_norm = ["layers.0.linear.bias", "layers.1.linear.bias"]
    for name, parameter in network.named_parameters():
        if name in before_norm:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("feedforward_delays", ["none", "axonal"])
def test_biases_before_batch_norm_learn_with_running_statistics_alone(feedforward_delays):
    """With those of the batch they cancel, and optimizers would make steps of the rounding."""
    still = {"dropout": 0.0, "recurrent_dropout": 0.0}
    network = build(norm="batch", feedforward_delays=feedforward_delays, **still)
    frames = 3 * torch.rand(20, 8, 5)
    expected = network(frames)
    for layer in network.layers:
        layer.linear.bias.data.add_(1.0)
    torch.testing.assert_close(network(frames), expected)
    for layer in network.layers:
        layer.norm.eval()
    network(frames).sum().backward()
    assert all(layer.linear.bias.grad.any() for layer in network.layers)


def test_the_seed_decides_everything():
    frames = 3 * torch.rand(6, 2, 5)
    assert torch.equal(build()(frames), build()(frames))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": ()}, r"hidden=\(\)"),
        ({"outputs": 0}, "outputs=0"),
        ({"recurrent": (True,)}, r"recurrent=\(True,\) has 1 values for 2 hidden layers"),
        ({"norm": "layer"}, "norm='layer' is unknown: .*none.*batch"),
        ({"dropout_on": "weights"}, "dropout_on='weights' is unknown: .*current.*spikes"),
        ({"weight_init": "xavier"}, "weight_init='xavier' is unknown: .*default.*kaiming"),
        ({"readout": "rate"}, "readout='rate' is unknown: .*linear.*leaky.*spiking"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"delays": "dendritic"}, "delays='dendritic' is unknown"),
        ({"feedforward_delays": "late"}, "delays='late' is unknown: choose one of .*axonal"),
        (
            {"feedforward_delays": ("axonal",)},
            r"feedforward_delays=\('axonal',\) has 1 values for 2 hidden layers",
        ),
        ({"delays": "none", "learn_spread": True}, "learn_spread=True needs delays"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.rand(4, 2, 6), r"frames has the shape \(4, 2, 6\): expected \(T, B, 5\)"),
        (torch.zeros(4, 2, 5, dtype=torch.uint8), "frames has the type torch.uint8"),
    ],
)
def test_wrong_frames_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        build()(frames)
