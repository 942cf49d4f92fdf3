"""Training steps and epochs, each measured alone; in this process or in one of another checkout.

Of the package only names are used that older versions have as well.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from benchmark_training import config_of
from torch import Tensor
from torch.nn.functional import cross_entropy

import snnbreg
from snnbreg import assembly
from snnbreg.datasets import FrameSet, Splits
from snnbreg.optim import AdaBreg
from snnbreg.training import RunFolder
from snnbreg.training.rows import validation_row

STILL = ("optim.lr=1e-9", "optim.lam=0.1", "scheduler.lam=null", "model.sigma_decay=1")
"""Neither the support nor the spread of the kernels moves."""

Measure = Callable[[int], tuple[float, float]]
"""Takes a number, of which the random draws depend; gives seconds and the loss."""


class Job(NamedTuple):
    """What is measured."""

    kind: str
    """``steps`` or ``epochs``."""
    dataset: str
    sizes: tuple[int, int, int, int]
    """Training samples, T, C, K."""
    validation: int
    """Samples."""
    batch: int
    """Samples of a step."""
    shown: int
    """Batches of training that are computed of an epoch; one of validation samples with them."""
    sigma: float
    """Spread of the delay kernels, steps."""
    state: dict[str, Tensor] | None
    """The network's parameters, if not its initial ones."""


def clock() -> Callable[[], float]:
    """What tells the seconds: the process's own with one thread, the clock's with more."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def random_frames(samples: int, job: Job, generator: torch.Generator) -> FrameSet:
    """Frames (S, T, C) of 0.15 events on average, and labels, of a generator alone."""
    _, steps, channels, classes = job.sizes
    frames = torch.poisson(torch.full((samples, steps, channels), 0.15), generator=generator)
    labels = torch.randint(classes, (samples,), generator=generator)
    return FrameSet(frames.to(torch.uint8), labels)


def network_of(job: Job) -> Any:
    """The data set's network with the job's parameters, in training mode."""
    _, _, channels, classes = job.sizes
    config = config_of(job.dataset)
    network: Any = assembly.build_network(config, channels, classes, torch.device("cpu"))
    network.sigma = job.sigma
    if job.state is not None:
        network.load_state_dict(job.state)
    return network.train()


def measure(job: Job) -> Measure:
    """The function that does one step, or one epoch, and tells its time."""
    return {"steps": _step, "epochs": _epoch}[job.kind](job)


def _step(job: Job) -> Measure:
    """Forward, loss, backward and AdaBreg's update, always of the same batch."""
    batch = random_frames(job.batch, job, torch.Generator().manual_seed(0))
    frames = batch.frames.transpose(0, 1).float().contiguous()
    network = network_of(job)
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "regularizer": "none"}]
    optimizer = AdaBreg(groups, lr=1e-9, lam=0.1)  # does not move the support
    now = clock()

    def step(number: int) -> tuple[float, float]:
        torch.manual_seed(number)  # the same dropout in all forms
        start = now()
        optimizer.zero_grad()
        loss = cross_entropy(network(frames).sum(0), batch.labels)
        loss.backward()
        optimizer.step()
        return now() - start, float(loss.detach())

    return step


def _epoch(job: Job) -> Measure:
    """The trainer's: loading, steps, hooks, both evaluations; a few batches, scaled up."""
    samples, steps, channels, classes = job.sizes
    config = config_of(job.dataset, *STILL, f"model.sigma={job.sigma}")
    generator = torch.Generator().manual_seed(0)
    train = random_frames(job.shown * config["dataset"]["batch_size"], job, generator)
    valid = random_frames(config["dataset"]["eval_batch_size"], job, generator)
    splits = Splits(job.dataset, train, valid, valid, channels, classes, steps)
    network, device = network_of(job), torch.device("cpu")
    logging.getLogger("snnbreg").setLevel(logging.ERROR)  # it warns that nothing moves
    trainer = assembly.build_trainer(config, network, splits, RunFolder("unused"), device)
    now = clock()

    def epoch(number: int) -> tuple[float, float]:
        torch.manual_seed(number)
        start = now()
        row = trainer.method.epoch(0, trainer.train.epoch(0), lambda: None)
        between = now()
        validation_row(network, trainer.valid, trainer.task)
        training, validation = between - start, now() - between
        scaled = training * samples / len(train) + validation * job.validation / len(valid)
        return scaled, row["train_loss"]

    return epoch


class Checkout:
    """The package of another checkout, measured in a process of its own, which ends with the block.

    Args:
        root: of the checkout.
    """

    def __init__(self, root: Path) -> None:
        root = root.resolve()
        self._folder = TemporaryDirectory()
        paths = os.pathsep.join([str(root), str(root / "scripts")])
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(root), str(torch.get_num_threads())],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Checkout:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):  # of a line the process has not read
            self._process.communicate()
        self._folder.cleanup()

    def measure(self, job: Job) -> Measure:
        """As the function of this name; the one made before cannot be called any more.

        Raises:
            RuntimeError: the process ended.
        """
        path = Path(self._folder.name) / "job.pt"
        torch.save(tuple(job), path)
        self._ask(str(path))
        return lambda number: tuple(map(float, self._ask(str(number)).split()))  # type: ignore[return-value]

    def _ask(self, line: str) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            print(line, file=stdin, flush=True)
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError("the other checkout's process ended; its messages stand above")
        return answer


def serve(root: Path) -> None:
    """Do what the lines of standard input ask: a job's file, then numbers."""
    if not Path(snnbreg.__file__).is_relative_to(root):
        raise SystemExit(f"{root} holds no package snnbreg, {snnbreg.__file__} was found")
    measured: Measure | None = None
    for line in map(str.strip, sys.stdin):
        if line.lstrip("-").isdigit():
            assert measured is not None
            print(*measured(int(line)), flush=True)
        else:
            measured = measure(Job(*torch.load(line)))
            print("ready", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    serve(Path(sys.argv[1]))
