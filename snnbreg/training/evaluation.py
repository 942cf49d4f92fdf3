"""Evaluation as a pure question: the network is the same, bit for bit, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from snnbreg.training.activity import Activity
from snnbreg.training.network import hard_delays_of
from snnbreg.training.processes import Processes
from snnbreg.training.tasks import Task

EVALUATIONS = ("published", "deployed")
Answers = tuple[Tensor, Tensor]
"""Labels and predicted classes of a batch, (B,) or (B, T) each."""


class Loader(Protocol):
    """What the trainer needs of a data loader."""

    @property
    def ids(self) -> Tensor:
        """Numbers of the samples in their data set, in the order of an unshuffled epoch."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def epoch(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches of that epoch: frames (T, B, C), and labels as the task has them."""


class SameBatches:
    """A loader whose every epoch has the batches of its first, with the same samples and frames.

    Args:
        loader: in the split's order.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader, self.ids = loader, loader.ids

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches of epoch 0."""
        return self.loader.epoch(0)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation and without gradients; afterwards every module's mode is as it was."""
    modes = {module: module.training for module in network.modules()}
    network.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def evaluate(
    network: nn.Module,
    loader: Loader,
    task: Task,
    evaluation: str = "published",
    activity: Activity | None = None,
    answers: list[tuple[Tensor, Tensor]] | None = None,
    processes: Processes | None = None,
) -> dict[str, float]:
    """Loss and measure over all samples of a loader.

    Args:
        network: any module; whole delays where it has delays.
        loader: its batches of epoch 0 are used.
        task: gives loss and measure of a batch.
        evaluation: ``published`` (delays rounded, the current sigma) or ``deployed`` (delays
            rounded, sigma 0: one integer delay per neuron, what a chip runs).
        activity: counts spikes meanwhile if given.
        answers: gets the labels and the predicted classes of every batch, (B,) or (B, T) each, if
            given and if the task predicts classes.
        processes: share the samples of every batch, and all of them get all results; None for
            this one alone.

    Returns:
        ``loss`` and the task's measure (such as ``acc``, a fraction), means over what the task
        counts, and ``samples``.

    Raises:
        ValueError: for an unknown evaluation or a loader without samples.
    """
    if evaluation not in EVALUATIONS:
        raise ValueError(f"Unknown evaluation {evaluation!r}; choose from {', '.join(EVALUATIONS)}")
    sigma = 0.0 if evaluation == "deployed" else None
    loss = total = torch.zeros((), dtype=torch.float64)
    samples = count = 0
    together = processes if processes is not None and processes.count > 1 else None
    own: list[Answers | None] = []  # to this process's samples
    counting = activity.of(network) if activity is not None else nullcontext()
    with evaluation_mode(network), hard_delays_of(network, sigma), counting:
        for frames, labels in loader.epoch(0):
            samples += frames.shape[1]
            mine = slice(None) if together is None else together.samples(len(labels))
            if mine is None:
                own.append(None)
                continue
            score = task.score(network(frames[:, mine]), labels[mine])
            loss = loss + score.loss.double() * score.count
            total = total + score.total
            known = score.labels is not None and score.predicted is not None
            own.append((score.labels, score.predicted) if known else None)  # type: ignore[arg-type]
            count += score.count
    sums = [float(loss), float(total), float(count)]
    if together is not None:
        sums = together.sums(*sums)
        own = own if answers is None else _interleaved(together, own)
        if activity is not None:
            activity.join(together.gather(activity.on_cpu()))
    if sums[2] == 0:
        raise ValueError("There is nothing to evaluate: the split holds no samples with labels")
    if answers is not None:
        answers += [answer for answer in own if answer is not None]
    return {"loss": sums[0] / sums[2], task.measure: sums[1] / sums[2], "samples": samples}


def _interleaved(processes: Processes, own: Sequence[Answers | None]) -> list[Answers | None]:
    """The answers to whole batches, from those of each process to its samples."""
    found = processes.gather([answer and (answer[0].cpu(), answer[1].cpu()) for answer in own])
    batches: list[Answers | None] = []
    for parts in zip(*found, strict=True):
        if parts[0] is None:  # the task predicts no classes
            continue
        given = [part for part in parts if part is not None]  # of the first processes
        labels, predicted = zip(*given, strict=True)
        batches.append(
            (_dealt_back(labels, processes.count), _dealt_back(predicted, processes.count))
        )
    return batches


def _dealt_back(parts: Sequence[Tensor], count: int) -> Tensor:
    """A batch, of which part k has the entries k, k + count, ..."""
    whole = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        whole[rank::count] = part
    return whole
