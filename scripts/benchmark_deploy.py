"""How fast an exported network runs, and how large it is: one thread, one recording at a time.

    python scripts/benchmark_deploy.py RUN [RUN...] [--words 30] [--rounds 9] [--output FILE.json]

Contestants, in turn in one process, several rounds: the network in dense torch
(``engine=reference``), this framework's engine alone and in batches of all test recordings, the
event-driven simulator, C as ``snnbreg export`` makes it (floats, 8 bits; lists and rows), and dense
C of our own (``baselines/dense.c``, compiled with -ffast-math). Microseconds of processor time per
recording: the median over the rounds, and the lowest.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from snnbreg.commands.exporting import load_trained
from snnbreg.deploy import (
    DeployedNetwork,
    Simulator,
    convert,
    quantize,
    whole_counts,
    write_program,
)
from snnbreg.deploy.cost import size
from snnbreg.models import SpikingNetwork

BASELINES = Path(__file__).parent / "baselines"
FLAGS = ["-O3", "-march=native", "-shared", "-fPIC"]
BATCHED = "engine, in batches"
SHORTEST = 0.02
"""Seconds that a turn lasts at least: a shorter one would measure what the one before left in the
caches."""


class Contestant(NamedTuple):
    """Runs some recordings; returns their classes where it has them."""

    recordings: int
    run: Callable[[], Any]


def compiled(folder: Path, name: str, *arguments: str) -> Any:
    """A shared library of C sources."""
    library = folder / f"{name}.so"
    subprocess.run(["cc", *FLAGS, *arguments, "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def pointer(array: Any) -> Any:
    """The address of an array's first element, for C."""
    return array.ctypes.data_as(ctypes.c_void_p)


def event_c(folder: Path, network: DeployedNetwork, layout: str, counts: Any) -> Contestant:
    """The exported program."""
    place = folder / f"{network.bits}_{layout}"
    write_program(place, network, layout)
    sources = [str(place / "network.c"), str(BASELINES / "event_timing.c")]
    library = compiled(folder, place.name, f"-I{place}", "-ffp-contract=off", *sources)
    samples, steps, channels = counts.shape
    flat = counts.reshape(samples * steps, channels)
    step, channel = np.nonzero(flat)
    starts = np.searchsorted(step, np.arange(len(flat) + 1)).astype(np.uint32)
    value = flat[step, channel].astype(np.uint8)
    sender, classes = channel.astype(np.uint16), np.zeros(samples, np.int32)

    def run() -> Any:
        arrays = (pointer(starts), pointer(sender), pointer(value))
        library.run_recordings(*arrays, samples, steps, pointer(classes))
        return classes

    return Contestant(samples, run)


