"""The integer network: its numbers by hand, its spikes by a literal loop, its range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from deploy_cases import CASES, STEPS, literal_integers, recordings, small_network
from snnbreg.deploy import (
    NAME,
    DeployedNetwork,
    Layer,
    Simulator,
    Synapses,
    convert,
    quantize,
    raster,
    read_network,
    write_network,
)
from snnbreg.deploy.integers import calibrate, check_range


def _deployed(objective: str = "sum_cross_entropy", **settings: Any) -> DeployedNetwork:
    return convert(small_network(**settings), STEPS, objective).network


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_the_equations(case: str, bits: int) -> None:
    settings = {"tau": 1.7, **CASES[case]}  # a leak that is no shift: floors of negatives
    network = quantize(_deployed(**settings), bits)
    for recording in recordings(2):
        answer = Simulator(network).run(recording)
        outputs, spikes = literal_integers(network, recording)
        np.testing.assert_array_equal(answer.outputs, outputs)
        for events, theirs, layer in zip(answer.spikes, spikes, network.layers, strict=True):
            np.testing.assert_array_equal(raster(events, layer.neurons), theirs)
        assert spikes[0].any()


def test_scaled_inputs_have_a_unit_of_their_own() -> None:
    network = small_network()
    scaled = convert(network, STEPS, "sum_cross_entropy", input_scale=1 / 255).network
    quantized = quantize(scaled, 8)
    gain = quantized.layers[0].gain
    assert gain is not None
    assert len(quantized.layers[0].feedforward.weight) == len(scaled.layers[0].feedforward.weight)
    recording = recordings(1)[0] * 80
    answer = Simulator(quantized).run(recording)
    outputs, _ = literal_integers(quantized, recording)
    np.testing.assert_array_equal(answer.outputs, outputs)
    floats = Simulator(scaled).run(recording, membranes=True).membranes[0][0]
    wholes = Simulator(quantized).run(recording, membranes=True).membranes[0][0]
    unit = scaled.layers[0].threshold / quantized.layers[0].threshold
    np.testing.assert_allclose(wholes * unit, floats, atol=0.05)


def test_numbers_by_hand() -> None:
    """W = [2, -1], U = [0.5] of one neuron: 8 bits, Q = 127, unit = 2/127."""
    layer = Layer(
        Synapses.of(np.array([[2.0, -1.0]], np.float32), np.zeros(2, int)),
        Synapses.of(np.array([[0.5]], np.float32), np.zeros(1, int)),
        np.array([0.25], np.float32), np.array([1.0], np.float32), np.arange(1),
    )  # fmt: skip
    readout = Layer(
        Synapses.of(np.array([[1.0], [-0.5]], np.float32), np.zeros(1, int)), None,
        np.array([0.1, 0.0], np.float32), np.ones(2, np.float32), np.arange(2),
    )  # fmt: skip
    network = DeployedNetwork([layer], readout, 5, 2, 0.6, "soft", "linear", "sum_cross_entropy")
    found = quantize(network, 8)
    assert found.layers[0].feedforward.weight.tolist() == [127, -63]  # -63.5, half up
    assert found.layers[0].recurrent.weight.tolist() == [32]  # type: ignore[union-attr] # 31.75
    assert found.layers[0].threshold.tolist() == [1016]  # 127 / 2 * 16
    assert found.layers[0].bias.tolist() == [254]
    assert found.leak * 2**15 == 19661  # 19660.8
    assert found.readout.feedforward.weight.tolist() == [127, -63]
    assert found.readout.bias.tolist() == [203, 0]  # 0.1 * 127 * 16 = 203.2
    assert found.output_scale == pytest.approx(1 / 127 / 16)
    clipped = quantize(network, 4, clip=0.5)  # Q = 7 stands for 1
    assert clipped.layers[0].feedforward.weight.tolist() == [7, -7]
    assert clipped.layers[0].recurrent.weight.tolist() == [4]  # type: ignore[union-attr] # 3.5


@pytest.mark.parametrize("objective", ["sum_cross_entropy", "softmax_sum_cross_entropy"])
def test_eight_bits_are_close_to_floats(objective: str) -> None:
    network = _deployed(objective, readout="leaky")
    recording = recordings(1)[0]
    floats, wholes = Simulator(network), Simulator(quantize(network, 8))
    one, other = floats.run(recording), wholes.run(recording)
    same = (other.outputs * wholes.network.output_scale - one.outputs)[:2]  # before spikes differ
    assert np.abs(same).max() < 0.05
    if objective.startswith("softmax"):  # the shares themselves, on the same outputs
        from snnbreg.deploy.decisions import integer_shares, softmax

        shares = integer_shares(wholes.network, other.outputs) / 2**16
        wanted = softmax(other.outputs * wholes.network.output_scale)
        np.testing.assert_allclose(shares, wanted, atol=0.004)


@pytest.mark.parametrize("objective", ["sum_cross_entropy", "softmax_sum_cross_entropy"])
def test_calibration_takes_the_clip_that_is_closest(objective: str) -> None:
    network, counts = _deployed(objective), list(recordings(5))
    found, tried = calibrate(network, 4, counts)
    unit = 2.0**-16 if objective.startswith("softmax") else found.output_scale
    squares = [
        np.square(Simulator(found).run(x).scores * unit - Simulator(network).run(x).scores)
        for x in counts
    ]
    assert np.mean(squares) == pytest.approx(min(tried["distance"].values()))
    assert len(set(tried["distance"].values())) > 1
    again = quantize(network, 4, tried["clip"]).layers[0].feedforward
    np.testing.assert_array_equal(again.weight, found.layers[0].feedforward.weight)


def test_rows_without_weights_and_extreme_rows() -> None:
    network = small_network()
    with torch.no_grad():
        network.synapses()[0].weight[0] = 0.0
        network.synapses()[1].weight[0] = 0.0
        network.layers[0].linear.bias[0] = 0.75  # fires by itself
        network.synapses()[1].weight[1] *= 100.0  # large U, small W
    deployed = convert(network, STEPS, "sum_cross_entropy").network
    quantized = quantize(deployed, 8)
    assert quantized.layers[0].threshold[0] == 127 * 16
    recording = recordings(1)[0]
    answer, (outputs, _) = (
        Simulator(quantized).run(recording),
        literal_integers(quantized, recording),
    )
    np.testing.assert_array_equal(answer.outputs, outputs)


def test_sums_that_do_not_fit_are_refused() -> None:
    network = quantize(_deployed(), 8)
    check_range(network)
    layer = network.layers[0]
    large = replace(layer, bias=np.full_like(layer.bias, 2**30))
    with pytest.raises(ValueError, match="layer 0 do not fit 32 bits"):
        check_range(replace(network, layers=[large, *network.layers[1:]]))
    with pytest.raises(ValueError, match="leak rounds to 1"):
        check_range(replace(network, leak=1.0))
    with pytest.raises(ValueError, match="integers of 8 bits already"):
        quantize(network, 4)


def test_fewer_fractional_bits_where_more_do_not_fit() -> None:
    network = _deployed(tau=300.0, hidden=(9,))
    synapses = network.layers[0].feedforward
    assert quantize(network, 8).fraction == 4
    sums = np.bincount(synapses.receiver, minlength=network.layers[0].neurons).max()
    assert sums > 1
    wide = replace(network, leak=1 - 2.0**-13)
    assert quantize(wide, 8).fraction < 4


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_integers_are_written_and_read(bits: int, tmp_path: Any) -> None:
    network = quantize(
        convert(small_network(), STEPS, "sum_cross_entropy", input_scale=0.25).network, bits
    )
    write_network(tmp_path / NAME, network)
    found, recording = read_network(tmp_path), recordings(1)[0]
    np.testing.assert_array_equal(
        Simulator(found).run(recording).outputs, Simulator(network).run(recording).outputs
    )
    broken = replace(network, bits=4) if bits > 4 else replace(network, bits=32)
    with pytest.raises(ValueError, match=r"beyond 4 bits|expected .*float32"):
        write_network(tmp_path / NAME, broken)
    assert read_network(tmp_path).bits == bits  # the file that was there is left alone
