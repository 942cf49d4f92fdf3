"""Time training steps and epochs of sparse networks: what skipping zeros gains.

    python scripts/benchmark_sparse.py [--datasets ssc psmnist] [--density 1 0.35 0.1 0.05]
                                       [--sigma 10] [--rate 0.06] [--rounds 10] [--threads 1]
                                       [--output FILE.json]

A step is forward, loss, backward and AdaBreg's update on random frames of the data set's size, with
its own network, batch size and dropouts. The weights are zero but for a random share, scaled so
that each hidden layer fires at the given rate. ``dense`` computes all products in full, ``sparse``
is what a layer chooses by itself: the same network with the same numbers, packing of the weights
and listing of the events included. The two take turns in one process; the best of all rounds
counts, and the ratio is the median of the rounds'. With one thread times are the process's own, as
the machine may be busy; with more they are the clock's, which needs an idle one.

An epoch is that of the trainer: loading, steps, hooks, and both evaluations of the validation
samples; a few of its batches are measured and scaled up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snnbreg import assembly
from snnbreg.datasets import FrameSet, Splits
from snnbreg.kernels.cpu import autograd, event_linear, matrices
from snnbreg.optim import AdaBreg, parameter_groups
from snnbreg.training import RunFolder
from snnbreg.training.rows import validation_row

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import machine, table  # the other benchmark's machine and table
from benchmark_training import SIZES, config_of

DATASETS = ("ssc", "psmnist")
VALIDATION = {"ssc": 9_981, "psmnist": 10_200}  # samples
STILL = ("optim.lr=1e-9", "optim.lam=0.1", "scheduler.lam=null", "model.sigma_decay=1")
"""Neither the support nor the spread of the kernels moves."""


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
    """Time of training steps in both forms, in turn.

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
    optimizer = AdaBreg(parameter_groups(network), lr=1e-9)  # does not move the support
    now = clock()
    losses: list[float] = []

    def step(number: int) -> float:
        torch.manual_seed(number)  # the same dropout in both forms
        start = now()
        optimizer.zero_grad()
        loss = cross_entropy(network(frames).sum(0), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        return 1e3 * (now() - start)

    times, ratio = in_turn(step, rounds)
    settings = {"dataset": dataset, "density": density, "sigma": sigma, "rate": rate}
    return {**settings, **times, "ratio": ratio, "loss": dict(zip(times, losses, strict=False))}


def epochs(
    dataset: str, density: float, sigma: float, rate: float, rounds: int, shown: int = 2
) -> dict[str, float]:
    """Time of an epoch of the trainer in both forms, in turn.

    Args:
        dataset: a name in VALIDATION.
        density: share of the weights that are not zero.
        sigma: spread of the delay kernels, in steps.
        rate: share of the neurons of each hidden layer that fire per step.
        rounds: measurements of each form.
        shown: batches of training in one of them; a batch of validation samples with it.

    Returns:
        ``epoch_dense`` and ``epoch_sparse``, least seconds; ``epoch_ratio``, the median.
    """
    samples, steps_, channels, classes = SIZES[dataset]
    config = config_of(dataset, *STILL, f"model.sigma={sigma}")
    size, other = (config["dataset"][f"{kind}batch_size"] for kind in ("", "eval_"))
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> FrameSet:
        frames = torch.poisson(torch.full((count, steps_, channels), 0.15), generator=generator)
        labels = torch.randint(classes, (count,), generator=generator)
        return FrameSet(frames.to(torch.uint8), labels)

    train, valid = split(shown * size), split(other)
    splits = Splits(dataset, train, valid, valid, channels, classes, steps_)
    network = build(dataset, density, sigma, rate, train.frames.transpose(0, 1).float())
    trainer = assembly.build_trainer(
        config, network, splits, RunFolder("unused"), torch.device("cpu")
    )
    now = clock()

    def epoch(_: int) -> float:
        start = now()
        trainer.method.epoch(0, trainer.train.epoch(0), lambda: None)
        between = now()
        validation_row(network, trainer.valid, trainer.task)
        training, validation = between - start, now() - between
        return training * samples / len(train) + validation * VALIDATION[dataset] / len(valid)

    times, ratio = in_turn(epoch, rounds)
    return {**{f"epoch_{form}": seconds for form, seconds in times.items()}, "epoch_ratio": ratio}


def in_turn(measure: Callable[[int], float], rounds: int) -> tuple[dict[str, float], float]:
    """The least time of either form, and the median ratio; the first round, -1, only compiles."""
    times: dict[str, list[float]] = {"dense": [], "sparse": []}
    for number in range(-1, rounds):
        with dense_products():
            dense = measure(number)
        sparse = measure(number)
        if number >= 0:
            times["dense"].append(dense)
            times["sparse"].append(sparse)
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    return {form: min(found) for form, found in times.items()}, ratio


def clock() -> Callable[[], float]:
    """What tells the seconds: the process's own with one thread, the clock's with more."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--datasets", nargs="*", default=DATASETS, choices=DATASETS)
    parser.add_argument("--density", type=float, nargs="+", default=[1.0, 0.35, 0.1, 0.05])
    parser.add_argument("--sigma", type=float, default=10.0, help="spread of the delays, steps")
    parser.add_argument("--rate", type=float, default=0.06, help="firing rate of each layer")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write all results to this file, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine("cpu"))
    results = []
    for dataset in options.datasets:
        for density in options.density:
            settings = dataset, density, options.sigma, options.rate, options.rounds
            results.append({**steps(*settings), **epochs(*settings)})
            if options.output:  # after every row: all of them take minutes
                options.output.write_text(json.dumps(results, indent=1))
    names = ["dense", "sparse", "ratio", "epoch_dense", "epoch_sparse", "epoch_ratio"]
    table(
        f"Training, sigma {options.sigma:g}, rate {options.rate:g}, threads {options.threads}: a "
        "step in ms, an epoch in s",
        ["data set", "density", *names],
        [[r[name] for name in ("dataset", "density", *names)] for r in results],
    )


if __name__ == "__main__":
    main()
