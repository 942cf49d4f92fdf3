"""Fine-tuning for few bits: weights on the grid, zeros and delays untouched, a loss that falls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deploy_cases import STEPS, recordings, small_network
from snnbreg.deploy import DeployedNetwork, convert, finetune, quantize
from snnbreg.models import SpikingNetwork
from snnbreg.training import TASKS

TASK = TASKS["sum_cross_entropy"]


def _batches(epoch: int) -> Iterable[tuple[Any, Any]]:
    frames = torch.from_numpy(recordings(12)).transpose(0, 1).float()
    yield frames, torch.arange(12) % 3


def _deployed(network: SpikingNetwork) -> DeployedNetwork:
    return convert(network, STEPS, "sum_cross_entropy").network


def _network(norm: str = "none") -> SpikingNetwork:
    network = small_network(norm=norm, dropout=0.0, recurrent_dropout=0.0, delay_scale=2.0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
    return network


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_weights_are_what_integers_make_of_them(norm: str) -> None:
    network = _network(norm)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    finetune(network, _deployed(network), _batches, TASK, 4, 3)
    for name, value in network.state_dict().items():
        if name.endswith("linear.weight") or name.endswith("neuron.weight"):
            assert not torch.equal(value, before[name])
            assert (value[before[name] == 0] == 0).all()
        elif not name.endswith("linear.bias"):
            assert torch.equal(value, before[name]), name
    assert not network.training
    floats = _deployed(network)
    wholes = quantize(floats, 4)
    for one, whole in zip(floats.all_layers(), wholes.all_layers(), strict=True):
        unit = one.threshold / whole.threshold * 2**wholes.fraction
        if one is floats.readout:
            unit = np.full(3, wholes.output_scale * 2**wholes.fraction)
        for (_, a), (_, b) in zip(one.matrices(), whole.matrices(), strict=True):
            np.testing.assert_allclose(a.dense(), b.dense() * unit[:, None], atol=0.02)


def test_the_loss_falls() -> None:
    network = _network()
    losses = finetune(network, _deployed(network), _batches, TASK, 4, 30, lr=0.02)
    assert len(losses) == 30
    assert losses[-1] < 0.7 * losses[0]


def test_at_least_one_epoch() -> None:
    with pytest.raises(ValueError, match="epochs=0"):
        finetune(_network(), _deployed(_network()), _batches, TASK, 4, 0)
