"""Several processes that train one network: who gets which samples, what they add up, who writes.

All of it stands here; the loop and the method call it and are the same for one process. A batch
is the whole one, of ``dataset.batch_size``, in every process, so that order, augmentation and
encoding are those of a single process; each then trains on its own samples of it. Losses and
gradients are weighted by the samples (labelled steps) they come from, so that k processes make
the steps of one, to rounding.

A penalty that is no mean over samples (``rate_bounds``), dropout and batch norm see the share of
one process alone.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from snnbreg.training.tasks import Score, Task


class Processes:
    """The processes of a run: those of ``torch.distributed``, or this one alone.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        writes: whether this one writes the run folder and tells the loggers.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.count = dist.get_world_size() if together else 1
        self.writes = self.rank == 0

    def score(
        self, task: Task, network: nn.Module, frames: Tensor, labels: Tensor
    ) -> tuple[Score, float]:
        """Loss and measure of this process's samples of a batch, and their weight.

        Process k gets the samples k, k + count, k + 2 count, ...; one that is left without a
        sample repeats the first, which then counts nothing, to keep step with the others.

        Args:
            task: of the run.
            network: in training mode.
            frames: of the whole batch, (T, B, C).
            labels: samples first.

        Returns:
            The score, and the share that its loss has in the batch's: samples (or labelled steps)
            over those of all processes.
        """
        if self.count == 1:
            return task.score(network(frames), labels), 1.0
        mine = slice(self.rank, None, self.count) if self.rank < len(labels) else slice(0, 1)
        score = task.score(network(frames[:, mine]), labels[mine])
        if self.rank >= len(labels):
            score = replace(score, total=0 * score.total, count=0)
        (counted,) = self.sums(score.count)
        return score, score.count / max(counted, 1.0)

    def add(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over all processes, in place."""
        for tensor in tensors if self.count > 1 else ():
            dist.all_reduce(tensor)

    def sums(self, *numbers: float | Tensor) -> list[float]:
        """Numbers (or tensors of one element), each summed over all processes."""
        values = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
        self.add(values)
        return values.tolist()
