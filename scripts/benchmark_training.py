"""Time what surrounds the recurrent layer: optimizer steps, and whole epochs of the networks.

    python scripts/benchmark_training.py [--device cpu] [--engine auto]

Optimizers: a step on the parameters of the SSC network and of ResNet-18, against torch's Adam, in
turn in one process.
Epochs: forward, backward and step over random frames of a data set's size, with its own network,
batch size and AdaBreg; long ones are measured over ten batches and scaled up.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from snnbreg import assembly
from snnbreg.datasets import FrameSet, Splits
from snnbreg.optim import AdaBreg, LinBreg
from snnbreg.training import RunFolder, Trainer

sys.path.insert(0, str(Path(__file__).parent))
from benchmark import clock, machine, table  # the other benchmark's clock and table

# samples, T, C, K of the training sets
SIZES = {
    "spoken_digits": (2_100, 100, 140, 10),
    "shd": (6_525, 100, 140, 20),
    "ssc": (75_466, 250, 140, 35),
    "rows_mnist": (54_000, 28, 28, 10),
    "psmnist": (49_800, 784, 1, 10),
}
MOST_BATCHES = 30


def config_of(dataset: str, *overrides: str) -> dict[str, Any]:
    """The checked config of a data set with AdaBreg."""
    with initialize_config_dir(
        str(Path(__file__).resolve().parents[1] / "configs"), version_base="1.3"
    ):
        return assembly.check(compose("config", [f"dataset={dataset}", *overrides]))


def resnet18() -> list[tuple[int, ...]]:
    """The shapes of ResNet-18's 11.17 million parameters, for images of 32 x 32 pixels."""
    shapes: list[tuple[int, ...]] = [(64, 3, 3, 3), (64,), (64,)]
    width = 64
    for channels in (64, 128, 256, 512):
        for _ in range(2):
            shapes += [(channels, width, 3, 3), (channels,), (channels,)]
            shapes += [(channels, channels, 3, 3), (channels,), (channels,)]
            if channels != width:
                shapes += [(channels, width, 1, 1), (channels,), (channels,)]
            width = channels
    return [*shapes, (10, 512), (10,)]


def optimizer_steps(
    shapes: list[tuple[int, ...]], groups: str, device: str, rounds: int = 60
) -> list[list[Any]]:
    """Least milliseconds of a step of each optimizer, in turn, and the ratio to Adam's.

    Args:
        shapes: of the parameters; those of one dimension carry no regulariser.
        groups: the regulariser of groups that is compared with l1, where it fits.
        device: where the parameters are.
        rounds: steps of each optimizer.
    """
    ndim = 4 if groups == "group_kernels" else 2
    made = {
        "torch Adam (foreach)": lambda p: torch.optim.Adam(p, lr=1e-3, foreach=True),
        "AdaBreg, l1": lambda p: AdaBreg(p, lr=1e-3, lam=0.1),
        f"AdaBreg, {groups}": lambda p: AdaBreg(p, lr=1e-3, lam=0.1),
        "LinBreg, l1": lambda p: LinBreg(p, lr=1e-1, lam=0.1),
        "LinBreg, l1, momentum": lambda p: LinBreg(p, lr=1e-1, lam=0.1, momentum=0.9),
        f"LinBreg, {groups}": lambda p: LinBreg(p, lr=1e-1, lam=0.1),
    }
    optimizers = {}
    for name, make in made.items():
        params = [torch.nn.Parameter(0.1 * torch.randn(s, device=device)) for s in shapes]
        kinds: dict[str, list[torch.nn.Parameter]] = {}
        for p in params:
            p.grad = torch.randn_like(p)
            kind = groups if groups in name and p.ndim == ndim else "l1"
            kinds.setdefault("none" if p.ndim == 1 else kind, []).append(p)
        named = "Adam " not in name
        optimizers[name] = make(
            [{"params": p, **({"regularizer": kind} if named else {})} for kind, p in kinds.items()]
        )
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, optimizer in optimizers.items():
            seconds, _ = clock(lambda: optimizer.step() or torch.empty(0), device)  # noqa: B023
            times[name].append(1e3 * seconds)
    adam = min(times["torch Adam (foreach)"])
    return [[name, min(found), min(found) / adam] for name, found in times.items()]


def epoch(dataset: str, engine: str, device: torch.device) -> list[Any]:
    """Samples, batches, seconds per batch and per epoch of one data set's network."""
    samples, steps, channels, classes = SIZES[dataset]
    config = config_of(dataset, f"model.engine={engine}")
    size = config["dataset"]["batch_size"]
    batches = -(-samples // size)
    shown = min(batches, MOST_BATCHES if steps * size * 256 < 1e7 else 4)
    generator = torch.Generator().manual_seed(0)
    count = min(samples, shown * size)
    rate = torch.full((count, steps, channels), 0.15)
    frames = torch.poisson(rate, generator=generator).to(torch.uint8)
    split = FrameSet(frames, torch.randint(classes, (count,), generator=generator))
    splits = Splits(dataset, split, split, split, channels, classes, steps)
    network = assembly.build_network(config, channels, classes, device)
    trainer = assembly.build_trainer(config, network, splits, RunFolder("unused"), device)
    times = _batches(trainer)[1:]
    seconds = statistics.median(times)
    return [dataset, samples, steps, size, seconds, seconds * batches]


def _batches(trainer: Trainer) -> list[float]:
    """Seconds of each batch of two epochs, data and step included."""
    ends = [time.perf_counter()]
    for number in range(2):
        batches = trainer.train.epoch(number)
        trainer.method.epoch(number, batches, lambda: ends.append(time.perf_counter()))
    return [end - start for start, end in itertools.pairwise(ends)]


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--engine", default="auto", help="auto, reference, cpu, triton")
    parser.add_argument("--datasets", nargs="*", default=list(SIZES), choices=list(SIZES))
    options = parser.parse_args()
    print(machine(options.device))
    network = assembly.build_network(config_of("ssc"), 140, 35, torch.device("cpu"))
    for title, shapes, groups in (
        ("the SSC network", [tuple(p.shape) for p in network.parameters()], "group_rows"),
        ("ResNet-18", resnet18(), "group_kernels"),
    ):
        table(
            f"A step on the parameters of {title}",
            ["optimizer", "ms", "ratio to Adam"],
            optimizer_steps(shapes, groups, options.device),
        )
    table(
        f"Training epochs, engine {options.engine}",
        ["data set", "samples", "T", "batch", "s / batch", "s / epoch"],
        [epoch(name, options.engine, torch.device(options.device)) for name in options.datasets],
    )


if __name__ == "__main__":
    main()
