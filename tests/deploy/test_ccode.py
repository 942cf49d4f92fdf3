"""The C programs: no warnings, equal to the simulator, safe with wrong files."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy_cases import CASES, CHANNELS, STEPS, recordings, small_network
from snnbreg.deploy import DeployedNetwork, Simulator, convert, quantize
from snnbreg.deploy.ccode import write_program
from snnbreg.deploy.samples import Sample, write_samples
from snnbreg.deploy.tables import tables

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def _export(folder: Path, network: DeployedNetwork, counts: Any, layout: str = "auto") -> None:
    write_program(folder, network, layout)
    simulator = Simulator(network)
    classes = [simulator.run(recording).classes for recording in counts]
    samples = [Sample(x, k, k) for x, k in zip(counts, classes, strict=True)]
    write_samples(folder / "samples.bin", network, samples)


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-s", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def _checked(folder: Path, network: DeployedNetwork, layout: str) -> None:
    counts = recordings(4)
    counts[0, 3] = 255
    _export(folder, network, counts, layout)
    done = _make(folder, "check-plain", "OPTIMIZE=-O0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 samples, 0 differ" in done.stdout


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_floats_are_the_simulators(case: str, tmp_path: Path) -> None:
    layout = ("lists", "rows")[len(case) % 2]
    settings = {"tau": 1.7, **CASES[case]}
    network = convert(small_network(**settings), STEPS, "sum_cross_entropy").network
    _checked(tmp_path, network, layout)


@needs_compiler
@pytest.mark.parametrize("objective", [
    "softmax_sum_cross_entropy", "last_cross_entropy", "step_cross_entropy",
])  # fmt: skip
@pytest.mark.parametrize("bits", [32, 8])
def test_every_decision(objective: str, bits: int, tmp_path: Path) -> None:
    network = convert(small_network(readout="leaky"), STEPS, objective).network
    _checked(tmp_path, network if bits == 32 else quantize(network, bits), "auto")


@needs_compiler
@pytest.mark.parametrize("case", ["hard", "feed-forward delays", "synaptic", "spiking readout"])
def test_integers_are_the_simulators(case: str, tmp_path: Path) -> None:
    deployed = convert(small_network(tau=1.7, **CASES[case]), STEPS, "sum_cross_entropy").network
    _checked(tmp_path, quantize(deployed, 8), ("lists", "rows")[len(case) % 2])


@needs_compiler
@pytest.mark.parametrize("bits", [32, 8])
def test_scaled_inputs(bits: int, tmp_path: Path) -> None:
    network = convert(small_network(), STEPS, "sum_cross_entropy", input_scale=1 / 255).network
    _checked(tmp_path, network if bits == 32 else quantize(network, bits), "auto")


@needs_compiler
@pytest.mark.parametrize("bits", [32, 8])
def test_rows_of_many_senders_in_one_step(bits: int, tmp_path: Path) -> None:
    """More senders than one pass adds, and some left over; more than 16 receivers."""
    trained = small_network(hidden=(37, 21), density=0.7, tau=1.7, delay_scale=0.5)
    network = convert(trained, STEPS, "sum_cross_entropy").network
    network = network if bits == 32 else quantize(network, bits)
    spikes = Simulator(network).run(np.full((STEPS, CHANNELS), 3, np.uint8)).spikes[0]
    assert np.diff(spikes.pointer).max() > 8
    counts = np.concatenate([recordings(3), np.full((1, STEPS, CHANNELS), 3, np.uint8)])
    _export(tmp_path, network, counts, "rows")
    done = _make(tmp_path, "check-plain", "OPTIMIZE=-O1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 samples, 0 differ" in done.stdout


@needs_compiler
def test_nothing_of_a_network_left(tmp_path: Path) -> None:
    network = convert(small_network(density=0.0), STEPS, "sum_cross_entropy").network
    _checked(tmp_path, network, "auto")


@needs_compiler
@pytest.mark.parametrize("bits", [32, 8])
def test_under_sanitizers(bits: int, tmp_path: Path) -> None:
    """Delays of every kind, so that every ring is used; negative membranes too."""
    settings: dict[str, Any] = {"feedforward_delays": "axonal", "delay_scale": 8.0, "tau": 1.7}
    network = convert(small_network(**settings), STEPS, "sum_cross_entropy").network
    network = network if bits == 32 else quantize(network, bits)
    _export(tmp_path, network, recordings(4))
    done = _make(tmp_path, "check-sanitized")
    if "skipped" in done.stdout:
        pytest.skip("the compiler has no sanitizers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 samples, 0 differ" in done.stdout


@needs_compiler
def test_a_wrong_answer_and_wrong_files_are_told(tmp_path: Path) -> None:
    network = convert(small_network(), STEPS, "sum_cross_entropy").network
    counts = recordings(2)
    write_program(tmp_path, network)
    classes = [Simulator(network).run(recording).classes for recording in counts]
    wrong = (classes[1] + 1) % 3
    samples = [Sample(counts[0], classes[0], classes[0]), Sample(counts[1], classes[1], wrong)]
    file = tmp_path / "samples.bin"
    assert "it is not there" in _make(tmp_path, "check-plain", "OPTIMIZE=-O0").stdout
    write_samples(file, network, samples)
    program = str(tmp_path / "check-program")
    done = subprocess.run([program, str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        1,
        f"sample 1: class {classes[1]}, expected {wrong}\n"
        "2 samples, 1 differ; 2 of 2 labels right\n",
    )
    content = file.read_bytes()
    for damaged, message in (
        (content[:-1], "it is truncated"),
        (content[:10], "it is truncated"),
        (b"abcd" + content[4:], "belongs to another network"),
        (content[:8] + b"\x07" + content[9:], "belongs to another network"),
        (content[:36] + b"\xff" + content[37:], "no steps or too many"),
    ):
        file.write_bytes(damaged)
        done = subprocess.run([program, str(file)], capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stdout


@needs_compiler
def test_wrong_events_are_refused_without_being_read(tmp_path: Path) -> None:
    write_program(tmp_path, convert(small_network(), STEPS, "sum_cross_entropy").network)
    (tmp_path / "main.c").write_text("""
