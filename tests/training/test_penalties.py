"""Penalties on hidden spikes: their values by hand, and what they do to a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from snnbreg import assembly
from snnbreg.models import SpikingNetwork
from snnbreg.training import RunFolder
from snnbreg.training.penalties import Penalties, rate_bounds, spike_count

SPIKES = {
    "a": torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]]),  # (3, 1, 2): 2 and 1 spikes
    "b": torch.ones(3, 1, 1),
}


def test_spikes_are_counted_per_neuron_and_sample_and_summed_over_layers() -> None:
    assert float(spike_count(2.0)(SPIKES)) == 2.0 * ((2 + 1) / 2 + 3)


def test_rates_inside_the_bounds_cost_nothing() -> None:
    # rates 2/3 and 1/3 of layer a, 1 of layer b
    assert float(rate_bounds(1.0, 0.3, 1.0)(SPIKES)) == 0.0
    found = float(rate_bounds(3.0, 0.5, 0.6)(SPIKES))
    expected = 3 * (((2 / 3 - 0.6) ** 2 + (0.5 - 1 / 3) ** 2) / 2 + 0.4**2)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "options", "named"),
    [
        (spike_count, {"weight": -1}, "weight of a penalty: -1"),
        (rate_bounds, {"weight": -1}, "weight of a penalty: -1"),
        (rate_bounds, {"weight": 1, "low": -0.1}, "low of a penalty: -0.1"),
        (rate_bounds, {"weight": 1, "low": 0.5, "high": 0.2}, "low of a penalty: 0.5"),
        (rate_bounds, {"weight": 1, "high": 2.0}, "high of a penalty: 2.0"),
    ],
)
def test_bad_options_are_named(make: Any, options: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=f"^Invalid {named}$"):
        make(**options)


def test_bounds_may_be_one_rate_and_a_weight_zero() -> None:
    assert float(rate_bounds(0.0, low=0.0, high=0.0)(SPIKES)) == 0.0
    assert float(rate_bounds(0.5, low=1.0, high=1.0)({"b": SPIKES["b"]})) == 0.0


def test_the_gradient_is_that_of_loss_and_penalty() -> None:
    torch.manual_seed(0)
    network = SpikingNetwork(3, 2, (5,), dropout=0.0, recurrent_dropout=0.0, sigma=2.0)
    frames = torch.rand(6, 4, 3) * 3
    penalties = Penalties(network, [spike_count(0.5)])
    with penalties.watching():
        penalties.added_to(network(frames).sum()).backward()
    weight = network.layers[0].linear.weight
    found = weight.grad.clone()
    network.zero_grad()
    spikes = []
    hook = network.layers[0].neuron.register_forward_hook(lambda m, a, s: spikes.append(s))
    loss = network(frames).sum() + 0.5 * spikes[0].sum(0).mean()
    loss.backward()
    hook.remove()
    assert torch.equal(found, weight.grad)
    network.zero_grad()
    network(frames).sum().backward()
    assert not torch.equal(found, weight.grad)


def test_a_network_without_spikes_has_nothing_to_penalise() -> None:
    Penalties(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="needs a network with spiking layers"):
        Penalties(nn.Linear(2, 2), [spike_count(1.0)])


def test_a_penalty_in_the_config_makes_a_network_quieter(
    small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    rates = []
    for weight in (0, 100):
        config = small(
            "optim=adam",
            "optim.lr=0.05",
            f"trainer.penalties=[{{name: spike_count, weight: {weight}}}]",
        )
        rates.append(train(config, RunFolder(tmp_path / str(weight)))["firing_rate"])
    assert rates[1] < 0.5 * rates[0]


@pytest.mark.parametrize(("penalties", "message"), [
    ("[{name: spike_cuont, weight: 1}]", "Did you mean spike_count"),
    ("[{name: spike_count, low: 1}]", "spike_count takes weight, not low"),
    ("[spike_count]", "list of mappings"),
])  # fmt: skip
def test_a_wrong_penalty_is_explained(
    small: Callable[..., dict[str, Any]], penalties: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assembly.methods.build_penalties(small(f"trainer.penalties={penalties}"))
