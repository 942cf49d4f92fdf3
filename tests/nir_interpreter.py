"""Runs a graph of NIR in steps of dt; knows the definitions of its nodes and nothing else.

Differential equations by forward Euler, spikes where v > v_threshold, and a Delay in whole steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def run(graph: Any, frames: Any, dt: float) -> dict[str, Any]:
    """What every node puts out, (T, ...), for inputs (T, C)."""
    sources: Mapping[str, list[str]] = {
        name: [a for a, b in graph.edges if b == name] for name in graph.nodes
    }
    order = _order(graph, sources, dt)
    history: dict[str, list[Any]] = {name: [] for name in graph.nodes}
    v: dict[str, Any] = {}
    for t, frame in enumerate(frames):
        for name in order:
            node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
            if kind == "Input":
                history[name].append(frame.astype(np.float64))
                continue
            if kind == "Delay":  # its source may come later in this step
                history[name].append(_delayed(node, history[sources[name][0]], t, dt))
                continue
            x = sum(history[source][t] for source in sources[name])
            history[name].append(_output(name, node, kind, x, v, dt))
    return {name: np.stack(values) for name, values in history.items()}


def _output(name: str, node: Any, kind: str, x: Any, v: dict[str, Any], dt: float) -> Any:
    if kind == "Affine":
        return node.weight.astype(np.float64) @ x + node.bias
    if kind == "Linear":
        return node.weight.astype(np.float64) @ x
    if kind == "Scale":
        return node.scale * x
    if kind == "Threshold":
        return (x > node.threshold).astype(np.float64)
    if kind == "Output":
        return x
    now = v.get(name, np.zeros(len(node.tau)))
    now = now + dt / node.tau * (node.v_leak - now + node.r * x)
    v[name] = now
    if kind == "LI":
        return now
    assert kind == "LIF", kind
    spikes = now > node.v_threshold
    v[name] = np.where(spikes, node.v_reset, now)
    return spikes.astype(np.float64)


def _delayed(node: Any, past: list[Any], t: int, dt: float) -> Any:
    steps = np.rint(node.delay / dt).astype(int)
    values = [past[t - d][j] if t >= d else 0.0 for j, d in enumerate(steps)]
    return np.array(values)


def _order(graph: Any, sources: Mapping[str, list[str]], dt: float) -> list[str]:
    """Every node behind its sources; a Delay of at least one step needs none of this step."""
    done: list[str] = []
    waiting = list(graph.nodes)
    while waiting:
        ready = [
            name
            for name in waiting
            if (type(graph.nodes[name]).__name__ == "Delay"
                and np.rint(graph.nodes[name].delay / dt).min() >= 1)
            or all(source in done for source in sources[name])
        ]  # fmt: skip
        assert ready, "a loop without a delay"
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done
