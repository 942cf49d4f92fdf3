"""Tasks against their formulas, written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from snnbreg.datasets import FrameLoader, FrameSet
from snnbreg.training import TASKS
from snnbreg.training.tasks import UNLABELLED


def cross_entropy(scores: list[float], label: int) -> float:
    return math.log(sum(math.exp(s) for s in scores)) - scores[label]


@pytest.mark.parametrize(
    "name", ["sum_cross_entropy", "mean_cross_entropy", "softmax_sum_cross_entropy"]
)
def test_one_class_per_sample(name: str) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(4, 3, 5, dtype=torch.float64)
    labels = [1, 4, 0]
    expected, predicted = 0.0, []
    for b, label in enumerate(labels):
        scores = [0.0] * 5
        for t in range(4):
            row = outputs[t, b].tolist()
            if name == "softmax_sum_cross_entropy":
                total = sum(math.exp(x) for x in row)
                row = [math.exp(x) / total for x in row]
            scores = [s + x for s, x in zip(scores, row, strict=True)]
        if name == "mean_cross_entropy":
            scores = [s / 4 for s in scores]
        expected += cross_entropy(scores, label)
        predicted.append(scores.index(max(scores)))
    score = TASKS[name].score(outputs, torch.tensor(labels))
    assert score.loss.item() == pytest.approx(expected / 3, abs=1e-12)
    assert score.predicted is not None
    assert score.predicted.tolist() == predicted
    assert score.labels is not None
    assert score.labels.tolist() == labels
    right = sum(p == label for p, label in zip(predicted, labels, strict=True))
    assert (score.total.item(), score.count) == (right, 3)


def test_one_class_per_step() -> None:
    """Two samples, of which one has fewer labelled steps; both weigh by their steps."""
    torch.manual_seed(1)
    outputs = torch.randn(4, 2, 3, dtype=torch.float64)
    labels = [[2, 0], [1, UNLABELLED], [UNLABELLED, UNLABELLED], [0, 1]]
    losses, right = [], 0
    for t, row in enumerate(labels):
        for b, label in enumerate(row):
            if label != UNLABELLED:
                scores = outputs[t, b].tolist()
                losses.append(cross_entropy(scores, label))
                right += scores.index(max(scores)) == label
    score = TASKS["step_cross_entropy"].score(outputs, torch.tensor(labels).T)
    assert score.loss.item() == pytest.approx(sum(losses) / 5, abs=1e-12)
    assert (score.total.item(), score.count) == (right, 5)
    assert score.labels is not None
    assert score.predicted is not None
    assert score.labels.tolist() == [list(column) for column in zip(*labels, strict=True)]
    assert score.predicted.tolist() == outputs.argmax(2).T.tolist()
    with pytest.raises(ValueError, match=r"needs labels \(B, T\)"):
        TASKS["step_cross_entropy"].score(outputs, torch.zeros(2, dtype=torch.int64))


def test_labels_per_step_come_from_a_loader_as_the_task_wants_them() -> None:
    """Labels of samples 2 and 0, one per step, of which the shorter sample lacks the last."""
    labels = torch.tensor([[0, 1, 1], [2, 2, 2], [1, 0, UNLABELLED]])
    frames = FrameSet(torch.zeros(3, 3, 1, dtype=torch.uint8), labels)
    loader = FrameLoader(frames.subset(torch.tensor([2, 0])), batch_size=2)
    outputs = torch.nn.functional.one_hot(torch.tensor([[1, 0], [0, 1], [2, 0]]), 3).double()
    for _, batch in loader.epoch(0):
        score = TASKS["step_cross_entropy"].score(outputs, batch)
        assert (score.total.item(), score.count) == (4, 5)  # the last step of sample 0 is wrong


def test_a_single_labelled_step_is_the_mean() -> None:
    outputs = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]], dtype=torch.float64)
    score = TASKS["step_cross_entropy"].score(outputs, torch.tensor([[0, UNLABELLED]]))
    assert score.loss.item() == pytest.approx(cross_entropy([1.0, 3.0], 0), abs=1e-12)


def test_a_batch_without_labels_counts_nothing() -> None:
    outputs = torch.zeros(3, 2, 4, requires_grad=True)
    score = TASKS["step_cross_entropy"].score(outputs, torch.full((2, 3), UNLABELLED))
    assert (score.loss.item(), score.total.item(), score.count) == (0.0, 0, 0)


def test_reconstruction_is_the_mean_over_time() -> None:
    outputs = torch.tensor([[[1.0, 2.0], [0.0, 1.0]], [[3.0, 6.0], [0.0, 1.0]]]).double()
    task = TASKS["mean_squared_error"]
    score = task.score(outputs, torch.ones(2, 2, 1, dtype=torch.float64))
    # means 2, 4 and 0, 1 instead of 1, 1: (1 + 9) / 2 and (1 + 0) / 2
    assert (score.loss.item(), score.total.item(), score.count) == (2.75, 5.5, 2)
    assert (task.measure, task.higher_is_better) == ("mse", False)
