"""Batch norm over the samples of all processes of a run.

torch has one for GPUs alone (``torch.nn.SyncBatchNorm``); this one is for any device, and weighs a
process without a sample of the batch with nothing.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn.functional import batch_norm as normalise

from snnbreg.functional import Add, batch_norm, column_sums, track_


class SharedBatchNorm(nn.Module):
    """A batch norm whose training statistics are those of the rows of all processes.

    In evaluation mode it is the module it was made of, and its state has the same names.

    Args:
        norm: any of torch's batch norms; parameters and buffers are taken over.
        add: sums tensors over all processes.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, add: Add) -> None:
        super().__init__()
        self.eps, self.momentum, self.add = norm.eps, norm.momentum, add
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.training, self.counts = norm.training, True

    def deal(self, batch: int, mine: slice, counts: bool) -> None:
        """Whether the samples of the next forward pass count, see ``processes.Dealt``."""
        self.counts = counts

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (R, N) or (R, N, ...)."""
        affine = self.weight, self.bias
        if not self.training and self.running_mean is not None:
            variance = cast(Tensor, self.running_var)
            return normalise(x, self.running_mean, variance, *affine, eps=self.eps)
        y, *statistics = batch_norm(x, *affine, self.eps, column_sums, self.counts, self.add)
        track_(self, *statistics)
        return y


def share_batch_norms_(network: nn.Module, add: Add) -> None:
    """Replace every batch norm inside a network by one over all processes.

    Args:
        network: changed in place; its parameters and their names stay.
        add: sums tensors over all processes.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, SharedBatchNorm(child, add))
