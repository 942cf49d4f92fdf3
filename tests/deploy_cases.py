"""Small networks to deploy, and their equations as a literal loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from snnbreg.deploy import DeployedNetwork
from snnbreg.models import SpikingNetwork

STEPS, CHANNELS, CLASSES = 12, 6, 3

CASES: dict[str, dict[str, Any]] = {
    "soft": {},
    "hard": {"reset": "hard"},
    "one plain layer": {"hidden": (9,), "recurrent": False},
    "three layers": {"hidden": (7, 5, 6), "recurrent": (True, False, True)},
    "without bias": {"bias": False},
    "without delays": {"delays": "none"},
    "synaptic": {"delays": "synaptic"},
    "common": {"delays": "common", "learn_spread": True},
    "feed-forward delays": {"feedforward_delays": ("axonal", "synaptic")},
    "leaky readout": {"readout": "leaky", "reset": "hard"},
    "spiking readout": {"readout": "spiking"},
    "no leak": {"tau": 1.0},
}
"""Settings of networks, all of which add numbers that float32 holds exactly."""


def small_network(seed: int = 0, density: float = 0.5, **settings: Any) -> SpikingNetwork:
    """A sparse network whose weights are multiples of 1/16, so that no sum is ever rounded."""
    torch.manual_seed(seed)
    network = SpikingNetwork(
        CHANNELS, CLASSES, **{"hidden": (9, 8), "delay_scale": 4.0, "sigma": 3.0, **settings}
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("delay", "spread")):
                continue
            parameter.copy_(torch.randn_like(parameter).mul_(10).round_().div_(16))
            if parameter.ndim == 2:
                parameter.mul_(torch.rand_like(parameter) < density)
    return network.eval()


def recordings(samples: int = 3, seed: int = 0, steps: int = STEPS) -> Any:
    """Counts, (samples, steps, CHANNELS) uint8, most of them zero."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 4, (samples, steps, CHANNELS), dtype=np.uint8)
    return counts * (generator.random(counts.shape) < 0.4)


def framework(network: SpikingNetwork, counts: Any, scale: float = 1.0) -> tuple[Any, list[Any]]:
    """Outputs (T, B, K) and the hidden layers' spikes (T, B, N) of the deployed evaluation."""
    spikes: list[Any] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, found: spikes.append(found.numpy()))
        for layer in network.spiking_layers().values()
    ]
    frames = torch.from_numpy(counts).transpose(0, 1).float() * scale
    with torch.no_grad(), network.hard_delays(0.0):
        outputs = network(frames).numpy()
    for hook in hooks:
        hook.remove()
    return outputs, spikes


def literal_integers(network: DeployedNetwork, counts: Any) -> tuple[Any, list[Any]]:
    """An integer network by its equations, in Python's whole numbers: outputs and spikes.

    Every weight is looked up by its receiver, sender and delay, and sums are never wrapped.
    """
    below = [[int(c) for c in row] for row in counts]
    m = round(network.leak * 2**15)
    rasters = []
    for layer in network.all_layers():
        last = layer is network.readout
        kind = network.readout_kind if last else "hidden"
        entries = {name: _entries(synapses) for name, synapses in layer.matrices()}
        v = [0] * layer.neurons
        sent: list[list[int]] = []
        outputs = []
        for t in range(len(below)):
            h = []
            for i in range(layer.neurons):
                w = sum(
                    weight * below[t - d][j]
                    for r, j, d, weight in entries["feedforward"]
                    if r == i and t - d >= 0
                )
                u = sum(
                    weight * sent[t - 1 - d][j]
                    for r, j, d, weight in entries.get("recurrent", [])
                    if r == i and t - 1 - d >= 0
                )
                scaled = w * 2**network.fraction
                if layer.gain is not None:
                    scaled = (w * int(layer.gain[i])) // 2**15
                kept = 0 if kind == "linear" else (v[i] * m) // 2**15
                h.append(kept + scaled + u * 2**network.fraction + int(layer.bias[i]))
            fired = [int(h[i] >= layer.threshold[i]) for i in range(layer.neurons)]
            if kind in ("hidden", "spiking"):
                soft = network.reset == "soft"
                v = [
                    (h[i] - int(layer.threshold[i]) if soft else 0) if fired[i] else h[i]
                    for i in range(layer.neurons)
                ]
                sent.append(fired)
                outputs.append(fired)
            else:
                v = h
                outputs.append(h)
        below = sent
        rasters.append(np.array(outputs))
    return rasters[-1], rasters[:-1]


def _entries(synapses: Any) -> list[tuple[int, int, int, int]]:
    """Receiver, sender, delay and weight of every synapse."""
    found = []
    for sender in range(synapses.senders):
        for a in range(synapses.lists[sender], synapses.lists[sender + 1]):
            for k in range(synapses.pointer[a], synapses.pointer[a + 1]):
                entry = (synapses.receiver[k], sender, synapses.delay[a], synapses.weight[k])
                found.append(tuple(int(number) for number in entry))
    return found
