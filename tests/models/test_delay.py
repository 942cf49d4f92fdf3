import pytest
import torch

from snnbreg.models import SpikingNetwork, deployed, hard_delays


def build(**settings):
    torch.manual_seed(0)
    return SpikingNetwork(4, 3, (8, 8), dropout=0.0, recurrent_dropout=0.0, **settings)


def bits(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same_bits(network, saved):
    state = network.state_dict()
    assert state.keys() == saved.keys()
    for name, value in saved.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("delays", ["axonal", "synaptic", "common", "fixed"])
@pytest.mark.parametrize("feedforward", [False, True])
@pytest.mark.parametrize("sigma", [None, 0.0])
def test_hard_delays_are_whole_inside_and_restored_after(delays, feedforward, sigma):
    kinds = {"delays": "none", "feedforward_delays": delays} if feedforward else {"delays": delays}
    network = build(**kinds, sigma=2.7)
    part = "linear" if feedforward else "neuron"
    with torch.no_grad():
        changed = getattr(network.layers[0], part).delay.flatten()
        changed[:3] = torch.tensor([-4.3, 2.5, 3.5])[: len(changed)]
    saved = bits(network)
    with network.hard_delays(sigma):
        assert network.sigma == (2.7 if sigma is None else 0.0)
        names = {"layers.0.linear", "layers.1.linear"} if feedforward else {"layers.0", "layers.1"}
        assert set(network.delays()) == names
        for name, delay in network.delays().items():
            expected = saved[f"{name.removesuffix('.linear')}.{part}.delay"].round().clamp(min=0)
            assert torch.equal(delay, expected)
            assert delay.min() >= 0
    assert_same_bits(network, saved)


def test_hard_delays_are_restored_after_an_exception():
    network = build()
    saved = bits(network)
    with pytest.raises(RuntimeError, match="stop"), network.hard_delays(sigma=0.0):
        raise RuntimeError("stop")
    assert_same_bits(network, saved)
    with pytest.raises(ValueError, match=r"sigma=-1\.0"), network.hard_delays(sigma=-1.0):
        pass
    assert_same_bits(network, saved)


def test_evaluation_between_two_steps_changes_nothing():
    """Training goes on bit for bit as if the network had not been looked at."""
    frames = torch.rand(12, 3, 4)
    states = []
    for look in (False, True):
        network = build()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            network(frames).square().sum().backward()
            optimizer.step()
            if look:
                with torch.inference_mode(), network.hard_delays(sigma=0.0):
                    network.eval()(frames)
                with network.hard_delays(), torch.no_grad():
                    network(frames)
                network.train()
        states.append(network.state_dict())
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name


def test_hard_delays_without_sigma_equal_rounding_by_hand():
    network = build().eval()
    frames = 20 * torch.rand(30, 5, 4)
    with hard_delays(network, sigma=0.0):
        inside = network(frames)
    assert not torch.equal(network(frames), inside)
    network.sigma = 0.0
    for layer in network.layers:
        layer.neuron.delay.data = layer.neuron.delay.data.round()
    assert torch.equal(network(frames), inside)


def test_published_rounding_and_clamping_stay():
    network = build()
    delay = network.layers[1].neuron.delay
    with torch.no_grad():
        delay[:4] = torch.tensor([-2.6, -0.2, 1.4, 1.6])
    pointer = delay.data_ptr()
    network.clamp_delays_()
    torch.testing.assert_close(delay[:4].detach(), torch.tensor([0.0, 0.0, 1.4, 1.6]))
    network.round_delays_()
    assert delay[:4].tolist() == [0, 0, 1, 2]
    assert delay.data_ptr() == pointer
    assert delay.requires_grad


def test_deployed_is_the_trainers_evaluation_and_leaves_nothing_behind():
    network = build(sigma=6.0, delay_scale=4.0).train()
    network.layers[1].eval()
    saved, modes = bits(network), [part.training for part in network.modules()]
    frames = 8 * torch.rand(20, 5, 4)
    with deployed(network):
        outputs = network(frames)
        assert not outputs.requires_grad
        assert not any(part.training for part in network.modules())
    assert_same_bits(network, saved)
    assert [part.training for part in network.modules()] == modes
    network.eval()
    network.round_delays_()
    network.sigma = 0.0
    assert torch.equal(outputs, network(frames))
    network.sigma = 6.0
    assert not torch.equal(outputs, network(frames))
