"""Memory and time of training steps with segments of time (``model.segments``) and without.

    python scripts/benchmark_memory.py [--dataset psmnist] [--batch 256] [--segments 1 4 8 16]

Steps of a data set's own network on random frames of its size (forward, backward, AdaBreg), every
form in its own process, one after the other. ``peak MB`` is what the steps add at the highest to
the process's resident memory (on a GPU, to what torch allocated), ``process MB`` the highest with
Python and all libraries; seconds are the least of the steps, of the processor and on the clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from snnbreg import assembly
from snnbreg.training import TASKS, GradientSteps

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import machine, peak_memory, table
from benchmark_training import SIZES, config_of


def made(dataset: str, segments: int, device: torch.device) -> tuple[GradientSteps, torch.Tensor]:
    """Gradient steps on a data set's network, and the first frame of all its samples."""
    _, steps, channels, classes = SIZES[dataset]
    config = config_of(dataset, f"model.segments={segments}", f"device={device.type}")
    network = assembly.build_network(config, channels, classes, device)
    task = TASKS[config["model"]["objective"]]
    return GradientSteps(network, task, assembly.build_optimizers(config, network)), torch.rand(
        steps, 1, channels
    )


def measure(dataset: str, batch: int, segments: int, steps: int, device: str) -> dict[str, float]:
    """The figures of a form, in this process.

    Args:
        dataset: whose network and sizes are taken.
        batch: samples.
        segments: of time.
        steps: of training; the first one gives the memory.
        device: where to compute.
    """
    method, frame = made(dataset, segments, torch.device(device))
    classes = SIZES[dataset][3]

    def train(part: torch.Tensor, size: int) -> None:
        frames = part.expand(-1, size, -1).clone()
        frames[:, ::2] *= 0.5
        labels = torch.arange(size) % classes
        torch.manual_seed(0)
        method.epoch(0, [(frames.to(device), labels.to(device))], lambda: None)

    train(frame[: 4 * segments], 1)  # compiles
    before = peak_memory(device)
    found: list[tuple[float, float]] = []
    memory = 0.0
    for _ in range(steps):
        start = time.process_time(), time.perf_counter()
        train(frame, batch)
        found.append((time.process_time() - start[0], time.perf_counter() - start[1]))
        memory = memory or peak_memory(device) - before
    processor, clock = (min(times) for times in zip(*found, strict=True))
    return {
        "memory": memory, "process": peak_memory(device), "processor": processor, "clock": clock
    }  # fmt: skip


def apart(*arguments: Any) -> dict[str, float]:
    """``measure`` in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(answer.splitlines()[-1])
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="psmnist", choices=list(SIZES))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--segments", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    print(machine(options.device))
    rows: list[list[float]] = []
    first: dict[str, float] = {}
    for segments in options.segments:
        found = apart(options.dataset, options.batch, segments, options.steps, options.device)
        first = first or found
        rows.append(
            [
                segments,
                found["memory"],
                found["memory"] / first["memory"],
                found["process"],
                found["processor"],
                found["processor"] / first["processor"],
                found["clock"],
            ]
        )
    title = f"A training step of {options.dataset}, batch {options.batch}"
    columns = ["segments", "peak MB", "share", "process MB", "processor s", "ratio", "clock s"]
    table(title, columns, rows)


if __name__ == "__main__":
    main()