class CLayer(ctypes.Structure):
    """As in dense.c."""

    _fields_ = (
        ("receivers", ctypes.c_int), ("senders", ctypes.c_int), ("weight", ctypes.c_void_p),
        ("recurrent", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("delay", ctypes.c_void_p),
        ("spikes", ctypes.c_void_p),
    )  # fmt: skip


def dense_c(folder: Path, network: DeployedNetwork, counts: Any) -> Contestant:
    """The same network with every weight, one delay per recurrent sender, a linear readout."""
    library = compiled(folder, "dense", "-ffast-math", str(BASELINES / "dense.c"))
    samples, steps, _ = counts.shape
    frames = (counts * np.float32(network.input_scale)).astype(np.float32)
    kept: list[Any] = [frames]
    layers = (CLayer * (len(network.layers) + 1))()
    for entry, layer in zip(layers, network.all_layers(), strict=True):
        arrays = [layer.feedforward.dense(), layer.bias, np.zeros((steps, layer.neurons), "f4")]
        entry.receivers, entry.senders = arrays[0].shape
        if layer.recurrent is not None:
            arrays += [layer.recurrent.dense(), layer.recurrent.delay.astype(np.int32)]
            entry.recurrent, entry.delay = pointer(arrays[3]), pointer(arrays[4])
        entry.weight, entry.bias, entry.spikes = (pointer(array) for array in arrays[:3])
        kept += arrays
    sums = np.zeros((samples, network.classes), np.float32)
    threshold, hard = float(network.layers[0].threshold[0]), int(network.reset == "hard")

    def run() -> Any:
        assert kept
        for s in range(samples):
            library.dense_run(
                layers, len(network.layers), pointer(frames[s]), steps,
                ctypes.c_float(network.leak), ctypes.c_float(threshold), hard, pointer(sums[s]),
            )  # fmt: skip
        return sums.argmax(1)

    return Contestant(samples, run)


def torch_network(network: SpikingNetwork, frames: Any, batch: int) -> Contestant:
    """The framework's own forward pass, frames (T, B, C)."""

    def run() -> Any:
        with torch.inference_mode():
            parts = [network(part).sum(0).argmax(-1) for part in frames.split(batch, 1)]
        return torch.cat(parts).numpy()

    return Contestant(frames.shape[1], run)


def simulated(network: DeployedNetwork, counts: Any) -> Contestant:
    """The event-driven simulator."""
    simulator = Simulator(network)
    return Contestant(
        len(counts), lambda: np.array([simulator.run(recording).classes for recording in counts])
    )


def contestants(folder: Path, run: str, words: int) -> tuple[dict[str, Contestant], Any]:
    """All of them for one run, and the sizes of the networks."""
    trained = load_trained(run, "best", [])
    network = cast(SpikingNetwork, trained.network)
    objective = trained.config["model"]["objective"]
    deployed = convert(network, trained.splits.steps, objective, trained.input_scale).network
    if deployed.decision != "sum" or deployed.readout_kind != "linear":
        raise SystemExit("dense.c sums the outputs of a linear readout: choose such a run")
    batches = [frames for frames, _ in trained.batches("test")]
    everything = torch.cat(batches, 1)
    chosen = np.linspace(0, everything.shape[1] - 1, words).astype(int)
    frames = everything[:, chosen].contiguous()
    counts = whole_counts(frames, trained.input_scale)
    network.round_delays_()
    network.sigma = 0.0
    reference = cast(SpikingNetwork, load_trained(run, "best", ["model.engine=reference"]).network)
    reference.round_delays_()
    reference.sigma = 0.0
    eight = quantize(deployed, 8)
    found = {
        "dense torch": torch_network(reference, frames, 1),
        "engine, alone": torch_network(network, frames, 1),
        BATCHED: torch_network(network, everything, everything.shape[1]),
        "dense C": dense_c(folder, deployed, counts),
        "simulator": simulated(deployed, counts),
        "C, floats": event_c(folder, deployed, "auto", counts),
        "C, 8 bits": event_c(folder, eight, "auto", counts),
    }
    for layout in ("lists", "rows"):
        found[f"C, floats, {layout}"] = event_c(folder, deployed, layout, counts)
        found[f"C, 8 bits, {layout}"] = event_c(folder, eight, layout, counts)
    _agree(found, chosen)
    floats, whole = size(deployed), size(eight)
    return found, {
        "density": deployed.nonzero / deployed.about["trained"]["weights"],
        "dense float32": floats["dense_float32"],
        "compressed float32": floats["tables"],
        "compressed 8 bits": whole["tables"],
        "8 bits, with what waits": whole["tables"] + whole["rings"],
    }


def _agree(found: dict[str, Contestant], chosen: Any) -> None:
    """Everything but the 8 bits gives one answer."""
    wanted = found["dense torch"].run()
    for name, contestant in found.items():
        own = contestant.run()
        own = own[chosen] if name == BATCHED else own
        if "8 bits" not in name and not np.array_equal(own, wanted):
            raise SystemExit(f"{name} gives other classes than dense torch")


def measure(found: dict[str, Contestant], rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds per recording, median and lowest, all contestants in turn."""
    times: dict[str, list[float]] = {name: [] for name in found}
    repeats = {name: 1 + int(SHORTEST / _seconds(c, 1)) for name, c in found.items()}
    for _ in range(rounds):
        for name, contestant in found.items():
            seconds = _seconds(contestant, repeats[name])
            times[name].append(seconds / repeats[name] / contestant.recordings * 1e6)
    return {name: (median(values), min(values)) for name, values in times.items()}


def _seconds(contestant: Contestant, repeats: int) -> float:
    """Of processor time for all its recordings, so many times."""
    start = time.process_time()
    for _ in range(repeats):
        contestant.run()
    return time.process_time() - start


def table(times: dict[str, tuple[float, float]], sizes: dict[str, float]) -> str:
    """Both as text; ratios of the lowest times."""
    heads = ("", "µs a recording, median (lowest)", "dense torch /", f"{BATCHED} /", "dense C /")
    lines = [f"density {sizes['density']:.1%}", "", _row(heads), _row(["---"] * len(heads))]
    rivals = ("dense torch", BATCHED, "dense C")
    for name, (middle, lowest) in times.items():
        ratios = [f"{times[rival][1] / lowest:.1f}" for rival in rivals]
        lines.append(_row([name, f"{middle:,.0f} ({lowest:,.0f})", *ratios]))
    bytes_ = {name: value for name, value in sizes.items() if name != "density"}
    lines += ["", "| bytes | | of dense float32 |", "|---|---|---|"]
    for name, value in bytes_.items():
        lines.append(f"| {name} | {value:,} | 1/{bytes_['dense float32'] / value:.1f} |")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure the runs of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--words", type=int, default=30, help="recordings (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--output", metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for run in options.runs:
        with tempfile.TemporaryDirectory() as folder:
            found, sizes = contestants(Path(folder), run, options.words)
            times = measure(found, options.rounds)
        print(f"{Path(run).name}: {table(times, sizes)}\n")
        results[Path(run).name] = {"microseconds": times, **sizes}
    if options.output:
        Path(options.output).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
