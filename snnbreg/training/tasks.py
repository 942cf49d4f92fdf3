"""Tasks: what a label is, the loss of a network's outputs, and how they are scored.

T time steps, B batch, K classes, P values of a pattern.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

UNLABELLED = -1
"""The label of a time step that has none."""


@dataclass(frozen=True)
class Score:
    """What a task says of one batch.

    Attributes:
        loss: the mean over what is counted, a differentiable scalar.
        total: the measure, summed over what is counted, a scalar.
        count: samples, or labelled steps.
        labels: (B,) or (B, T), of those tasks that predict classes; else None.
        predicted: the predicted classes, of the same shape; else None.
    """

    loss: Tensor
    total: Tensor
    count: int
    labels: Tensor | None = None
    predicted: Tensor | None = None


class Task(ABC):
    """Maps outputs (T, B, K) and labels to a :class:`Score`; its instances hold no state.

    Attributes:
        measure: the name of the score in columns and messages (``val_acc``), a mean over samples
            or labelled steps.
        higher_is_better: the direction of the measure.
    """

    measure: ClassVar[str] = "acc"
    higher_is_better: ClassVar[bool] = True

    @abstractmethod
    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """Loss and measure of a batch.

        Args:
            outputs: of the network, (T, B, K).
            labels: as the data set gives them, samples first.
        """

    def count(self, labels: Tensor) -> int:
        """What :meth:`score` counts of these labels: samples, or labelled steps."""
        return len(labels)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """How likely each class is, by the outputs (T, B, K): (B, K), rows of sum 1.

        Raises:
            ValueError: the task has no single class per sample.
        """
        raise ValueError("The network was not trained to name one class per recording")


class Classification(Task):
    """One class per sample; labels (B,) int64 in [0, K).

    The outputs are summed over time, and the largest sum is the predicted class.

    Args:
        softmax: sum the softmax of the outputs instead, as published for SHD. A second
            log-softmax acts on these sums in the loss: that is the published loss, not a slip.
        mean: the loss is that of the mean over time, which says the same classes. Over many steps
            a small step of a weight moves a sum by much, so that sums want small learning rates.

    Source: Queant et al. 2025 (arXiv 2509.24852), published code.

    Example:
        >>> import torch
        >>> score = Classification().score(torch.zeros(3, 2, 4), torch.tensor([0, 3]))
        >>> round(score.loss.item(), 4), score.total.item(), score.count
        (1.3863, 1, 2)
    """

    def __init__(self, softmax: bool = False, mean: bool = False) -> None:
        self.softmax, self.mean = softmax, mean

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """Cross-entropy of the sums over time, or of the means."""
        _refuse_steps(labels)
        sums = self._sums(outputs)
        predicted = sums.detach().argmax(-1)
        right = (predicted == labels).sum()
        return Score(F.cross_entropy(sums, labels), right, len(labels), labels, predicted)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Those of which the loss is the cross-entropy."""
        return self._sums(outputs).softmax(-1)

    def _sums(self, outputs: Tensor) -> Tensor:
        values = outputs.softmax(-1) if self.softmax else outputs
        return values.mean(0) if self.mean else values.sum(0)


class StepClassification(Task):
    """One class per time step; labels (B, T) int64, ``UNLABELLED`` where a step has none.

    Loss and accuracy are means over the labelled steps of all samples, so that a long sample
    weighs more than a short one.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[0, UNLABELLED, 1]])
        >>> score = StepClassification().score(torch.zeros(3, 1, 4), labels)
        >>> round(score.loss.item(), 4), score.total.item(), score.count
        (1.3863, 1, 2)
    """

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """Cross-entropy of the outputs at the labelled steps."""
        outputs = outputs.transpose(0, 1)
        if labels.shape != outputs.shape[:2]:
            raise ValueError(
                f"The labels are {tuple(labels.shape)} and the outputs, samples first, "
                f"{tuple(outputs.shape)}: a task of one class per time step needs labels (B, T) "
                "for outputs of (T, B, K)"
            )
        labelled = labels != UNLABELLED
        count = self.count(labels)
        loss = F.cross_entropy(
            outputs.flatten(0, 1), labels.flatten(), ignore_index=UNLABELLED, reduction="sum"
        )
        predicted = outputs.detach().argmax(-1)
        right = ((predicted == labels) & labelled).sum()
        return Score(loss / max(count, 1), right, count, labels, predicted)

    def count(self, labels: Tensor) -> int:
        """Labelled steps."""
        return int((labels != UNLABELLED).sum())


class LastStep(Task):
    """One class per sample; labels (B,) int64. The largest output of the last step is predicted.

    Args:
        squared: the loss is the squared distance of the last outputs to the one-hot label, which
            ADMM minimises, instead of cross-entropy.

    Source: Perin et al. 2025 (arXiv 2505.05527).

    Example:
        >>> import torch
        >>> outputs = torch.tensor([[[9.0, 0.0]], [[0.0, 0.5]]])  # two steps, one sample
        >>> score = LastStep(squared=True).score(outputs, torch.tensor([1]))
        >>> score.loss.item(), score.total.item(), score.count
        (0.25, 1, 1)
    """

    def __init__(self, squared: bool = False) -> None:
        self.squared = squared

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """The loss at the last step."""
        _refuse_steps(labels)
        last = outputs[-1]
        if self.squared:
            wanted = F.one_hot(labels, last.shape[-1]).to(last.dtype)
            loss = (last - wanted).square().sum(-1).mean()
        else:
            loss = F.cross_entropy(last, labels)
        predicted = last.detach().argmax(-1)
        return Score(loss, (predicted == labels).sum(), len(labels), labels, predicted)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Softmax of the last step."""
        return outputs[-1].softmax(-1)


class Reconstruction(Task):
    """A pattern per sample; labels (B, P) are what the mean output over time is to be.

    The measure is the mean squared error, so that the lowest one is the best.

    Example:
        >>> import torch
        >>> score = Reconstruction().score(torch.ones(5, 2, 3), torch.zeros(2, 3))
        >>> score.loss.item(), score.total.item(), score.count
        (1.0, 2.0, 2)
    """

    measure = "mse"
    higher_is_better = False

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        """Mean squared error of the mean over time."""
        errors = (self.pattern(outputs) - labels.flatten(1)).square().mean(1)
        return Score(errors.mean(), errors.detach().sum(), len(labels))

    @staticmethod
    def pattern(outputs: Tensor) -> Tensor:
        """What the outputs (T, B, P) say: their mean over time, (B, P)."""
        return outputs.mean(0)


def _refuse_steps(labels: Tensor) -> None:
    if labels.ndim != 1:
        raise ValueError(
            f"The labels are {tuple(labels.shape)}, but this task has one class for each sample, "
            "(B,). The one of a class at every step is step_cross_entropy "
            "(model.objective=step_cross_entropy)"
        )


TASKS: dict[str, Task] = {
    "sum_cross_entropy": Classification(),
    "softmax_sum_cross_entropy": Classification(softmax=True),
    "mean_cross_entropy": Classification(mean=True),
    "step_cross_entropy": StepClassification(),
    "last_cross_entropy": LastStep(),
    "last_squared_error": LastStep(squared=True),
    "mean_squared_error": Reconstruction(),
}
"""The tasks by the name of their loss, as ``model.objective`` has it."""
