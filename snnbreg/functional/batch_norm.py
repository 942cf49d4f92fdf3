"""Batch norm with sums in double precision, which may be those of several processes.

Legend: R rows (steps x samples, pixels of images too), N channels.

    m_i = 1/R sum_r x_ri                           y_ri = w_i (x_ri - m_i) / sqrt(v_i + eps) + b_i
    v_i = 1/R sum_r x_ri^2 - m_i^2

The channels of a recurrent network have as many rows as steps and samples together. torch adds
float32 rows on a CPU one after the other: with 200,000 of them y is wrong in the fourth decimal,
enough to move spikes. In double precision the order of the rows does not matter to a float32
result, nor to how many processes they are dealt.

Reference: Ioffe and Szegedy 2015, "Batch normalization", arXiv 1502.03167, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Sums = Callable[[Tensor, Tensor], Tensor]
Add = Callable[[Tensor], object]
"""Replaces a tensor by its sum over all processes, in place."""
ROUNDING = 1e-12
"""Share of the mean square below which a variance is rounding. It is zero then, as that of a neuron
whose weights are all zero, and so is the gradient of w, of which optimizers would make full steps.
"""


def column_sums(a: Tensor, b: Tensor) -> Tensor:
    """Sums of a and of a b over all axes but the second, in float64.

    Args:
        a: (R, N) or (R, N, ...).
        b: of the same shape.

    Returns:
        (2, N) float64.

    Example:
        >>> column_sums(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])).flatten()
        tensor([ 3., 13.], dtype=torch.float64)
    """
    axes = [0, *range(2, a.ndim)]
    return torch.stack([a.sum(axes, dtype=torch.float64), (a.double() * b).sum(axes)])


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    sums: Sums = column_sums,
    counts: bool = True,
    add: Add | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise with the statistics of the rows.

    Args:
        x: (R, N) or (R, N, ...), float32 or float64.
        weight: w, (N,), or None for 1.
        bias: b, (N,), or None for 0.
        eps: added to the variance.
        sums: computes ``column_sums``.
        counts: whether these rows count. If not, they are normalised alike and have no gradient.
        add: makes the statistics, and their gradients, those of the rows of all processes.

    Returns:
        y, like x; m and v, (N,) float64; R, (1,) float64. The last three have no gradient.

    Raises:
        ValueError: fewer than two rows, of one process alone.
    """
    if add is None and x.numel() <= x.shape[1]:
        raise ValueError(f"batch norm needs two values per channel to train, got {tuple(x.shape)}")
    found: tuple[Tensor, ...] = _BatchNorm.apply(x, weight, bias, eps, sums, counts, add)
    y, mean, variance, rows = found
    return y, mean, variance, rows


@torch.no_grad()
def track_(norm: nn.Module, mean: Tensor, variance: Tensor, rows: Tensor) -> None:
    """Move a norm's running statistics towards those of a batch.

    Args:
        norm: has the buffers and the ``momentum`` of torch's batch norms; without momentum they
            become the mean of all batches. Nothing is done if it has no running statistics.
        mean: m.
        variance: v, made unbiased here.
        rows: R.
    """
    running: Any = norm
    if running.running_mean is None:
        return
    running.num_batches_tracked.add_(1)
    share = running.momentum
    if share is None:
        share = 1.0 / float(running.num_batches_tracked)
    unbiased = variance * rows / (rows - 1).clamp(min=1)
    for old, new in ((running.running_mean, mean), (running.running_var, unbiased)):
        old.lerp_(new.to(old.dtype), share)


class _BatchNorm(torch.autograd.Function):
    """See ``batch_norm``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        sums: Sums,
        counts: bool,
        add: Add | None,
    ) -> tuple[Tensor, ...]:
        """y, m, v and R."""
        found = sums(x, x)
        rows = torch.full_like(found[:1, 0], x.numel() // x.shape[1])
        if add is not None:
            whole = torch.cat([rows, found.flatten()]) * counts
            add(whole)
            rows, found = whole[:1], whole[1:].view(found.shape)
        mean, squares = (found / rows).unbind()
        variance = squares - mean * mean
        variance = variance * (variance > ROUNDING * squares)
        used_mean, used_variance = mean.to(x.dtype), variance.to(x.dtype)
        y = functional.batch_norm(x, used_mean, used_variance, weight, bias, eps=eps)
        return y, mean, variance, rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what the backward pass reads."""
        x, weight, _, ctx.eps, ctx.sums, ctx.counts, ctx.add = inputs
        ctx.save_for_backward(x, weight, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *others: Any) -> tuple[Tensor | None, ...]:
        """Gradients of x, w and b; those of w and b are of this process's rows."""
        x, weight, mean, variance, rows = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()
        own = ctx.sums(grad, x)
        by_bias, by_weight = own[0], (own[1] - mean * own[0]) * scale * (variance > 0)
        whole = torch.stack([by_bias, by_weight])
        if ctx.add is not None:
            whole = whole * ctx.counts
            ctx.add(whole)
        shift, slope = (whole / rows).unbind()
        factor = scale if weight is None else scale * weight
        along = -factor * slope * scale  # of x
        constant = -factor * shift - along * mean
        shape = (1, -1, *[1] * (x.ndim - 2))
        by = [(s * ctx.counts).to(x.dtype).view(shape) for s in (factor, along, constant)]
        by_x = torch.addcmul(by[2], grad, by[0]).addcmul_(x, by[1])
        affine = [by_weight, by_bias] if weight is not None else []
        affine_grads = [s.to(x.dtype) for s in affine] or [None, None]
        return by_x, *affine_grads, None, None, None, None
