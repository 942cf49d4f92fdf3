"""``network.npz``: written without pickle, readable by numpy alone, and checked when it is read.

The format stands in ``docs/deploy.md``.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from snnbreg.deploy.integers import check_range
from snnbreg.deploy.network import (
    DECISIONS,
    READOUTS,
    RESETS,
    Array,
    DeployedNetwork,
    Layer,
    Synapses,
)

FORMAT, VERSION = "snnbreg network", 1
NAME = "network.npz"
BITS = (32, 8, 6, 4)
MOST_STEPS, MOST_NEURONS = 1 << 16, 1 << 16
_HEADER = {
    "layers": int, "steps": int, "inputs": int, "leak": float, "reset": str, "readout_kind": str,
    "objective": str, "input_scale": float, "input_max": int, "bits": int, "fraction": int,
    "output_scale": float, "about": dict,
}  # fmt: skip
_LISTS = ("lists", "delay", "pointer", "receiver")


def write_network(path: Path, network: DeployedNetwork) -> None:
    """Write a network; the same network gives the same bytes.

    Raises:
        ValueError: it could not be read back, see :func:`check_network`.
    """
    check_network(network)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        np.savez(file, **_arrays(network))  # type: ignore[arg-type]  # of the stub's own keyword


def check_network(network: DeployedNetwork) -> None:
    """Refuse a network whose lists or delays would be read out of bounds, or that is no network.

    Raises:
        ValueError: the message says where.
    """
    try:
        _network(_arrays(network))
    except _RefusedError as error:
        raise ValueError(f"This is no network that can be deployed: {error}") from error


def _arrays(network: DeployedNetwork) -> dict[str, Array]:
    """The contents of the file."""
    header: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    header |= {name: getattr(network, name) for name in _HEADER if name != "layers"}
    header["layers"] = len(network.layers)
    arrays: dict[str, Array] = {"header": np.array(json.dumps(header, default=_plain))}
    for name, layer in _named(network):
        arrays |= {f"{name}.{key}": getattr(layer, key) for key in ("bias", "threshold")}
        arrays[f"{name}.kept"] = _int32(f"{name}.kept", layer.kept)
        if layer.gain is not None:
            arrays[f"{name}.gain"] = layer.gain
        for kind, synapses in layer.matrices():
            for key in _LISTS:
                place = f"{name}.{kind}.{key}"
                arrays[place] = _int32(place, getattr(synapses, key))
            arrays[f"{name}.{kind}.weight"] = synapses.weight
    return arrays


def _int32(name: str, numbers: Array) -> Array:
    found = numbers.astype(np.int32)
    _expect(np.array_equal(found, numbers), f"{name} has values beyond 32 bits")
    return found


def read_network(path: str | os.PathLike[str]) -> DeployedNetwork:
    """Read and check a network: whoever uses the result never reads out of bounds.

    Args:
        path: of the file, or of the folder that holds ``network.npz``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated, damaged or of another kind; the message says where.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: make one with snnbreg export RUN --out DIR")
    try:
        with open(path, "rb") as file:
            arrays = _load(file)
        return _network(arrays)
    except _RefusedError as error:
        raise ValueError(f"{path} is damaged or no exported network: {error}") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        name = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged or no exported network ({name})") from error


class _RefusedError(Exception):
    """What is wrong with a file."""


def _load(file: BinaryIO) -> dict[str, Array]:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, Mapping):
        raise _RefusedError("it is no archive of arrays")
    return dict(archive)


def _network(arrays: Mapping[str, Array]) -> DeployedNetwork:
    header = _header(arrays)
    count = header.pop("layers")
    for key in ("format", "version"):
        header.pop(key)
    below, layers = header["inputs"], []
    for i in range(count):
        layers.append(_layer(arrays, f"layers.{i}", below, header, hidden=True))
        below = layers[-1].neurons
    readout = _layer(arrays, "readout", below, header, hidden=False)
    network = DeployedNetwork(layers, readout, **header)
    if network.integer:
        check_range(network)
    return network


def _header(arrays: Mapping[str, Array]) -> dict[str, Any]:
    found = arrays.get("header")
    if found is None or found.dtype.kind != "U" or found.ndim != 0:
        raise _RefusedError("it has no header")
    header = json.loads(str(found))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _RefusedError(f"its header does not say format {FORMAT!r}")
    if header.get("version") != VERSION:
        raise _RefusedError(f"it has version {header.get('version')}, this program reads {VERSION}")
    for key, kind in _HEADER.items():
        value = header.get(key)
        if kind is float and type(value) is int:
            header[key] = value = float(value)
        if type(value) is not kind:
            raise _RefusedError(f"its header says {key}={value!r}, expected a value of type {kind}")
    if set(header) != {"format", "version", *_HEADER}:
        raise _RefusedError(f"its header has the unknown keys {set(header) - set(_HEADER)}")
    for key, valid in (
        ("reset", RESETS), ("readout_kind", READOUTS), ("objective", tuple(DECISIONS)),
        ("bits", BITS),
    ):  # fmt: skip
        _expect(header[key] in valid, f"{key}={header[key]!r}, expected one of {valid}")
    for key, low, high in (
        ("layers", 1, 100), ("steps", 1, MOST_STEPS), ("inputs", 1, MOST_NEURONS),
        ("leak", 0.0, 1.0), ("input_max", 1, 255), ("fraction", 0, 15),
    ):  # fmt: skip
        inside = low <= header[key] <= high
        _expect(inside, f"{key}={header[key]}, expected {low} to {high}")
    for key in ("input_scale", "output_scale"):
        inside = 0.0 < header[key] < np.inf
        _expect(inside, f"{key}={header[key]}, expected a positive number")
    return header


