"""Batch norm over the samples of all processes of a run.

torch has one for GPUs alone (``torch.nn.SyncBatchNorm``); this one is for any device, and weighs a
process without a sample of the batch with nothing.

R rows (steps x samples) of this process, N channels, and the axes of an image where there are any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Add = Callable[..., None]
"""Replaces tensors by their sums over all processes, in place."""


class SharedBatchNorm(nn.Module):
    """A batch norm whose training statistics are those of the rows of all processes.

    In evaluation mode it is the module it was made of, and its state has the same names.

    Args:
        norm: any of torch's batch norms; parameters and buffers are taken over.
        add: sums tensors over all processes.
    """

    running_mean: Tensor | None
    running_var: Tensor
    num_batches_tracked: Tensor

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
        if self.training or self.running_mean is None:
            y, mean, variance, rows = _Normalise.apply(x, self.eps, self.counts, self.add)
            if self.training and self.running_mean is not None:
                self._track(self.running_mean, mean)
                self._track(self.running_var, variance * rows / (rows - 1).clamp(min=1))
                self.num_batches_tracked.add_(1)
        else:
            scale = (self._each(self.running_var, x) + self.eps).rsqrt()
            y = (x - self._each(self.running_mean, x)) * scale
        if self.weight is None:
            return y
        return y * self._each(self.weight, x) + self._each(self.bias, x)

    @torch.no_grad()
    def _track(self, running: Tensor, found: Tensor) -> None:
        """Move running statistics towards those of a batch; without momentum they are its mean."""
        share = self.momentum
        if share is None:
            share = 1.0 / (1.0 + float(self.num_batches_tracked))
        running.lerp_(found.to(running.dtype), share)

    @staticmethod
    def _each(values: Tensor, x: Tensor) -> Tensor:
        return values.view(-1, *[1] * (x.ndim - 2))


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps), and mean, variance (N,) and number of all rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, counts: bool, add: Add) -> tuple[Tensor, ...]:
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        first = torch.cat([x.new_tensor([x.numel() / x.shape[1]]), x.sum(axes)]) * counts
        add(first)
        rows, mean = first[:1], first[1:] / first[0]
        centred = x - mean.view(shape)
        squares = centred.square().sum(axes) * counts
        add(squares)
        variance = squares / rows
        scale = (variance + eps).rsqrt()
        y = centred.mul_(scale.view(shape))
        ctx.save_for_backward(y, scale, rows)
        ctx.counts, ctx.add, ctx.axes, ctx.shape = counts, add, axes, shape
        ctx.mark_non_differentiable(mean, variance, rows)
        return y, mean, variance, rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *others: Any) -> tuple[Tensor | None, ...]:
        y, scale, rows = ctx.saved_tensors
        sums = torch.stack([grad.sum(ctx.axes), (grad * y).sum(ctx.axes)]) * ctx.counts
        ctx.add(sums)
        mean, slope = (sums / rows).unbind()
        by_x = grad - mean.view(ctx.shape) - y * slope.view(ctx.shape)
        return by_x.mul_((scale * ctx.counts).view(ctx.shape)), None, None, None


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
