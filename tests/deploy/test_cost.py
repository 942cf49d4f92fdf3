"""Costs against counts by hand, and against NeuroBench itself where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deploy_cases import CHANNELS, CLASSES, STEPS, framework, recordings, small_network
from snnbreg.deploy import convert, quantize
from snnbreg.deploy.cost import cost, size
from snnbreg.models import SpikingNetwork


def test_operations_counted_one_by_one() -> None:
    """Every event, weight and step of a network with delays everywhere."""
    network, counts = (
        small_network(feedforward_delays=("synaptic", "axonal"), delays="synaptic"),
        recordings(3),
    )
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    _, spikes = framework(network, counts)
    matrices = dict(deployed.matrices())
    wanted: dict[str, list[int]] = {name: [] for name in matrices}
    multiplied = []
    for b, recording in enumerate(counts):
        kept = [layer.kept for layer in deployed.layers]
        populations = [recording, *(s[:, b, own] for s, own in zip(spikes, kept, strict=True))]
        for name, synapses in matrices.items():
            layer = int(name.split(".")[1]) if name[0] == "l" else 2
            recurrent = name.endswith("recurrent")
            source = populations[layer + recurrent]
            once = often = 0
            for t, j in np.argwhere(source):
                for a in range(synapses.lists[j], synapses.lists[j + 1]):
                    if t + synapses.delay[a] + recurrent < STEPS:
                        fan_out = synapses.pointer[a + 1] - synapses.pointer[a]
                        once += int(fan_out)
                        often += int(fan_out) * int(source[t, j])
            wanted[name].append(once)
            if name == "layers.0.feedforward":
                multiplied.append(often - once)
    found = cost(deployed, counts)
    for name, numbers in wanted.items():
        assert found["operations"]["by_matrix"][name] == pytest.approx(np.mean(numbers))
    totals = np.sum(list(wanted.values()), 0)
    assert found["operations"]["mean"] == pytest.approx(totals.mean())
    assert found["operations"]["deviation"] == pytest.approx(totals.std())
    assert found["operations"]["with_multiplicity"]["mean"] == pytest.approx(
        (totals + multiplied).mean()
    )
    synops = found["neurobench"]["SynapticOperations"]
    assert synops["Effective_MACs"] == pytest.approx(np.mean(wanted["layers.0.feedforward"]))
    assert synops["Effective_MACs"] + synops["Effective_ACs"] == pytest.approx(totals.mean())
    assert found["events"]["input_counts"] == counts.sum() / 3
    assert found["events"]["input_events"] == (counts > 0).sum() / 3


@pytest.mark.parametrize(("weight", "updates"), [(1.0, 1), (0.5, STEPS), (-0.5, STEPS)])
def test_membranes_that_change(weight: float, updates: int) -> None:
    """One event: a membrane that fires is 0 again and stays so; another one leaks for ever."""
    network = SpikingNetwork(1, 1, hidden=(1,), recurrent=False, bias=False).eval()
    with torch.no_grad():
        network.synapses()[0].weight.fill_(weight)
    counts = np.zeros((1, STEPS, 1), np.uint8)
    counts[0, 0] = 1
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    assert cost(deployed, counts)["neurobench"]["MembraneUpdates"] == updates


def test_binary_inputs_are_accumulated() -> None:
    deployed = convert(small_network(), STEPS, "sum_cross_entropy").network
    synops = cost(deployed, recordings() > 0)["neurobench"]["SynapticOperations"]
    assert synops["Effective_MACs"] == 0
    assert synops["Dense"] == STEPS * (9 * CHANNELS + 9 * 9 + 8 * 9 + 8 * 8 + CLASSES * 8)


def test_bytes_by_hand() -> None:
    """9 and 8 neurons without recurrence: tables, indices in one byte, two for the starts."""
    network = small_network(density=1.0, recurrent=False)
    with torch.no_grad():
        for synapses in network.synapses():
            synapses.weight.fill_(0.5)
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    weights = 9 * CHANNELS + 8 * 9 + CLASSES * 8
    found = size(deployed, "lists")
    assert found["dense_float32"] == 4 * (weights + 9 + 8 + CLASSES)
    assert found["weights"] == 4 * weights
    assert found["indices"] == weights + (CHANNELS + 1) + (9 + 1) + (8 + 1)
    assert found["biases_and_thresholds"] == 4 * (9 + 8 + CLASSES)
    assert (found["delays"], found["rings"]) == (0, 0)
    # membranes, currents, who fired (4 bytes each) and their list, one longer than the layer
    hidden = sum(3 * 4 * n + n + 1 for n in (9, 8))
    assert found["memory"] == hidden + 2 * 4 * CLASSES
    # rows, and the currents they are added to, are filled up to 16 receivers
    rows = size(deployed, "rows")
    assert rows["weights"] == 4 * 16 * (CHANNELS + 9 + 8)
    assert rows["memory"] == found["memory"] + 4 * ((16 - 9) + (16 - 8) + (16 - CLASSES))
    eight = size(quantize(deployed, 8), "lists")
    assert eight["weights"] == weights
    assert eight["tables"] < found["tables"] / 2


def test_neurobench_says_the_same(tmp_path: Any) -> None:
    """Of a plain network with the same weights, made of its own parts."""
    pytest.importorskip("neurobench")
    import snntorch as snn
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import (
        ActivationSparsity,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import TorchModel

    torch.manual_seed(14)
    network = SpikingNetwork(CHANNELS, CLASSES, hidden=(9, 8), recurrent=False, tau=1.7).eval()
    with torch.no_grad():
        for synapses in network.synapses()[:2]:
            synapses.weight.mul_(3.0 * (torch.rand_like(synapses.weight) < 0.6))
    counts = recordings(1) % 3  # snntorch resets membranes above two thresholds twice
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    assert all(len(layer.kept) == n for layer, n in zip(deployed.layers, (9, 8), strict=True))
    beta = network.layers[0].neuron.lif.leak  # type: ignore[union-attr]
    parts: list[nn.Module] = []
    for layer in network.layers:
        neuron = snn.Leaky(beta, threshold=1.0, init_hidden=True, reset_delay=False)
        parts += [layer.linear, neuron]  # type: ignore[list-item]
    net = nn.Sequential(*parts, network.readout.linear)

    class Stepped(TorchModel):
        def __call__(self, batch: Any) -> Any:
            return torch.stack([self.net(frame) for frame in batch.transpose(0, 1)], 1)

    wanted = torch.from_numpy(framework(network, counts)[0][:, 0])  # before their hooks listen
    model, frames = Stepped(net), torch.from_numpy(counts).float()
    model.add_activation_module(snn.SpikingNeuron)
    model.register_hooks()
    with torch.no_grad():
        outputs = model(frames)
    torch.testing.assert_close(outputs[0], wanted)
    data, found = (frames, torch.zeros(1)), cost(deployed, counts)["neurobench"]
    theirs = SynapticOperations()(model, outputs, data)  # which tells MACs from ACs step by step
    ours = found["SynapticOperations"]
    assert ours["Dense"] == theirs["Dense"]
    effective = ("Effective_MACs", "Effective_ACs")
    assert sum(ours[name] for name in effective) == sum(theirs[name] for name in effective)
    for metric in (ActivationSparsity(), MembraneUpdates()):
        theirs = metric(model, outputs, data)
        assert found[type(metric).__name__] == pytest.approx(theirs), type(metric).__name__
    assert found["ConnectionSparsity"] == ConnectionSparsity()(model)
    assert found["ParameterCount"] == ParameterCount()(model)
    buffers = sum(t.nbytes for t in net.buffers()) - sum(t.nbytes for t in network.buffers())
    assert found["Footprint"] == Footprint()(model) - buffers
