"""Time ``torch.compile`` beside the network as it is: how long it takes to start, and a step.

    python scripts/benchmark_compile.py [--dataset spoken_digits] [--backends inductor aot_eager]

One training step (forward, loss, backward) of the data set's network on random frames. All forms
take their steps in turn in one process; times are the processor's, so that other programs on the
machine count little. ``starts`` is the first step, in which a form is compiled (numba's machine
code lies ready), in seconds; the compiler's own processes are not in it, so that it also shows the
seconds of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snnbreg import assembly

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import machine, table
from benchmark_training import SIZES, config_of


def measure(dataset: str, backends: list[str], rounds: int) -> list[list[Any]]:
    """For each form: seconds of its first step, by the processor and by the clock; then of a step.

    Args:
        dataset: a name in SIZES.
        backends: of ``torch.compile``.
        rounds: steps of each form after the first.

    Returns:
        Rows of name, seconds twice, least milliseconds of a step, and the median over all rounds
        of its ratio to that of the network as it is.
    """
    _, T, channels, classes = SIZES[dataset]
    config = config_of(dataset)
    size = config["dataset"]["batch_size"]
    network = assembly.build_network(config, channels, classes, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    frames = torch.poisson(torch.full((T, size, channels), 0.05), generator=generator)
    labels = torch.randint(classes, (size,), generator=generator)
    forms: dict[str, Callable[[Tensor], Tensor]] = {"as it is": network}
    for backend in backends:
        forms[backend] = torch.compile(network, backend=backend, fullgraph=True)

    def step(form: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        processor, clock = time.process_time(), time.perf_counter()
        network.zero_grad()
        cross_entropy(form(frames).sum(0), labels).backward()
        return time.process_time() - processor, time.perf_counter() - clock

    step(network)  # numba's machine code is loaded
    starts = {name: step(form) for name, form in forms.items()}
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            times[name].append(1e3 * step(form)[0])
    plain = times["as it is"]
    return [
        [
            name,
            *starts[name],
            min(found),
            statistics.median(a / b for a, b in zip(found, plain, strict=True)),
        ]
        for name, found in times.items()
    ]


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="spoken_digits", choices=SIZES)
    parser.add_argument("--backends", nargs="+", default=["inductor", "aot_eager"])
    parser.add_argument("--rounds", type=int, default=30, help="steps of each form")
    options = parser.parse_args()
    print(machine("cpu"))
    rows = measure(options.dataset, options.backends, options.rounds)
    columns = ["form", "starts, s", "by the clock, s", "step, ms", "ratio"]
    table(f"A training step of {options.dataset}, processor time", columns, rows)


if __name__ == "__main__":
    main()
