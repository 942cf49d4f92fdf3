"""Time training steps and epochs of sparse networks: what skipping zeros gains.

    python scripts/benchmark_sparse.py [--datasets ssc psmnist] [--density 1 0.35 0.1 0.05]
                                       [--sigma 10] [--rate 0.06] [--rounds 10] [--threads 1]
                                       [--against CHECKOUT] [--output FILE.json]

A step is forward, loss, backward and AdaBreg's update on random frames of the data set's size, with
its own network, batch size and dropouts. The weights are zero but for a random share, scaled so
that each hidden layer fires at the given rate. ``dense`` computes all products in full, ``sparse``
is what a layer chooses by itself: the same network with the same numbers, packing of the weights
and listing of the events included. The two take turns in one process; the best of all rounds
counts, and the ratio is the median of the rounds'. With one thread times are the process's own, as
the machine may be busy; with more they are the clock's, which needs an idle one.

An epoch is that of the trainer: loading, steps, hooks, and both evaluations of the validation
samples; a few of its batches are measured and scaled up.

``--against`` takes a third turn in each round: another checkout of this repository, such as an
older version, computes the same steps in a process of its own (``before``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from snnbreg.kernels.cpu import autograd, event_linear, matrices

sys.path.insert(0, str(Path(__file__).parent))
from baselines.training import Checkout, Job, Measure, measure, network_of, random_frames
from benchmark import machine, table  # the other benchmark's machine and table
from benchmark_training import SIZES, config_of

DATASETS = ("ssc", "psmnist")
VALIDATION = {"ssc": 9_981, "psmnist": 10_200}  # samples
UNITS = {"steps": 1e3, "epochs": 1.0}
"""Of a table's times: steps in ms, epochs in s."""


@contextmanager
def dense_products() -> Iterator[None]:
    """The layers skip no zeros inside the context."""
    with (
        patch.object(matrices, "MOST_WEIGHTS", 0.0),
        patch.object(event_linear, "MOST_EVENTS", 0.0),
        patch.object(autograd, "MOST_DELAYED", 0.0),
    ):
        yield


def job_of(
    dataset: str, density: float, sigma: float, rate: float, batch: int | None = None
) -> Job:
    """Steps of the data set's network at a density, every hidden layer at a firing rate.

    Args:
        dataset: a name in SIZES.
        density: share of the weights that are not zero.
        sigma: spread of the delay kernels, in steps.
        rate: share of the neurons of each hidden layer that fire per step, without dropout.
        batch: samples; by default the data set's.
    """
    size = batch or config_of(dataset)["dataset"]["batch_size"]
    job = Job("steps", dataset, SIZES[dataset], VALIDATION[dataset], size, 2, sigma, None)
    frames = random_frames(16, job, torch.Generator().manual_seed(1)).frames[:, :100]
    return job._replace(state=parameters(job, density, rate, frames.transpose(0, 1).float()))


def parameters(job: Job, density: float, rate: float, frames: Tensor) -> dict[str, Tensor]:
    """A state of the network in which frames (T, B, C) make each hidden layer fire at the rate.

    Weights that share no receiver with another one, those of a single input, all stay.
    """
    torch.manual_seed(0)
    network = network_of(job).eval()
    with torch.no_grad():
        for _, weight, _ in network.synapses():
            if weight.shape[1] > 1:
                weight.mul_(torch.rand_like(weight) < density).div_(density**0.5)
        spikes = frames
        for layer in network.layers:
            start, low, high = layer.linear.weight.clone(), 0.0, 64.0
            for _ in range(20):
                gain = 0.5 * (low + high)
                layer.linear.weight.copy_(gain * start)
                low, high = (gain, high) if layer(spikes).mean() < rate else (low, gain)
            spikes = layer(spikes)
    return network.state_dict()


def compare(job: Job, rounds: int, other: Checkout | None = None) -> dict[str, Any]:
    """Least times of the forms, in turn, in the unit of the job's kind.

    Args:
        job: what is computed in all forms.
        rounds: measurements of each form, after one that only compiles.
        other: computes it as well, if given.

    Returns:
        ``dense`` and ``sparse``, and ``ratio``, the median of the rounds' ratios; ``before`` and
        ``ratio_before`` with another checkout; ``loss``, by form, of the first round.
    """
    ours = measure(job)
    forms: dict[str, Measure] = {"dense": _in_full(measure(job)), "sparse": ours}
    if other:
        forms["before"] = other.measure(job)
    times: dict[str, list[float]] = {form: [] for form in forms}
    losses = {form: run(-1)[1] for form, run in forms.items()}
    for number in range(rounds):
        for form, run in forms.items():
            times[form].append(run(number)[0])
    found: dict[str, Any] = {f: UNITS[job.kind] * min(seconds) for f, seconds in times.items()}
    for form, name in (("dense", "ratio"), ("before", "ratio_before")):
        if form in times:
            pairs = zip(times[form], times["sparse"], strict=True)
            found[name] = statistics.median(a / b for a, b in pairs)
    return {**found, "loss": losses}


def _in_full(run: Measure) -> Measure:
    """The same with all products in full."""

    def dense(number: int) -> tuple[float, float]:
        with dense_products():
            return run(number)

    return dense


def rows(options: argparse.Namespace, other: Checkout | None) -> list[dict[str, Any]]:
    """Steps and epochs of all data sets and densities, written to the output after each."""
    results = []
    for dataset in options.datasets:
        for density in options.density:
            job = job_of(dataset, density, options.sigma, options.rate)
            for kind, rounds in (("steps", options.rounds), ("epochs", -(-options.rounds // 2))):
                found = compare(job._replace(kind=kind), rounds, other)
                results.append({"dataset": dataset, "density": density, "kind": kind, **found})
                if options.output:  # all of them take minutes
                    options.output.write_text(json.dumps(results, indent=1))
    return results


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--datasets", nargs="*", default=DATASETS, choices=DATASETS)
    parser.add_argument("--density", type=float, nargs="+", default=[1.0, 0.35, 0.1, 0.05])
    parser.add_argument("--sigma", type=float, default=10.0, help="spread of the delays, steps")
    parser.add_argument("--rate", type=float, default=0.06, help="firing rate of each layer")
    parser.add_argument("--rounds", type=int, default=10, help="of steps; epochs have a half")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--against", type=Path, help="root of another checkout of this repository")
    parser.add_argument("--output", type=Path, help="write all results to this file, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine("cpu"))
    with Checkout(options.against) if options.against else nullcontext() as other:
        results = rows(options, other)
    names = ["dataset", "density", "kind", "dense", "sparse", "ratio"]
    names += ["before", "ratio_before"] if options.against else []
    table(
        f"Training, sigma {options.sigma:g}, rate {options.rate:g}, threads {options.threads}: "
        "steps in ms, epochs in s",
        names,
        [[row[name] for name in names] for row in results],
    )


if __name__ == "__main__":
    main()
