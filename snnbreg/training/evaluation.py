"""Evaluation as a pure question: the network is the same, bit for bit, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from snnbreg.training.activity import Activity
from snnbreg.training.network import hard_delays_of
from snnbreg.training.tasks import Task

EVALUATIONS = ("published", "deployed")


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
    counting = activity.of(network) if activity is not None else nullcontext()
    with evaluation_mode(network), hard_delays_of(network, sigma), counting:
        for frames, labels in loader.epoch(0):
            score = task.score(network(frames), labels)
            loss = loss + score.loss.double() * score.count
            total = total + score.total
            if answers is not None and score.labels is not None and score.predicted is not None:
                answers.append((score.labels, score.predicted))
            samples += frames.shape[1]
            count += score.count
    if count == 0:
        raise ValueError("There is nothing to evaluate: the split holds no samples with labels")
    return {"loss": float(loss) / count, task.measure: float(total) / count, "samples": samples}
