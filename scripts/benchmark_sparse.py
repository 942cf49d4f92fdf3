"""Time training steps of sparse networks: what skipping zeros gains over dense products.

    python scripts/benchmark_sparse.py [--datasets ssc psmnist] [--density 1 0.35 0.1 0.05]
                                       [--sigma 10] [--rate 0.06] [--rounds 10] [--output FILE.json]

A step is forward, loss, backward and AdaBreg's update on random frames of the data set's size, with
its own network, batch size and dropouts. The weights are zero but for a random share, scaled so
that each hidden layer fires at the given rate. ``dense`` computes all products in full, ``sparse``
is what a layer chooses by itself: the same network with the same numbers, packing of the weights
and listing of the events included. The two take turns in one process; as the machine may be busy,
times are the process's own, the best of all rounds, and the ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snnbreg import assembly
from snnbreg.kernels.cpu import autograd, event_linear, matrices
from snnbreg.optim import AdaBreg

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import machine, table  # the other benchmark's machine and table
from benchmark_training import SIZES, config_of

DATASETS = ("ssc", "psmnist")


@contextmanager
def dense_products() -> Iterator[None]:
    """The layers skip no zeros inside the context."""
    with (
        patch.object(matrices, "MOST_WEIGHTS", 0.0),
        patch.object(event_linear, "MOST_EVENTS", 0.0),
        patch.object(autograd, "MOST_DELAYED", 0.0),
    ):
        yield


def build(dataset: str, density: float, sigma: float, rate: float, frames: Tensor) -> Any:
    """The data set's network at a density, every hidden layer at a firing rate.

    Weights that share no receiver with another one, those of a single input, all stay.
    """
    _, _, channels, classes = SIZES[dataset]
    torch.manual_seed(0)
    network: Any = assembly.build_network(
        config_of(dataset), channels, classes, torch.device("cpu")
    )
    network.sigma = sigma
    with torch.no_grad():
        for _, weight, _ in network.synapses():
            if weight.shape[1] > 1:
                weight.mul_(torch.rand_like(weight) < density).div_(density**0.5)
        network.eval()
        spikes = frames[:100, :16]
        for layer in network.layers:
            start, low, high = layer.linear.weight.clone(), 0.0, 64.0
            for _ in range(20):
                gain = 0.5 * (low + high)
                layer.linear.weight.copy_(gain * start)
                low, high = (gain, high) if layer(spikes).mean() < rate else (low, gain)
            spikes = layer(spikes)
    return network.train()


def steps(
    dataset: str, density: float, sigma: float, rate: float, rounds: int, batch: int | None = None
) -> dict[str, Any]:
    """Processor time of training steps in both forms, in turn.

    Args:
        dataset: a name in SIZES.
        density: share of the weights that are not zero.
        sigma: spread of the delay kernels, in steps.
        rate: share of the neurons of each hidden layer that fire per step, without dropout.
        rounds: steps of each form.
        batch: samples; by default the data set's.

    Returns:
        ``dense`` and ``sparse``, least ms; ``ratio``, the median of all rounds; the settings, and
        the ``loss`` of the first step in both forms.
    """
    _, T, channels, classes = SIZES[dataset]
    size = batch or config_of(dataset)["dataset"]["batch_size"]
    generator = torch.Generator().manual_seed(0)
    frames = torch.poisson(torch.full((T, size, channels), 0.15), generator=generator)
    labels = torch.randint(classes, (size,), generator=generator)
    network = build(dataset, density, sigma, rate, frames)
    optimizer = AdaBreg(network.parameters(), lr=1e-9)  # does not move the support

    def step(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)  # the same dropout in both forms
        start = time.process_time()
        optimizer.zero_grad()
        loss = cross_entropy(network(frames).sum(0), labels)
        loss.backward()
        optimizer.step()
        return 1e3 * (time.process_time() - start), float(loss.detach())

    times: dict[str, list[float]] = {"dense": [], "sparse": []}
    losses: dict[str, float] = {}
    for number in range(-1, rounds):  # the first round compiles
        with dense_products():
            dense, loss = step(number)
        losses.setdefault("dense", loss)
        sparse, loss = step(number)
        losses.setdefault("sparse", loss)
        if number >= 0:
            times["dense"].append(dense)
            times["sparse"].append(sparse)
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    settings = {"dataset": dataset, "density": density, "sigma": sigma, "rate": rate}
    return {**settings, **{k: min(v) for k, v in times.items()}, "ratio": ratio, "loss": losses}


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--datasets", nargs="*", default=DATASETS, choices=list(SIZES))
    parser.add_argument("--density", type=float, nargs="+", default=[1.0, 0.35, 0.1, 0.05])
    parser.add_argument("--sigma", type=float, default=10.0, help="spread of the delays, steps")
    parser.add_argument("--rate", type=float, default=0.06, help="firing rate of each layer")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, help="write all results to this file, as JSON")
    options = parser.parse_args()
    print(machine("cpu"))
    results = [
        steps(dataset, density, options.sigma, options.rate, options.rounds)
        for dataset in options.datasets
        for density in options.density
    ]
    table(
        f"Training steps, sigma {options.sigma:g}, rate {options.rate:g}, ms",
        ["data set", "density", "dense", "sparse", "dense / sparse"],
        [[r[name] for name in ("dataset", "density", "dense", "sparse", "ratio")] for r in results],
    )
    if options.output:
        options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
