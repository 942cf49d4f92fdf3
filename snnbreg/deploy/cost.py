"""What an exported network costs: NeuroBench's figures, and what they leave out.

NeuroBench's names and definitions (version 2.3), all per sample and of the hidden layers:

- ``ParameterCount``, ``Footprint`` (bytes of parameters and buffers): of the trained network.
- ``ConnectionSparsity``: zeros / weights, over all matrices of the trained network, the recurrent
  ones included, which NeuroBench itself does not see.
- ``ActivationSparsity``: 1 - spikes / (neurons steps).
- ``SynapticOperations``: ``Dense``, every weight in every step; ``Effective_MACs`` and
  ``Effective_ACs``, non-zero weights that an event meets, of matrices that see other values than 0
  and 1 (input counts) and of those that do not. An event of several counts is one operation.
- ``MembraneUpdates``: neurons in the first step, then membranes that differ from the step before.

Left out there: that an event may count several times, that recurrent spikes may arrive after the
end (they are not counted here), the bytes of indices and delays, and of what waits to arrive.

Reference: Yik et al. 2025, "The neurobench framework for benchmarking neuromorphic computing
algorithms and systems", Nature Communications 16, and its code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from snnbreg.deploy.network import Array, DeployedNetwork, Synapses
from snnbreg.deploy.simulator import Answer, Events, Simulator, raster
from snnbreg.deploy.tables import Table, index_type, matrices, padded, tables, waiting


def cost(network: DeployedNetwork, recordings: Iterable[Array]) -> dict[str, Any]:
    """The cost of a network on some recordings.

    Args:
        network: as ``convert``, ``quantize`` or ``read_network`` return it.
        recordings: (T, C) counts each; at least one.

    Returns:
        For ``cost.json``: ``neurobench``, ``operations``, ``events``, ``bytes`` and ``samples``.
    """
    simulator = Simulator(network)
    rows: list[dict[str, float]] = []
    multiplied = False  # whether any input count is neither 0 nor 1
    for recording in recordings:
        rows.append(_sample(network, simulator, recording))
        multiplied |= bool((recording > 1).any()) or network.input_scale != 1.0
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    names = [name for name, _ in network.matrices()]
    macs = names[:1] if multiplied else []
    effective = {name: table[name] for name in names}
    operations = np.sum(list(effective.values()), 0)
    trained = network.about["trained"]
    neurobench = {
        "ParameterCount": trained["parameters"],
        "Footprint": trained["bytes"],
        "ConnectionSparsity": round(1.0 - trained["nonzero"] / trained["weights"], 4),
        "ActivationSparsity": 1.0 - table["spikes"].sum() / table["neuron_steps"].sum(),
        "SynapticOperations": {
            "Dense": float(table["steps"].mean()) * trained["weights"],
            "Effective_MACs": sum(float(effective[name].mean()) for name in macs),
            "Effective_ACs": sum(float(effective[n].mean()) for n in names if n not in macs),
        },
        "MembraneUpdates": float(table["updates"].mean()),
    }
    return {
        "samples": len(rows),
        "neurobench": neurobench,
        "operations": {
            **_spread(operations),
            "by_matrix": {name: float(effective[name].mean()) for name in names},
            "with_multiplicity": _spread(operations - table[names[0]] + table["multiplicity"]),
        },
        "events": {
            "input_events": float(table["events"].mean()),
            "input_counts": float(table["counts"].mean()),
            "spikes_by_layer": [
                float(table[f"spikes.{i}"].mean()) for i in range(len(network.layers))
            ],
        },
        "bytes": size(network),
    }


def size(network: DeployedNetwork, layout: str = "auto") -> dict[str, int]:
    """Bytes: of the dense network in float32, of the compressed tables, of the memory to run it.

    Args:
        network: exported.
        layout: of the tables, see ``tables``.
    """
    found = tables(network, layout)
    parts = {
        "weights": _bytes(found, "weight"),
        "indices": _bytes(found, "start", "receiver", "lists"),
        "delays": _bytes(found, "delay"),
    }
    parts["biases_and_thresholds"] = sum(t.values.nbytes for t in found) - sum(parts.values())
    rings = sum(
        ring.nbytes
        for _, _, own in matrices(network, layout)
        for ring in map(waiting, own)
        if ring is not None
    )
    trained = network.about["trained"]
    return {
        "dense_float32": 4 * (trained["weights"] + trained["biases"]),
        **parts,
        "tables": sum(parts.values()),
        "rings": rings,
        "memory": rings + _memory(network, layout),
        "longest_delay": max(synapses.longest_delay for _, synapses in network.matrices()),
    }


def _memory(network: DeployedNetwork, layout: str) -> int:
    """Membranes, currents and spikes of a step, as the C program has them."""
    total = 0
    for i, layer, own in matrices(network, layout):
        wide = padded(layer.neurons) if any(matrix.rows for matrix in own) else layer.neurons
        total += 4 * (layer.neurons + wide * (1 + (layer.gain is not None)))
        if i < len(network.layers) or network.readout_kind == "spiking":
            total += 4 * layer.neurons + (layer.neurons + 1) * index_type(layer.neurons).itemsize
    return total


def _bytes(found: list[Table], *endings: str) -> int:
    return sum(t.values.nbytes for t in found if t.name.rpartition("_")[2] in endings)


def _sample(network: DeployedNetwork, simulator: Simulator, recording: Array) -> dict[str, float]:
    """What one recording makes the network do."""
    answer, steps = simulator.run(recording, membranes=True), len(recording)
    events = simulator.events(recording)
    row: dict[str, float] = {
        "steps": steps,
        "events": len(events.sender),
        "counts": int(recording.sum()),
        "spikes": sum(len(spikes.sender) for spikes in answer.spikes),
        "neuron_steps": steps * sum(layer.neurons for layer in network.layers),
        "updates": _updates(network, answer),
    }
    sources = [events, *answer.spikes]
    for i, layer in enumerate(network.all_layers()):
        ends = f"layers.{i}" if i < len(network.layers) else "readout"
        row[f"{ends}.feedforward"] = _operations(sources[i], layer.feedforward, steps, 0)
        if layer.recurrent is not None:
            row[f"{ends}.recurrent"] = _operations(sources[i + 1], layer.recurrent, steps, 1)
        if i < len(network.layers):
            row[f"spikes.{i}"] = len(answer.spikes[i].sender)
    whole = events._replace(value=recording[np.nonzero(recording)])
    row["multiplicity"] = _operations(whole, network.layers[0].feedforward, steps, 0, True)
    return row


def _operations(
    events: Events, synapses: Synapses, steps: int, later: int, counted: bool = False
) -> int:
    """Weights that events meet until the last step; an event of n counts once, or n times."""
    step = np.repeat(np.arange(steps), np.diff(events.pointer))
    first, count = synapses.lists[events.sender], np.diff(synapses.lists)[events.sender]
    event = np.repeat(np.arange(len(count)), count)  # of every list that an event sets off
    a = first[event] + np.arange(len(event)) - (np.cumsum(count) - count)[event]
    inside = step[event] + later + synapses.delay[a] < steps
    entries = np.diff(synapses.pointer)[a] * inside
    times = events.value[event] if counted else 1
    return int((entries * times).sum(dtype=np.int64))


def _updates(network: DeployedNetwork, answer: Answer) -> int:
    """Neurons in the first step, then membranes after reset that are not what they were."""
    total = 0
    for layer, h, events in zip(network.layers, answer.membranes, answer.spikes, strict=True):
        fired = raster(events, layer.neurons).astype(bool)
        after = h - layer.threshold if network.reset == "soft" else np.zeros_like(h)
        v = np.where(fired, after, h)
        total += layer.neurons + int((v[1:] != v[:-1]).sum())
    return total


def _spread(values: Array) -> dict[str, float]:
    """Mean and standard deviation over samples."""
    return {"mean": float(values.mean()), "deviation": float(values.std())}
