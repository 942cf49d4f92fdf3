"""A deployed network in whole numbers: small weights, integer membranes, a shift as the leak.

Each neuron i has a unit of its own, so that its weights fill the bits; the unit vanishes into its
threshold and bias. With Q = 2^(bits - 1) - 1, rnd(x) = floor(x + 1/2), F fractional bits of the
membrane and clip <= 1 the share of the largest weight that Q stands for:

    unit_i = clip max_j(|W_ij|, |U_ij|) / Q          one for all classes of the readout
    w = rnd(W / unit), u = rnd(U / unit)             limited to -Q .. Q
    b = rnd(b 2^F / unit), theta = max(1, rnd(threshold 2^F / unit))
    H = floor(m V / 2^15) + 2^F (sum w x + sum u S) + b,   m = rnd(leak 2^15)

All of it fits 32 bits, which ``check_range`` makes sure of; the product m V takes 64. Where inputs
are scaled (images: 1/255), W times the scale would round to nothing beside U: W then has a unit of
its own, and floor(g sum w x / 2^15) takes the place of 2^F sum w x, with
g = rnd(scale unit_W 2^(F + 15) / unit).

Source: the arithmetic of fixed-point LIF neurons as on Loihi (Davies et al. 2018) and the symmetric
quantization of weights per row (Nagel et al. 2021, arXiv 2106.08295, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snnbreg.deploy.decisions import exponent_factor, score_unit
from snnbreg.deploy.network import Array, DeployedNetwork, Layer, Synapses
from snnbreg.deploy.simulator import SHIFT, Simulator

FRACTION = 4
"""Fractional bits of the membrane, fewer where the sums would not fit."""
CLIPS: Mapping[int, Sequence[float]] = {
    8: (1.0,),
    6: (1.0, 0.9, 0.8),
    4: (1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
}
"""Shares of the largest weight that calibration tries, by the number of bits."""


def quantize(network: DeployedNetwork, bits: int, clip: float = 1.0) -> DeployedNetwork:
    """A network of floats in whole numbers.

    Args:
        network: of floats.
        bits: of a weight: 8, 6 or 4.
        clip: in (0, 1]; larger weights become Q.

    Raises:
        ValueError: its sums do not fit 32 bits.
    """
    if network.integer:
        raise ValueError(f"This network has integers of {network.bits} bits already")
    for fraction in range(FRACTION, -1, -1):
        layers = [
            _layer(layer, bits, fraction, clip, network.input_scale if i == 0 else 1.0)
            for i, layer in enumerate(network.layers)
        ]
        common = network.readout_kind != "spiking"
        readout = _layer(network.readout, bits, fraction, clip, 1.0, common)
        found = replace(
            network, layers=layers, readout=readout, bits=bits, fraction=fraction,
            leak=round(network.leak * 2**SHIFT) / 2**SHIFT,
            output_scale=_output_scale(network, bits, fraction, clip),
        )  # fmt: skip
        try:
            check_range(found)
        except ValueError:
            if fraction == 0:
                raise
            continue
        return found
    raise AssertionError("unreachable")


def calibrate(
    network: DeployedNetwork, bits: int, counts: Sequence[Array]
) -> tuple[DeployedNetwork, dict[str, Any]]:
    """Quantize, with the clip whose scores are closest to those of the network of floats.

    Args:
        network: of floats.
        bits: of a weight.
        counts: training recordings, (T, C) each.

    Returns:
        The integer network, and what was tried: the chosen ``clip`` and, by clip, the mean squared
        ``distance`` of the scores.
    """
    floats = Simulator(network)
    wanted = [floats.run(recording).scores for recording in counts]
    tried: dict[float, float] = {}
    found: dict[float, DeployedNetwork] = {}
    for clip in CLIPS[bits]:
        found[clip] = quantize(network, bits, clip)
        simulator = Simulator(found[clip])
        unit = score_unit(found[clip])
        tried[clip] = sum(
            float(np.square(simulator.run(recording).scores * unit - scores).mean())
            for recording, scores in zip(counts, wanted, strict=True)
        ) / len(counts)
    clip = min(tried, key=lambda clip: tried[clip])
    return found[clip], {"clip": clip, "samples": len(counts), "distance": tried}


def check_range(network: DeployedNetwork) -> None:
    """Refuse a network whose sums do not fit 32 bits, whatever the recordings.

    The bound of a membrane is that of ``removal``: every sender firing in every step for ever.

    Raises:
        ValueError: naming the layer.
    """
    leak = round(network.leak * 2**SHIFT) / 2**SHIFT
    if leak >= 1.0:
        raise ValueError("The leak rounds to 1: tau is too large for integers of 15 bits")
    for i, layer in enumerate(network.all_layers()):
        largest_input = network.input_max if i == 0 else 1
        sums = [
            np.bincount(s.receiver, np.abs(s.weight.astype(np.float64)), layer.neurons)
            for _, s in layer.matrices()
        ]
        incoming = sums[0] * largest_input
        scaled = incoming * 2**network.fraction
        if layer.gain is not None:
            scaled = incoming * layer.gain / 2**SHIFT + 1
        recurrent = sums[1] * 2**network.fraction if len(sums) > 1 else 0.0
        total = scaled + recurrent + np.abs(layer.bias.astype(np.float64)) + 1
        forgets = layer is network.readout and network.readout_kind == "linear"
        membrane = total / (1.0 if forgets else 1.0 - leak) + layer.threshold
        if max(membrane.max(), incoming.max()) >= 2**31:
            raise ValueError(
                f"The sums of layer {i} do not fit 32 bits: its weights are too uneven"
            )
    if not exponent_factor(network) < 2**31:
        raise ValueError("The outputs are too coarse for a softmax in whole numbers")


def _layer(
    layer: Layer, bits: int, fraction: int, clip: float, scale: float, common: bool = False
) -> Layer:
    """One layer; ``common``: one unit for all its neurons."""
    largest = 2 ** (bits - 1) - 1
    unit = _units(layer, bits, clip, scale, common)
    gain, own = None, unit
    if scale != 1.0:
        own = _unit(_largest([layer.feedforward], layer.neurons) * clip / largest)
        gain = _rounded(scale * own / unit * 2.0 ** (fraction + SHIFT))
    recurrent = layer.recurrent
    return Layer(
        _synapses(layer.feedforward, own, largest),
        None if recurrent is None else _synapses(recurrent, unit, largest),
        _rounded(layer.bias * 2.0**fraction / unit),
        np.maximum(_rounded(layer.threshold * 2.0**fraction / unit), 1),
        layer.kept,
        gain,
    )


def _units(layer: Layer, bits: int, clip: float, scale: float, common: bool) -> Array:
    """What one unit of a weight is worth, (N,); of a row without weights, a threshold is Q."""
    largest = 2 ** (bits - 1) - 1
    found = _largest([layer.feedforward], layer.neurons) * scale
    if layer.recurrent is not None:
        found = np.maximum(found, _largest([layer.recurrent], layer.neurons))
    if common:
        found = np.full(layer.neurons, found.max())
    empty = found == 0.0
    return np.where(empty, layer.threshold, found * clip) / largest


def _unit(units: Array) -> Array:
    """Of rows without weights any will do."""
    return np.where(units == 0.0, 1.0, units)


def _output_scale(network: DeployedNetwork, bits: int, fraction: int, clip: float) -> float:
    if network.readout_kind == "spiking":
        return 1.0
    return float(_units(network.readout, bits, clip, 1.0, True)[0] / 2**fraction)


def _largest(matrices: Sequence[Synapses], neurons: int) -> Array:
    """The largest absolute weight of every row, (N,) float64."""
    found = np.zeros(neurons)
    for synapses in matrices:
        np.maximum.at(found, synapses.receiver, np.abs(synapses.weight.astype(np.float64)))
    return found


def _synapses(synapses: Synapses, unit: Array, largest: int) -> Synapses:
    """Rounded weights; those that become zero leave the lists."""
    weight = _rounded(synapses.weight / unit[synapses.receiver])
    weight = np.clip(weight, -largest, largest).astype(np.int8)
    kept = weight != 0
    pointer = np.concatenate([[0], np.cumsum(kept)])[synapses.pointer]
    delay = np.where(np.diff(pointer) > 0, synapses.delay, 0)
    return replace(
        synapses, delay=delay, pointer=pointer, receiver=synapses.receiver[kept],
        weight=weight[kept],
    )  # fmt: skip


def _rounded(numbers: Array) -> Array:
    """Half up, int32.

    Raises:
        ValueError: a number does not fit.
    """
    whole = np.floor(numbers + 0.5)
    if np.abs(whole).max(initial=0) >= 2**31:
        raise ValueError(
            "A bias or threshold does not fit 32 bits: its row's weights are too small"
        )
    return whole.astype(np.int32)
