"""network.npz: read by numpy alone, and refused where anything is wrong."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy_cases import CASES, STEPS, recordings, small_network
from snnbreg.deploy import NAME, Simulator, convert, read_network, write_network, write_program


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return _write(tmp_path)


def _write(folder: Path, **settings: Any) -> Path:
    deployed = convert(small_network(**settings), STEPS, "sum_cross_entropy").network
    write_network(folder / NAME, deployed)
    return folder / NAME


@pytest.mark.parametrize("case", ["soft", "synaptic", "feed-forward delays", "spiking readout"])
def test_what_was_written_is_read(case: str, tmp_path: Path) -> None:
    network = convert(small_network(**CASES[case]), STEPS, "sum_cross_entropy").network
    write_network(tmp_path / NAME, network)
    found = read_network(tmp_path)
    for field in fields(network):
        if field.name not in ("layers", "readout"):
            assert getattr(found, field.name) == getattr(network, field.name)
    counts = recordings(1)[0]
    np.testing.assert_array_equal(
        Simulator(found).run(counts).outputs, Simulator(network).run(counts).outputs
    )
    before = (tmp_path / NAME).read_bytes()
    write_network(tmp_path / NAME, found)
    assert (tmp_path / NAME).read_bytes() == before


def test_numpy_alone_reads_the_matrix(path: Path) -> None:
    with np.load(path) as file:
        header = json.loads(str(file["header"]))
        name = "layers.0.feedforward"
        matrix = np.zeros((len(file["layers.0.bias"]), header["inputs"]), np.float32)
        for sender in range(header["inputs"]):
            entries = slice(*file[f"{name}.pointer"][sender : sender + 2])
            matrix[file[f"{name}.receiver"][entries], sender] = file[f"{name}.weight"][entries]
        kept = file["layers.0.kept"]
    trained = small_network().synapses()[0].weight.detach().numpy()
    np.testing.assert_array_equal(matrix, trained[kept])


@pytest.mark.parametrize("part", [0, 1, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(part if part == 1 else part * len(content))])
    with pytest.raises(ValueError, match="damaged or no exported network"):
        read_network(path)


def test_a_file_with_a_flipped_byte_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.find(np.load(path)["layers.0.feedforward.weight"].tobytes())
    content[place + 2] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or no exported network"):
        read_network(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="snnbreg export RUN"):
        read_network(tmp_path)


def _set(name: str, place: Any, value: Any) -> Any:
    def change(arrays: dict[str, Any], header: dict[str, Any]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


def _replace(name: str, make: Any) -> Any:
    def change(arrays: dict[str, Any], header: dict[str, Any]) -> None:
        arrays[name] = make(arrays[name])

    return change


def _say(key: str, value: Any) -> Any:
    return lambda arrays, header: header.update({key: value})


RECURRENT = "layers.0.recurrent"


@pytest.mark.parametrize(("change", "message"), [
    (_set(f"{RECURRENT}.receiver", 0, 9), "receiver has values outside 0 to"),
    (_set(f"{RECURRENT}.receiver", 0, -1), "receiver has values outside 0 to"),
    (_set(f"{RECURRENT}.receiver", [0, 1], 3), "not ascending"),
    (_set(f"{RECURRENT}.delay", 0, -1), "delay has values outside 0 to 11"),
    (_set(f"{RECURRENT}.delay", 0, STEPS), "delay has values outside 0 to 11"),
    (_set(f"{RECURRENT}.pointer", 1, 10_000), "pointer does not rise from 0"),
    (_set(f"{RECURRENT}.pointer", -1, 1), "pointer does not rise from 0"),
    (_set(f"{RECURRENT}.pointer", 0, 1), "pointer does not rise from 0"),
    (_set(f"{RECURRENT}.lists", 1, 99), "lists does not rise from 0"),
    (_set(f"{RECURRENT}.weight", 0, np.nan), "not finite"),
    (_set(f"{RECURRENT}.weight", 0, 0.0), "holds zeros"),
    (_set("layers.0.bias", 0, np.inf), "not finite"),
    (_set("layers.1.threshold", 0, 0.0), "threshold is not positive"),
    (_set("layers.1.kept", 0, 99), "kept is not ascending"),
    (_replace(f"{RECURRENT}.weight", lambda a: a.astype(np.float64)), "expected.*float32"),
    (_replace(f"{RECURRENT}.weight", lambda a: a[:-1]), r"weight is \("),
    (_replace("layers.1.bias", lambda a: a[:0]), "0 neurons"),
    (_replace("layers.1.feedforward.lists", lambda a: a[:-1]), "lists is"),
    (lambda arrays, header: arrays.pop("layers.1.bias"), "layers.1.bias is missing"),
    (lambda arrays, header: arrays.pop("readout.feedforward.delay"), "delay is missing"),
    (_say("version", 2), "version 2"),
    (_say("format", "other"), "does not say format"),
    (_say("steps", 0), "steps=0"),
    (_say("steps", "12"), "steps='12'"),
    (_say("inputs", 10**9), "inputs="),
    (_say("inputs", 7), "lists is"),
    (_say("leak", 1.5), "leak=1.5"),
    (_say("reset", "none"), "reset='none'"),
    (_say("bits", 7), "bits=7"),
    (_say("layers", 3), "layers.2.bias is missing"),
    (_say("input_scale", 0.0), "input_scale=0.0"),
    (_say("objective", "mean_squared_error"), "objective="),
    (_say("surprise", 1), "unknown keys"),
])  # fmt: skip
def test_a_damaged_network_is_refused(change: Any, message: str, path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))
    change(arrays, header)
    arrays["header"] = np.array(json.dumps(header))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        read_network(path)


@pytest.mark.parametrize("arrays", [
    {"header": np.zeros(3)}, {"other": np.zeros(3)}, {"header": np.array("[1]")},
    {"header": np.array("{")}, {"header": np.array(None)},
])  # fmt: skip
def test_a_foreign_archive_is_refused(arrays: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / NAME, **arrays)
    with pytest.raises(ValueError, match="damaged or no exported network"):
        read_network(tmp_path)


@pytest.mark.parametrize(("key", "place", "value", "message"), [
    ("receiver", 0, 9, "receiver has values outside 0 to"),
    ("receiver", 0, -1, "receiver has values outside 0 to"),
    ("receiver", 0, 2**32, "receiver has values beyond 32 bits"),
    ("delay", 0, -1, "delay has values outside 0 to 11"),
    ("delay", 0, STEPS, "delay has values outside 0 to 11"),
    ("pointer", -1, 10_000, "pointer does not rise from 0"),
    ("lists", 1, 99, "lists does not rise from 0"),
    ("weight", slice(1), np.inf, "not finite"),
])  # fmt: skip
def test_neither_a_file_nor_a_program_is_made_of_a_damaged_network(
    key: str, place: Any, value: Any, message: str, tmp_path: Path
) -> None:
    network = convert(small_network(), STEPS, "sum_cross_entropy").network
    recurrent = network.layers[0].recurrent
    assert recurrent is not None
    array = getattr(recurrent, key).copy()
    array[place] = value
    damaged = replace(network.layers[0], recurrent=replace(recurrent, **{key: array}))
    network = replace(network, layers=[damaged, *network.layers[1:]])
    with pytest.raises(ValueError, match=message):
        write_program(tmp_path / "program", network)
    with pytest.raises(ValueError, match=message):
        write_network(tmp_path / "file" / NAME, network)
    assert not list(tmp_path.iterdir())
