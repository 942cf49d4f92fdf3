"""From a trained network to the one that is deployed.

Batch norm is folded into the weights in float64 and stored as float32, delays are rounded half to
even, and what cannot change an output is left out: see ``removal``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from snnbreg.deploy.network import DECISIONS, Array, DeployedNetwork, Layer, Synapses
from snnbreg.deploy.removal import Dense, living
from snnbreg.models import DelayedRecurrentLIF, SpikingNetwork
from snnbreg.models.delay import Delay
from snnbreg.models.layers import SpikingLayer
from snnbreg.models.lif import LIF, LeakyIntegrator

MOST_COUNTS = 255  # frames are bytes


@dataclass(frozen=True)
class Conversion:
    """A deployed network and what became of the trained one.

    Attributes:
        network: to run.
        removed: by layer, the neurons that were left out, by their numbers.
        late: weights left out because what they carry arrives after the last step.
    """

    network: DeployedNetwork
    removed: list[dict[str, list[int]]]
    late: int


def convert(
    network: nn.Module,
    steps: int,
    objective: str,
    input_scale: float = 1.0,
    about: dict[str, Any] | None = None,
) -> Conversion:
    """Deploy a trained network.

    Args:
        network: a ``SpikingNetwork``; it is not changed.
        steps: T of the longest recording.
        objective: the loss it was trained with.
        input_scale: a count c of a recording is shown to the network as c * input_scale.
        about: kept in the file.

    Raises:
        ValueError: another kind of network or objective; the message says which are supported.
    """
    if type(network) is not SpikingNetwork:
        raise ValueError(
            f"A network of the class {type(network).__name__} cannot be exported: only "
            "SpikingNetwork can (model=spoken_digits, shd, ssc, ...)"
        )
    if objective not in DECISIONS:
        raise ValueError(
            f"model.objective={objective} leads to no class and cannot be exported: "
            f"choose one of {', '.join(DECISIONS)}"
        )
    hidden = [_dense(cast(SpikingLayer, layer)) for layer in network.layers]
    linear, end = network.readout.linear, network.readout.neuron
    last = Dense(_array(linear.weight), _zeros(linear.in_features), None, None, _bias(linear))
    _check_finite([*hidden, last])
    late = sum(_drop_late(dense, steps) for dense in hidden)
    lif = cast(Any, network.layers[0]).neuron.lif
    kept, removed = living(hidden, last, lif.leak, lif.threshold, MOST_COUNTS * input_scale)
    below = np.arange(network.inputs)
    layers = []
    for dense, own in zip(hidden, kept, strict=True):
        layers.append(_layer(dense.part(own, below), own, lif.threshold))
        below = own
    outputs = np.arange(linear.out_features)
    kinds: dict[type[nn.Module], str] = {LIF: "spiking", LeakyIntegrator: "leaky"}
    deployed = DeployedNetwork(
        layers,
        _layer(last.part(outputs, below), outputs, lif.threshold),
        steps=steps,
        inputs=network.inputs,
        leak=lif.leak,
        reset=lif.reset,
        readout_kind=kinds.get(type(end), "linear"),
        objective=objective,
        input_scale=input_scale,
        input_max=MOST_COUNTS,
    )
    shape = {
        "weights": sum(entry.weight.numel() for entry in network.synapses()),
        "nonzero": sum(int((entry.weight != 0).sum()) for entry in network.synapses()),
        "neurons": [len(dense.bias) for dense in hidden],
        "parameters": sum(p.numel() for p in network.parameters()),
        "bytes": sum(t.nbytes for t in [*network.parameters(), *network.buffers()]),
        "biases": sum(len(dense.bias) for dense in [*hidden, last]),
        "batch_norm": any(not isinstance(layer.norm, nn.Identity) for layer in _hidden(network)),
    }
    about = {**(about or {}), "trained": shape, "removed": removed, "late": late}
    return Conversion(replace(deployed, about=about), removed, late)


def _hidden(network: SpikingNetwork) -> list[SpikingLayer]:
    return [cast(SpikingLayer, layer) for layer in network.layers]


def _dense(layer: SpikingLayer) -> Dense:
    """A hidden layer's matrices with the norm folded in."""
    weight, bias = _array(layer.linear.weight), _bias(layer.linear)
    if isinstance(layer.norm, nn.BatchNorm1d):
        mean, variance = layer.norm.running_mean, layer.norm.running_var
        if mean is None or variance is None:
            raise ValueError("A batch norm without running statistics cannot be folded")
        scale = 1.0 / np.sqrt(_array(variance) + layer.norm.eps)
        scale = scale if layer.norm.weight is None else scale * _array(layer.norm.weight)
        shift = 0.0 if layer.norm.bias is None else _array(layer.norm.bias)
        weight, bias = weight * scale[:, None], scale * (bias - _array(mean)) + shift
    elif not isinstance(layer.norm, nn.Identity):
        raise ValueError(f"A norm of the class {type(layer.norm).__name__} cannot be folded")
    delay = _delays(layer.linear) if isinstance(layer.linear, Delay) else _zeros(weight.shape[1])
    if isinstance(layer.neuron, DelayedRecurrentLIF):
        return Dense(weight, delay, _array(layer.neuron.weight), _delays(layer.neuron), bias)
    if type(layer.neuron) is not LIF:
        raise ValueError(f"Neurons of the class {type(layer.neuron).__name__} cannot be exported")
    return Dense(weight, delay, None, None, bias)


def _drop_late(dense: Dense, steps: int) -> int:
    """Zero the weights, in place, over which nothing arrives within T steps; how many."""
    late = (dense.weight != 0) & (dense.delay >= steps)
    dense.weight[late] = 0.0
    count = int(late.sum())
    if dense.recurrent is not None:
        assert dense.recurrent_delay is not None
        late = (dense.recurrent != 0) & (dense.recurrent_delay + 1 >= steps)
        dense.recurrent[late] = 0.0
        count += int(late.sum())
    return count


def _layer(dense: Dense, kept: Array, threshold: float) -> Layer:
    return Layer(
        feedforward=Synapses.of(dense.weight.astype(np.float32), dense.delay),
        recurrent=None
        if dense.recurrent is None or dense.recurrent_delay is None
        else Synapses.of(dense.recurrent.astype(np.float32), dense.recurrent_delay),
        bias=dense.bias.astype(np.float32),
        threshold=np.full(len(kept), threshold, np.float32),
        kept=kept,
    )


def _check_finite(layers: list[Dense]) -> None:
    for i, dense in enumerate(layers):
        for array in (dense.weight, dense.bias, dense.recurrent):
            if array is not None and not np.isfinite(array.astype(np.float32)).all():
                raise ValueError(
                    f"Layer {i} has weights or biases that are not finite: training has diverged. "
                    "Export an earlier checkpoint (--checkpoint FILE)"
                )


def _array(tensor: torch.Tensor) -> Array:
    """A copy in float64."""
    return tensor.detach().cpu().double().numpy().copy()


def _bias(linear: nn.Module) -> Array:
    bias = cast(Any, linear).bias
    return _zeros(cast(Any, linear).weight.shape[0], float) if bias is None else _array(bias)


def _delays(layer: Delay) -> Array:
    """Whole steps >= 0, (senders,) or (receivers, senders), as ``Delay.round_`` makes them."""
    delay = layer.delay_of_senders.detach().cpu()
    if not bool(delay.isfinite().all()):
        raise ValueError("A delay is not finite: training has diverged")
    return delay.round().clamp(min=0.0).long().numpy()


def _zeros(length: int, dtype: Any = np.int64) -> Array:
    return np.zeros(length, dtype)
