"""network.nir, read back by the package nir alone and run by an interpreter of its definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy_cases import CASES, STEPS, recordings, small_network
from snnbreg.deploy import Simulator, convert, quantize, raster
from snnbreg.deploy.nir_graph import write_nir

nir = pytest.importorskip("nir")
nir_interpreter = pytest.importorskip("nir_interpreter")


@pytest.mark.parametrize("case", CASES)
def test_every_spike_is_in_the_graph(case: str, tmp_path: Path) -> None:
    network = convert(small_network(**CASES[case]), STEPS, "sum_cross_entropy").network
    path = tmp_path / "network.nir"
    write_nir(path, network, dt=0.01)
    graph = nir.read(path)
    assert float(graph.metadata["dt"]) == 0.01
    for recording in recordings(2):
        found = nir_interpreter.run(graph, recording, 0.01)
        answer = Simulator(network).run(recording)
        np.testing.assert_allclose(found["output"], answer.outputs, atol=1e-5)
        for i, (events, layer) in enumerate(zip(answer.spikes, network.layers, strict=True)):
            np.testing.assert_array_equal(found[f"layer{i}"], raster(events, layer.neurons))


def test_the_delays_matter(tmp_path: Path) -> None:
    """An interpreter that reads them as one step finds other spikes."""
    network = convert(small_network(), STEPS, "sum_cross_entropy").network
    write_nir(tmp_path / "network.nir", network, dt=0.01)
    graph, recording = nir.read(tmp_path / "network.nir"), recordings(1)[0]
    for node in graph.nodes.values():
        if type(node).__name__ == "Delay":
            node.delay[:] = 0.01
    found = nir_interpreter.run(graph, recording, 0.01)["layer0"]
    events = Simulator(network).run(recording).spikes[0]
    assert (found != raster(events, network.layers[0].neurons)).any()


def test_scaled_inputs_and_what_stands_in_the_metadata(tmp_path: Path) -> None:
    network: Any = small_network(reset="hard")
    deployed = convert(network, STEPS, "softmax_sum_cross_entropy", input_scale=0.25).network
    write_nir(tmp_path / "network.nir", deployed)
    graph, recording = nir.read(tmp_path / "network.nir"), recordings(1)[0]
    found = nir_interpreter.run(graph, recording, 1e-4)["output"]
    np.testing.assert_allclose(found, Simulator(deployed).run(recording).outputs, atol=1e-5)
    said = {key: graph.metadata[key] for key in ("reset", "decision", "steps")}
    assert said == {"reset": "zero", "decision": "softmax_sum", "steps": STEPS}


def test_integers_are_refused(tmp_path: Path) -> None:
    network = quantize(convert(small_network(), STEPS, "sum_cross_entropy").network, 8)
    with pytest.raises(ValueError, match="--bits 32"):
        write_nir(tmp_path / "network.nir", network)
