"""Time feed-forward delays per synapse: event by event, and as a convolution in time.

    python scripts/benchmark_synaptic.py [--senders 128] [--receivers 128] [--steps 100]
                                         [--batch 64] [--rate 0.06] [--scale 12]
                                         [--sigma 10 3 0] [--rounds 5]

Forward and backward of one layer, every gradient included. The two take turns in one process, with
one thread; times are the process's own, as the machine may be busy: the least of all rounds. The
ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

from snnbreg import functional
from snnbreg.kernels import cpu

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import machine, table  # the other benchmark's machine and table

FORMS = {"convolution": functional.delayed_linear, "events": cpu.delayed_linear}


def steps(options: argparse.Namespace, sigma: float) -> list[float]:
    """Least ms of both forms, forward and backward, and the median ratio of their sums."""
    T, B, C, N = options.steps, options.batch, options.senders, options.receivers
    torch.manual_seed(0)
    events = (torch.rand(T, B, C) < options.rate).float().requires_grad_()
    weight = (torch.randn(N, C) / C**0.5).requires_grad_()
    delay = (options.scale * torch.randn(N, C).abs()).requires_grad_()
    given = events, weight, torch.zeros(N, requires_grad=True), delay, torch.tensor(1 + sigma)
    grad = torch.randn(T, B, N)
    times: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
    for _ in range(options.rounds + 1):  # the first round compiles
        for form, function in FORMS.items():
            start = time.process_time()
            current = function(*given)
            between = time.process_time()
            current.backward(grad)
            times[form].append((between - start, time.process_time() - between))
    best = [1e3 * min(found[1:]) for form in FORMS for found in zip(*times[form], strict=True)]
    rounds = list(zip(*times.values(), strict=True))[1:]
    return [*best, statistics.median(sum(a) / sum(b) for a, b in rounds)]


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in (("senders", 128), ("receivers", 128), ("steps", 100), ("batch", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", type=float, default=0.06, help="share of senders that fire")
    parser.add_argument("--scale", type=float, default=12.0, help="of the delays, steps")
    parser.add_argument("--sigma", type=float, nargs="+", default=[10.0, 3.0, 0.0], help="steps")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("cpu"))
    table(
        f"One layer, {options.senders} to {options.receivers}, forward + backward, ms",
        ["sigma", "convolution", "", "events", "", "ratio"],
        [[sigma, *steps(options, sigma)] for sigma in options.sigma],
    )


if __name__ == "__main__":
    main()
