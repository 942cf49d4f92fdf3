"""The event-driven simulator against the framework's own deployed evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deploy_cases import CASES, CHANNELS, STEPS, framework, recordings, small_network
from snnbreg.deploy import Simulator, convert, raster
from snnbreg.models import SpikingNetwork
from snnbreg.training import TASKS


@pytest.mark.parametrize("case", CASES)
def test_every_spike_and_output_is_the_frameworks(case: str) -> None:
    network, counts = small_network(**CASES[case]), recordings()
    outputs, spikes = framework(network, counts)
    conversion = convert(network, STEPS, "sum_cross_entropy")
    simulator = Simulator(conversion.network)
    assert all(0.02 < layer.mean() < 0.9 for layer in spikes), "the case shows nothing"
    for b, recording in enumerate(counts):
        answer = simulator.run(recording)
        np.testing.assert_array_equal(answer.outputs, outputs[:, b])
        for events, theirs, layer in zip(
            answer.spikes, spikes, conversion.network.layers, strict=True
        ):
            ours = raster(events, layer.neurons)
            np.testing.assert_array_equal(ours, theirs[:, b, layer.kept])


@pytest.mark.parametrize("objective", [
    "sum_cross_entropy", "mean_cross_entropy", "softmax_sum_cross_entropy", "last_cross_entropy",
    "step_cross_entropy",
])  # fmt: skip
def test_every_objective_has_its_own_classes(objective: str) -> None:
    """As the task decides; and on these samples no other objective decides alike."""
    network, counts = small_network(readout="leaky", seed=21), recordings(8)
    labels = torch.zeros(8, STEPS, dtype=torch.long)
    outputs = torch.from_numpy(framework(network, counts)[0])

    def classes(name: str) -> Any:
        label = labels if name.startswith("step") else labels[:, 0]
        return TASKS[name].score(outputs, label).predicted.numpy()

    simulator = Simulator(convert(network, STEPS, objective).network)
    ours = np.stack([simulator.run(recording).classes for recording in counts])
    np.testing.assert_array_equal(ours, classes(objective))
    same = objective.replace("mean_", "sum_")
    others = {"sum_cross_entropy", "softmax_sum_cross_entropy", "last_cross_entropy"} - {same}
    assert all(not np.array_equal(ours, classes(other)) for other in others)


@pytest.mark.parametrize("delay", [0, 1, STEPS - 2, STEPS - 1, STEPS + 5])
def test_a_spike_comes_back_one_step_and_a_delay_later(delay: int) -> None:
    """One neuron that excites itself; its threshold is reached exactly."""
    network = _one_neuron(delay)
    counts = np.zeros((STEPS, 1), np.uint8)
    counts[0] = 1
    events = Simulator(convert(network, STEPS, "sum_cross_entropy").network).run(counts).spikes[0]
    expected = [int(t % (delay + 1) == 0) for t in range(STEPS)]
    assert raster(events, 1)[:, 0].tolist() == expected


def test_nothing_is_left_of_the_recording_before() -> None:
    simulator = Simulator(convert(small_network(), STEPS, "sum_cross_entropy").network)
    first, second, _ = recordings()
    alone = simulator.run(first).outputs
    simulator.run(second)
    np.testing.assert_array_equal(simulator.run(first).outputs, alone)


def test_a_count_is_that_many_events() -> None:
    network = _one_neuron(STEPS, weight=0.375)
    simulator = Simulator(convert(network, STEPS, "sum_cross_entropy").network)
    for count, fires in ((1, 0), (2, 0), (3, 1)):
        answer = simulator.run(np.full((1, 1), count, np.uint8))
        assert len(answer.spikes[0].sender) == fires


def test_images_are_scaled_as_the_loader_scales_them() -> None:
    network, counts = small_network(), recordings()
    outputs, _ = framework(network, counts, 0.25)
    deployed = convert(network, STEPS, "sum_cross_entropy", input_scale=0.25).network
    np.testing.assert_array_equal(Simulator(deployed).run(counts[0]).outputs, outputs[:, 0])


@pytest.mark.parametrize(("counts", "message"), [
    (np.zeros((STEPS + 1, CHANNELS), np.uint8), "exported for 12 at most"),
    (np.zeros((STEPS, CHANNELS + 1), np.uint8), r"expected \(T, 6\)"),
    (np.full((STEPS, CHANNELS), 0.5), "whole numbers"),
    (np.full((STEPS, CHANNELS), -1), "whole numbers"),
    (np.full((STEPS, CHANNELS), 256), "whole numbers"),
])  # fmt: skip
def test_other_recordings_are_refused(counts: Any, message: str) -> None:
    simulator = Simulator(convert(small_network(), STEPS, "sum_cross_entropy").network)
    with pytest.raises(ValueError, match=message):
        simulator.run(counts)


def _one_neuron(delay: int, weight: float = 1.0) -> SpikingNetwork:
    network = SpikingNetwork(1, 1, hidden=(1,), bias=False).eval()
    with torch.no_grad():
        for synapses in network.synapses():
            synapses.weight.fill_(1.0)
        network.synapses()[0].weight.fill_(weight)
        network.delays()["layers.0"].fill_(delay)
    return network
