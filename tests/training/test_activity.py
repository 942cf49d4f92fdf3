"""Counting spikes and synaptic operations, against a count by hand."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from snnbreg.training.activity import Activity


class Synapses(NamedTuple):
    name: str
    weight: Tensor
    senders: str


class Doubling(nn.Module):
    """Two neurons that repeat their input channels; one recurrent matrix, one readout."""

    def __init__(self) -> None:
        super().__init__()
        self.neurons = nn.Identity()
        self.inward = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
        self.recurrent = torch.tensor([[0.0, 1.0], [0.0, 1.0]])

    def forward(self, frames: Tensor) -> Tensor:
        return self.neurons(frames[..., :2])

    def spiking_layers(self) -> dict[str, nn.Module]:
        return {"hidden": self.neurons}

    def synapses(self) -> list[Synapses]:
        return [Synapses("in", self.inward, "input"), Synapses("rec", self.recurrent, "hidden")]


@pytest.fixture
def frames() -> Tensor:
    """(T, B, C) = (3, 2, 3): channel 0 twice, channel 1 never, channel 2 three times."""
    frames = torch.zeros(3, 2, 3)
    frames[0, 0, 0] = frames[2, 1, 0] = 1.0
    frames[0, 1, 2] = frames[1, 1, 2] = frames[2, 0, 2] = 4.0
    return frames


def test_summary_counts_by_hand(frames: Tensor) -> None:
    network, activity = Doubling(), Activity()
    with activity.of(network):
        network(frames)
        network(frames)
    summary = activity.summary(network)
    assert summary["firing_rate"] == 4 / (2 * 3 * 2 * 2)
    assert summary["silent"] == 1
    assert activity.rates() == {"hidden": summary["firing_rate"]}
    # per pass: 2 events of input channel 0 to 1 weight, 3 x 4 of channel 2 to 2 weights;
    # neuron 0 fires twice into no recurrent weight, neuron 1 never: 26 for 2 samples
    assert summary["synops"] == 13.0


def test_an_analog_value_is_one_event_and_a_whole_number_as_many() -> None:
    activity = Activity()
    with activity.of(network := Doubling()):
        network(torch.tensor([[[0.25, 3.0, -0.5]], [[0.0, 1.0, 7.5]]]))
    assert activity.counts["input"].tolist() == [1.0, 4.0, 2.0]


def test_rates_are_those_of_each_layer(frames: Tensor) -> None:
    class Two(Doubling):
        last = nn.Identity()

        def forward(self, frames: Tensor) -> Tensor:
            return self.last(super().forward(frames)[..., :1])

        def spiking_layers(self) -> dict[str, nn.Module]:
            return {**super().spiking_layers(), "last": self.last}

    network, activity = Two(), Activity()
    with activity.of(network):
        network(frames)
    # of two neurons one spikes twice in 3 steps of 2 samples; that one is the last layer
    assert activity.rates() == {"hidden": 2 / 12, "last": 2 / 6}
    assert activity.summary(network)["firing_rate"] == 4 / 18


def test_hooks_are_gone_afterwards_and_after_an_error(frames: Tensor) -> None:
    network, activity = Doubling(), Activity()
    with pytest.raises(RuntimeError), activity.of(network):
        raise RuntimeError
    network(frames)
    assert activity.counts == {}


def test_one_sample_that_wakes_nobody() -> None:
    network, activity = Doubling(), Activity()
    frames = torch.zeros(3, 1, 3)
    frames[1, 0, 2] = 1.0
    with activity.of(network):
        network(frames)
    assert activity.summary(network) == {"firing_rate": 0.0, "silent": 2, "synops": 2.0}


def test_nothing_was_counted_yet() -> None:
    """A network whose hidden layers did not run has no firing rate, and no error."""
    network = Doubling()
    network.synapses = list  # type: ignore[assignment]
    expected = {"firing_rate": 0.0, "silent": 0, "synops": 0.0}
    assert Activity().summary(network) == expected
