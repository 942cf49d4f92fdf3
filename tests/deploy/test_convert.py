"""What conversion changes and what it leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deploy_cases import CHANNELS, STEPS, framework, recordings, small_network
from snnbreg.deploy import Simulator, Synapses, convert, raster
from snnbreg.models import SpikingNetwork


def test_delays_are_rounded_half_to_even_and_never_negative() -> None:
    network = small_network(density=1.0)
    network.delays()["layers.0"].copy_(
        torch.tensor([0.5, 1.5, 2.5, -0.3, -4.0, 3.49, 3.51, 0.0, 4.0])
    )
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    recurrent = deployed.layers[0].recurrent
    assert recurrent is not None
    assert recurrent.delay.tolist() == [0, 2, 2, 0, 0, 3, 4, 0, 4]
    with network.hard_delays(0.0):
        assert recurrent.delay.tolist() == network.delays()["layers.0"].tolist()


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_batch_norm_is_folded_and_stays_sparse(reset: str) -> None:
    network, counts = small_network(norm="batch", reset=reset), recordings()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.running_mean, -1, 1)
        torch.nn.init.uniform_(norm.running_var, 0.1, 2)
    with torch.no_grad():
        norms[0].weight[0] = 0.0
        norms[0].weight[1] = -0.75
    outputs, spikes = framework(network, counts)
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    for b, recording in enumerate(counts):
        answer = Simulator(deployed).run(recording)
        np.testing.assert_allclose(answer.outputs, outputs[:, b], atol=1e-5)
        ours = raster(answer.spikes[0], deployed.layers[0].neurons)
        np.testing.assert_array_equal(ours, spikes[0][:, b, deployed.layers[0].kept])
    trained = int((network.synapses()[0].weight[deployed.layers[0].kept] != 0).sum())
    zeroed = int((network.synapses()[0].weight[0] != 0).sum()) * (0 in deployed.layers[0].kept)
    assert len(deployed.layers[0].feedforward.weight) == trained - zeroed


def test_neurons_that_cannot_matter_are_left_out() -> None:
    """0 never fires; 1 hears 0 alone; 2 and 3 excite each other and nobody else; 4 stays."""
    network = SpikingNetwork(1, 2, hidden=(5,), delays="none", sigma=0.0).eval()
    with torch.no_grad():
        for synapses in network.synapses():
            synapses.weight.zero_()
        hidden, readout = network.layers[0], network.readout
        hidden.linear.weight[:, 0] = torch.tensor([-1.0, 0.0, 1.0, 0.0, 1.0])
        hidden.linear.bias.copy_(torch.tensor([0.49, 0.4, 0.0, 0.0, 0.0]))
        hidden.neuron.weight[1, 0] = 9.0
        hidden.neuron.weight[2, 3] = hidden.neuron.weight[3, 2] = 1.0
        readout.linear.weight[:, [0, 1, 4]] = 1.0
    conversion = convert(network, STEPS, "sum_cross_entropy")
    assert conversion.removed == [{"never_fires": [0, 1], "unheard": [2, 3]}]
    assert conversion.network.layers[0].kept.tolist() == [4]
    with torch.no_grad():
        hidden.linear.bias[0] = 0.5  # reaches the threshold by itself, in the end
    assert convert(network, STEPS, "sum_cross_entropy").removed[0]["never_fires"] == []


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_out_changes_nothing(seed: int) -> None:
    network, counts = small_network(seed, density=0.12), recordings(4, seed)
    outputs, _ = framework(network, counts)
    conversion = convert(network, STEPS, "sum_cross_entropy")
    assert any(names for why in conversion.removed for names in why.values())
    for b, recording in enumerate(counts):
        ours = Simulator(conversion.network).run(recording).outputs
        np.testing.assert_array_equal(ours, outputs[:, b])


def test_a_network_of_which_nothing_is_left_still_runs() -> None:
    network, counts = small_network(density=0.0), recordings(1)
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    assert [layer.neurons for layer in deployed.layers] == [1, 1]
    outputs, _ = framework(network, counts)
    np.testing.assert_array_equal(Simulator(deployed).run(counts[0]).outputs, outputs[:, 0])


def test_what_arrives_after_the_last_step_is_left_out() -> None:
    network = small_network(density=1.0)
    network.delays()["layers.0"].copy_(torch.tensor([10.0, 11.0, 99.0, *[0.0] * 6]))
    conversion = convert(network, STEPS, "sum_cross_entropy")
    row = (network.synapses()[1].weight != 0).sum(0)
    assert conversion.late == int(row[1] + row[2])
    assert conversion.network.layers[0].recurrent.longest_delay == 10  # type: ignore[union-attr]


def test_lists_hold_the_matrix_whatever_its_delays() -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(5, 4)) * (generator.random((5, 4)) < 0.6)
    for delay in (np.array([3, 0, 2, 1]), generator.integers(0, 3, (5, 4))):
        synapses = Synapses.of(weight, delay)
        np.testing.assert_array_equal(synapses.dense(), weight)
        of_entry = np.repeat(synapses.delay, np.diff(synapses.pointer))
        wanted = np.broadcast_to(delay, weight.shape)[synapses.receiver, synapses.sender()]
        np.testing.assert_array_equal(of_entry, wanted)
        assert synapses.one_list_per_sender == (delay.ndim == 1)


@pytest.mark.parametrize(("change", "message"), [
    (lambda n: nn.Linear(3, 2), "class Linear cannot be exported"),
    (lambda n: n.readout.linear.weight.data.fill_(np.nan) is n or n, "not finite"),
    (lambda n: n.layers[0].neuron.delay.data.fill_(np.inf) is n or n, "delay is not finite"),
])  # fmt: skip
def test_other_networks_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(change(small_network()), STEPS, "sum_cross_entropy")


def test_an_objective_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="mean_squared_error leads to no class"):
        convert(small_network(), STEPS, "mean_squared_error")
    assert convert(small_network(), STEPS, "sum_cross_entropy").network.inputs == CHANNELS
