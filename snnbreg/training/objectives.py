"""Objectives: what a network's outputs over time are asked to be.

T time steps, B batch, K classes. An objective maps outputs (T, B, K) and labels (B,) to a scalar
loss and the scores (B, K) whose largest entry is the predicted class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def sum_cross_entropy(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the outputs summed over time, as for SSC and PSMNIST.

    Args:
        outputs: (T, B, K).
        labels: (B,) int64 in [0, K).

    Returns:
        The mean loss over the batch, and the scores ``outputs.sum(0)`` (B, K).

    Source: Queant et al. 2025 (arXiv 2509.24852), published code.

    Example:
        >>> import torch
        >>> loss, scores = sum_cross_entropy(torch.zeros(3, 2, 4), torch.tensor([0, 3]))
        >>> round(loss.item(), 4), tuple(scores.shape)
        (1.3863, (2, 4))
    """
    scores = outputs.sum(0)
    return F.cross_entropy(scores, labels), scores


def softmax_sum_cross_entropy(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the sum over time of the softmax of the outputs, as for SHD.

    A second log-softmax acts on the summed softmaxes: this is the published loss, not a slip here.

    Args:
        outputs: (T, B, K), the membranes of a leaky-integrator readout.
        labels: (B,) int64 in [0, K).

    Returns:
        The mean loss over the batch, and the scores ``softmax(outputs).sum(0)`` (B, K).

    Source: Queant et al. 2025 (arXiv 2509.24852), published code for SHD.
    """
    scores = outputs.softmax(-1).sum(0)
    return F.cross_entropy(scores, labels), scores


OBJECTIVES: dict[str, Objective] = {
    "sum_cross_entropy": sum_cross_entropy,
    "softmax_sum_cross_entropy": softmax_sum_cross_entropy,
}