def _layer(
    arrays: Mapping[str, Array], name: str, below: int, header: Mapping[str, Any], hidden: bool
) -> Layer:
    number = np.int32 if header["bits"] < 32 else np.float32
    bias = _array(arrays, f"{name}.bias", number)
    neurons = len(bias)
    inside = 1 <= neurons <= MOST_NEURONS
    _expect(inside, f"{name} has {neurons} neurons, expected 1 to {MOST_NEURONS}")
    threshold = _array(arrays, f"{name}.threshold", number, neurons)
    _expect(bool((threshold > 0).all()), f"{name}.threshold is not positive everywhere")
    kept = _array(arrays, f"{name}.kept", np.int32, neurons)
    ascending = kept[0] >= 0 and bool((np.diff(kept) > 0).all())
    _expect(ascending, f"{name}.kept is not ascending")
    gain = None
    if f"{name}.gain" in arrays:
        gain = _array(arrays, f"{name}.gain", np.int32, neurons)
        _expect(bool((gain >= 0).all()), f"{name}.gain is negative")
        _expect(number is np.int32, f"{name}.gain belongs to integers")
    recurrent = None
    if hidden and f"{name}.recurrent.pointer" in arrays:
        recurrent = _synapses(arrays, f"{name}.recurrent", neurons, neurons, header)
    feedforward = _synapses(arrays, f"{name}.feedforward", below, neurons, header)
    return Layer(feedforward, recurrent, bias, threshold, kept, gain)


def _synapses(
    arrays: Mapping[str, Array], name: str, senders: int, receivers: int, header: Mapping[str, Any]
) -> Synapses:
    lists = _array(arrays, f"{name}.lists", np.int32, senders + 1)
    delay = _array(arrays, f"{name}.delay", np.int32)
    pointer = _array(arrays, f"{name}.pointer", np.int32, len(delay) + 1)
    _steps(f"{name}.lists", lists, len(delay))
    receiver = _array(arrays, f"{name}.receiver", np.int32)
    _steps(f"{name}.pointer", pointer, len(receiver))
    highest = header["steps"] - 1
    inside = bool(((delay >= 0) & (delay <= highest)).all())
    _expect(inside, f"{name}.delay has values outside 0 to {highest} steps")
    inside = bool(((receiver >= 0) & (receiver < receivers)).all())
    _expect(inside, f"{name}.receiver has values outside 0 to {receivers - 1}")
    first = np.zeros(len(receiver) + 1, bool)
    first[pointer] = True
    ascending = bool(((np.diff(receiver) > 0) | first[1:-1]).all())
    _expect(ascending, f"{name}.receiver is not ascending within a list")
    bits = header["bits"]
    weight = _array(arrays, f"{name}.weight", np.int8 if bits < 32 else np.float32, len(receiver))
    _expect(bool((weight != 0).all()), f"{name}.weight holds zeros")
    if bits < 32:
        largest = 2 ** (bits - 1) - 1
        inside = bool((np.abs(weight.astype(np.int32)) <= largest).all())
        _expect(inside, f"{name}.weight has values beyond {bits} bits")
    return Synapses(receivers, lists, delay, pointer, receiver, weight)


def _array(arrays: Mapping[str, Array], name: str, dtype: Any, length: int | None = None) -> Array:
    array = arrays.get(name)
    if array is None:
        raise _RefusedError(f"{name} is missing")
    expected = f"({'n' if length is None else length},) of {np.dtype(dtype)}"
    fits = array.dtype == dtype and array.ndim == 1 and length in (None, len(array))
    _expect(fits, f"{name} is {array.shape} of {array.dtype}, expected {expected}")
    if array.dtype.kind == "f":
        _expect(bool(np.isfinite(array).all()), f"{name} has values that are not finite")
    return array


def _steps(name: str, pointer: Array, end: int) -> None:
    """Refuse what is not 0 = pointer[0] <= ... <= pointer[-1] = end."""
    rising = pointer[0] == 0 and pointer[-1] == end and bool((np.diff(pointer) >= 0).all())
    _expect(rising, f"{name} does not rise from 0 to {end}")


def _expect(right: bool, message: str) -> None:
    if not right:
        raise _RefusedError(message)


def _named(network: DeployedNetwork) -> list[tuple[str, Layer]]:
    hidden = [(f"layers.{i}", layer) for i, layer in enumerate(network.layers)]
    return [*hidden, ("readout", network.readout)]


def _plain(value: Any) -> Any:
    """Numbers of numpy and paths as JSON knows them."""
    converter: Callable[[], Any] | None = getattr(value, "tolist", None)
    return converter() if converter is not None else str(value)
