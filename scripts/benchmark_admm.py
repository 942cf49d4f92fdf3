"""Time sweeps of ADMM: the fast form against the published order of updates.

    python scripts/benchmark_admm.py [--steps 150] [--samples 50] [--hidden 512] [--noise]

One batch of random events as sparse as N-MNIST's in bins of 1 ms, 2,312 channels and ten classes:

    published         step after step, and each weight matrix by the pseudo-inverse of its Gram
                      matrix, computed in every sweep
    published, ridge  the same with a ridge and Cholesky factors
    fast              all steps of a block in few products, the input's Gram matrix factorised once,
                      frames with few events as a sparse matrix

Every form makes the same number of sweeps from the same states, each with the simulation that
measures it; the first, which prepares what is kept, is shown apart. ``--noise`` adds the published
noise to the frames, after which no entry is zero.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from snnbreg.admm import ADMM
from snnbreg.models import SpikingNetwork
from snnbreg.training import TASKS
from snnbreg.training.processes import Processes

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import machine, table  # the other benchmark's table

FORMS: dict[str, dict[str, Any]] = {
    "published": {"form": "published", "ridge": 0.0},
    "published, ridge": {"form": "published", "ridge": 1.0},
    "fast": {"form": "fast", "ridge": 1.0},
}
CHANNELS, CLASSES, RATE = 2312, 10, 0.006


def recordings(
    steps: int, samples: int, noise: bool, channels: int = CHANNELS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random events whose rates depend on the class, (T, N, C), and labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % CLASSES
    rates = 2 * RATE * torch.rand(CLASSES, channels, generator=generator)
    frames = torch.poisson(rates[labels].expand(steps, -1, -1), generator=generator)
    if noise:
        frames += 0.01 * torch.randn(frames.shape, generator=generator)
    return frames, labels


def sweeps(
    form: str, batch: tuple[torch.Tensor, torch.Tensor], hidden: int, count: int
) -> tuple[list[float], dict[str, float]]:
    """Seconds of each sweep of a form, and the last one's figures."""
    torch.manual_seed(0)
    network = SpikingNetwork(
        batch[0].shape[2], CLASSES, (hidden,), recurrent=False, delays="none", bias=False,
        dropout=0.0, readout="leaky", tau=20.0,
    )  # fmt: skip
    method = ADMM(network, TASKS["last_squared_error"], Processes(), count, **FORMS[form])
    seconds, row = [], {}
    for number in range(count):
        torch.manual_seed(number)
        start = time.perf_counter()
        row = method.epoch(number, [batch], lambda: None)
        seconds.append(time.perf_counter() - start)
    return seconds, row


def compare(options: argparse.Namespace) -> list[list[Any]]:
    """A row per form: the first sweep, the median of the others, ratio to fast, and quality."""
    batch = recordings(options.steps, options.samples, options.noise, options.channels)
    measured = {form: sweeps(form, batch, options.hidden, options.sweeps) for form in FORMS}
    fast = statistics.median(measured["fast"][0][1:])
    return [
        [form, seconds[0], statistics.median(seconds[1:]), statistics.median(seconds[1:]) / fast,
         row["objective"], row["train_acc"]]
        for form, (seconds, row) in measured.items()
    ]  # fmt: skip


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--sweeps", type=int, default=4)
    parser.add_argument("--noise", action="store_true", help="as published: no frame is sparse")
    options = parser.parse_args()
    print(machine("cpu"))
    table(
        f"Sweeps of ADMM, T = {options.steps}, N = {options.samples}, {options.channels} inputs, "
        f"{options.hidden} hidden neurons",
        ["form", "first / s", "sweep / s", "ratio to fast", "objective", "accuracy"],
        compare(options),
    )


if __name__ == "__main__":
    main()
