"""A deployed network as a graph of NIR, the Neuromorphic Intermediate Representation.

NIR's neurons are differential equations, which a reader discretises; with forward Euler and the
step dt, tau = dt / (1 - leak) and r = tau / dt give exactly

    v <- v + dt / tau (v_leak - v + r I) = leak v + I.

NIR fires at v > threshold, we at v >= threshold: the file holds the next smaller float32.
A recurrent spike takes 1 + d steps: LIF -> Delay((1 + d) dt) -> Linear -> LIF. So every loop
holds a delay of at least one step, and no convention of a reader about loops matters.
NIR's LIF resets to a value. A soft reset is written as it acts, H[t] = leak H[t-1] + I[t] -
leak theta S[t-1]: LI -> Threshold, and back Threshold -> Delay(dt) -> Scale(-leak theta) -> LI.

What has no node stands in the metadata of the graph: dt, the reset, how a class follows.

Reference: Pedersen et al. 2024, "Neuromorphic intermediate representation", Nature Communications
15, and the package nir 1.0.8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from snnbreg.deploy.network import Array, DeployedNetwork, Layer, Synapses

NAME = "network.nir"
DT = 1e-4
"""Seconds of a step in the file where nothing else is said; some readers take no other."""


class Builder:
    """Nodes and edges of a graph."""

    def __init__(self, network: DeployedNetwork, dt: float) -> None:
        import nir

        self.nir: Any = nir
        self.network, self.dt = network, dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: Any, *sources: str) -> str:
        """A node behind others; returns its name."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def graph(self) -> Any:
        """The whole network."""
        network, nir = self.network, self.nir
        below = self.add("input", nir.Input({"input": np.array([network.inputs])}))
        if network.input_scale != 1.0:
            scale = np.full(network.inputs, network.input_scale, np.float32)
            below = self.add("input_scale", nir.Scale(scale), below)
        for i, layer in enumerate(network.layers):
            sums = self.feedforward(f"layer{i}", layer, below)
            below = self.neurons(f"layer{i}", layer, sums)
            if layer.recurrent is not None:
                entry = self.edges_to(f"layer{i}")
                for last in self.synapses(f"layer{i}_recurrent", layer.recurrent, below, 1, None):
                    self.edges.append((last, entry))
        sums = self.feedforward("readout", network.readout, below)
        outputs = sums
        if network.readout_kind == "leaky":
            self.add("readout", self.integrator(network.classes), *sums)
            outputs = ["readout"]
        elif network.readout_kind == "spiking":
            outputs = [self.neurons("readout", network.readout, sums)]
        self.add("output", nir.Output({"output": np.array([network.classes])}), *outputs)
        metadata = {
            "dt": self.dt,
            "reset": "subtract" if network.reset == "soft" else "zero",
            "decision": network.decision,
            "steps": network.steps,
            "made_by": "snnbreg",
        }
        return nir.NIRGraph(self.nodes, self.edges, metadata=metadata)

    def edges_to(self, layer: str) -> str:
        """The node of a layer's membranes."""
        return f"{layer}_membrane" if self.network.reset == "soft" else layer

    def feedforward(self, name: str, layer: Layer, below: str) -> list[str]:
        """A layer's feed-forward currents, the bias with the first of them."""
        return self.synapses(f"{name}_feedforward", layer.feedforward, below, 0, layer.bias)

    def synapses(
        self, name: str, synapses: Synapses, source: str, later: int, bias: Array | None
    ) -> list[str]:
        """Weights behind their delays; the nodes whose sum is the current."""
        nir, found = self.nir, []
        for branch, (delay, weight) in enumerate(_branches(synapses, later)):
            ends, start = f"{name}{branch or ''}", source
            if delay.any():
                start = self.add(f"{ends}_delay", nir.Delay(delay * self.dt), source)
            node = nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
            found.append(self.add(ends, node, start))
            bias = None
        return found

    def neurons(self, name: str, layer: Layer, sums: list[str]) -> str:
        """Neurons that fire; the node of their spikes."""
        nir, network = self.nir, self.network
        below = np.nextafter(layer.threshold, np.float32(-np.inf))
        if network.reset == "hard":
            li = self.integrator(layer.neurons)
            zero = np.zeros(layer.neurons)
            node = nir.LIF(li.tau, li.r, zero, below, v_reset=zero)
            return self.add(name, node, *sums)
        membrane = self.add(f"{name}_membrane", self.integrator(layer.neurons), *sums)
        spikes = self.add(name, nir.Threshold(below), membrane)
        one = np.full(layer.neurons, self.dt)
        late = self.add(f"{name}_reset_delay", nir.Delay(one), spikes)
        factor = -network.leak * layer.threshold.astype(np.float64)
        self.edges.append((self.add(f"{name}_reset", nir.Scale(factor), late), membrane))
        return spikes

    def integrator(self, neurons: int) -> Any:
        """Membranes that never fire."""
        tau = np.full(neurons, self.dt / (1.0 - self.network.leak))
        return self.nir.LI(tau, tau / self.dt, np.zeros(neurons))


def _branches(synapses: Synapses, later: int) -> list[tuple[Array, Array]]:
    """Delays in steps, (senders,), and the matrix behind them; one pair per distinct delay."""
    if synapses.one_list_per_sender:
        return [(synapses.delay + later, synapses.dense())]
    of_entry = np.repeat(synapses.delay, np.diff(synapses.pointer))
    found = []
    for delay in np.unique(of_entry):
        matrix = np.zeros((synapses.receivers, synapses.senders), synapses.weight.dtype)
        own = of_entry == delay
        matrix[synapses.receiver[own], synapses.sender()[own]] = synapses.weight[own]
        found.append((np.full(synapses.senders, delay + later), matrix))
    return found or [(np.full(synapses.senders, later), synapses.dense())]


def write_nir(path: Path, network: DeployedNetwork, dt: float = DT) -> None:
    """Write a network of floats as a graph of NIR.

    Args:
        path: of the file.
        network: of floats: integers with a shift as the leak have no node.
        dt: seconds of a step.

    Raises:
        ModuleNotFoundError: the package nir is not installed.
        ValueError: the network has integers.
    """
    if network.integer:
        raise ValueError("NIR has no neurons of whole numbers: export with --bits 32")
    builder = Builder(network, dt)
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.nir.write(path, builder.graph())