#include "network.h"
int main(void)
{
    const uint16_t good[] = {0, 5}, high[] = {0, 6}, twice[] = {2, 2};
    const uint8_t count[] = {1, 1};
    int t;
    network_reset();
    if (network_step(high, count, 2) != -1 || network_step(twice, count, 2) != -1) return 1;
    if (network_step(good, count, 7) != -1) return 2;
    for (t = 0; t < NETWORK_STEPS; ++t)
        if (network_step(good, count, 2) != 0) return 3;
    return network_step(good, count, 2) == -1 ? 0 : 4;
}
""")
    program = str(tmp_path / "main")
    sources = [str(tmp_path / name) for name in ("main.c", "network.c")]
    subprocess.run(["cc", "-std=c99", *sources, "-o", program, "-lm"], check=True)
    assert subprocess.run([program]).returncode == 0


@needs_compiler
@pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="no compiler for bare-metal ARM or no emulator",
)
@pytest.mark.parametrize("bits", [32, 8])
def test_on_a_bare_metal_arm_core(bits: int, tmp_path: Path) -> None:
    """Classes, spikes and scores are those of the simulator; a wrong one fails the target."""
    network = convert(small_network(tau=1.7), STEPS, "sum_cross_entropy").network
    network = network if bits == 32 else quantize(network, bits)
    _export(tmp_path, network, recordings(4))
    done = _make(tmp_path, "check-arm")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("4 samples, 0 differ; 4 of 4 labels right\n")
    assert not done.stderr
    counts, right = recordings(1), Simulator(network).run(recordings(1)[0]).classes
    write_samples(tmp_path / "samples.bin", network, [Sample(counts[0], right, (right + 1) % 3)])
    done = _make(tmp_path, "check-arm")
    assert done.returncode != 0
    assert f"sample 0: class {right}, expected {(right + 1) % 3}" in done.stdout


@needs_compiler
@pytest.mark.parametrize("missing", ["ARM", "EMULATOR"])
def test_without_the_tools_for_arm_the_check_says_so(missing: str, tmp_path: Path) -> None:
    network = convert(small_network(), STEPS, "sum_cross_entropy").network
    write_program(tmp_path, network)
    done = _make(tmp_path, "check-arm", f"{missing}=no-such-program -x")
    assert done.returncode == 0
    assert "On a bare-metal ARM core: skipped" in done.stdout


@pytest.mark.parametrize(("receivers", "ctype"), [(256, "u1"), (257, "u2")])
def test_indices_are_as_small_as_they_can_be(receivers: int, ctype: str) -> None:
    network = convert(small_network(hidden=(receivers,), recurrent=False, density=0.2), STEPS,
                      "sum_cross_entropy").network  # fmt: skip
    layer = network.layers[0]
    grown = replace(layer.feedforward, receivers=receivers)
    network = replace(network, layers=[replace(layer, feedforward=grown)])
    found = {table.name: table.values for table in tables(network, "lists")}
    assert found["w0_receiver"].dtype == np.dtype(ctype)


@pytest.mark.parametrize(("entries", "ctype"), [(65_535, "u2"), (65_536, "u4")])
def test_starts_are_as_small_as_they_can_be(entries: int, ctype: str) -> None:
    network = convert(small_network(), STEPS, "sum_cross_entropy").network
    synapses = network.layers[0].feedforward
    pointer = synapses.pointer.copy()
    pointer[-1] = entries
    layer = replace(network.layers[0], feedforward=replace(synapses, pointer=pointer))
    network = replace(network, layers=[layer, *network.layers[1:]])
    found = {table.name: table.values for table in tables(network, "lists")}
    assert found["w0_start"].dtype == np.dtype(ctype)


@pytest.mark.parametrize(("density", "names"), [
    (0.3, {"w0_start", "w0_receiver", "w0_weight"}), (1.0, {"w0_weight"}),
])  # fmt: skip
def test_the_smaller_layout_is_taken(density: float, names: set[str]) -> None:
    trained = small_network(hidden=(16, 8), density=density)
    network = convert(trained, STEPS, "sum_cross_entropy").network
    found = {table.name for table in tables(network) if table.name.startswith("w0")}
    assert found == names


def test_an_unknown_layout_is_refused() -> None:
    network = convert(small_network(), STEPS, "sum_cross_entropy").network
    with pytest.raises(ValueError, match="layout='dense' is unknown"):
        tables(network, "dense")
