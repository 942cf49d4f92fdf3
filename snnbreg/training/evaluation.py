"""Evaluation as a pure question: the network is the same, bit for bit, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from snnbreg.training.activity import Activity
from snnbreg.training.network import Network
from snnbreg.training.objectives import Objective

EVALUATIONS = ("published", "deployed")


class Loader(Protocol):
    """What the trainer needs of a data loader."""

    @property
    def ids(self) -> Tensor:
        """Numbers of the samples in their data set, in the order of an unshuffled epoch."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def epoch(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches (frames (T, B, C), labels (B,)) of that epoch."""


@contextmanager
def evaluation_mode(network: Network) -> Iterator[None]:
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
    network: Network,
    loader: Loader,
    objective: Objective,
    evaluation: str = "published",
    activity: Activity | None = None,
    answers: list[tuple[Tensor, Tensor]] | None = None,
) -> dict[str, float]:
    """Loss and accuracy over all samples of a loader.

    Args:
        network: any network of :mod:`snnbreg.models`.
        loader: its batches of epoch 0 are used.
        objective: gives loss and scores of a batch.
        evaluation: ``published`` (delays rounded, the current sigma) or ``deployed`` (delays
            rounded, sigma 0: one integer delay per neuron, what a chip runs).
        activity: counts spikes meanwhile if given.
        answers: gets the labels and the predicted classes of every batch, (B,) each, if given.

    Returns:
        ``loss`` (mean over samples), ``acc`` (fraction) and ``samples``.

    Raises:
        ValueError: for an unknown evaluation or a loader without samples.
    """
    if evaluation not in EVALUATIONS:
        raise ValueError(f"Unknown evaluation {evaluation!r}; choose from {', '.join(EVALUATIONS)}")
    sigma = 0.0 if evaluation == "deployed" else None
    loss = correct = torch.zeros((), dtype=torch.float64)
    samples = 0
    counting = activity.of(network) if activity is not None else nullcontext()
    with evaluation_mode(network), network.hard_delays(sigma), counting:
        for frames, labels in loader.epoch(0):
            batch_loss, scores = objective(network(frames), labels)
            loss = loss + batch_loss.double() * len(labels)
            predicted = scores.argmax(-1)
            correct = correct + (predicted == labels).sum()
            if answers is not None:
                answers.append((labels, predicted))
            samples += len(labels)
    if samples == 0:
        raise ValueError("There is nothing to evaluate: the split holds no samples")
    return {"loss": float(loss) / samples, "acc": float(correct) / samples, "samples": samples}
