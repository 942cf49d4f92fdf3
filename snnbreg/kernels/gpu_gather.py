"""For benchmarks only: a GPU kernel that sums the spike history anew in each step.

The form of the published Triton code, written simply: one program per sample, which in each step
gathers the last K spikes of every sender from memory, weights them with the delay kernel (K, N),
and multiplies the sums by W, read anew from the second-level cache. ``gpu_axonal`` does the same
without a cost that grows with K. No ``Engine``: ``delayed_recurrence`` alone, float types alone,
axonal delays alone. ``LIF`` is a ``LIFParameters``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..functional import LIFParameters, delay_kernel, kernel_length
from .gpu_equations import carry_over, discharge, slope_at

DEFAULT = LIFParameters()


@triton.jit
def weighted(
    matrix: tl.tensor,
    vector: tl.tensor,
    j: tl.tensor,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Sum over r of matrix[r, j] vector[r]; matrix (N, N), vector (N,)."""
    rows = tl.arange(0, BLOCK)
    total = tl.zeros((ROWS,), matrix.dtype.element_ty)
    for first in range(0, N, BLOCK):
        r = first + rows
        factor = tl.load(vector + r, mask=r < N, other=0.0)
        present = (r < N)[:, None] & (j < N)[None, :]
        block = tl.load(matrix + r[:, None] * N + j[None, :], mask=present, other=0.0)
        total += tl.sum(block * factor[:, None], 0)
    return total


@triton.jit
def neighbours(
    kernel: tl.tensor,
    values: tl.tensor,
    j: tl.tensor,
    stride: tl.tensor,
    last: tl.tensor,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Sum over the ages k = 1 .. last of kernel[k - 1, j] values[k stride + j]."""
    total = tl.zeros((ROWS,), kernel.dtype.element_ty)
    ages = 1 + tl.arange(0, BLOCK)
    done = last * 0
    while done < last:
        k = (done + ages)[:, None]
        present = (k <= last) & (j < N)[None, :]
        h = tl.load(kernel + (k - 1) * N + j[None, :], mask=present, other=0.0)
        total += tl.sum(h * tl.load(values + k * stride + j[None, :], mask=present, other=0.0), 0)
        done += BLOCK
    return total


@triton.jit(do_not_specialize=["steps", "batch", "ages"])
def gather_forward(
    current: tl.tensor,  # (T, B, N)
    transposed: tl.tensor,  # (N, N), row = sender
    kernel: tl.tensor,  # (K, N)
    mask: tl.tensor,  # (B, N)
    out: tl.tensor,  # (T, B, N), written
    membrane: tl.tensor,  # (T, B, N), written
    filtered: tl.tensor,  # (T, B, N), written
    steps: tl.tensor,
    batch: tl.tensor,
    ages: tl.tensor,
    N: tl.constexpr,
    LIF: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All steps of one sample."""
    j = tl.arange(0, ROWS)
    row = tl.program_id(0).to(tl.int64) * N
    stride = batch.to(tl.int64) * N
    held = tl.load(mask + row + j, mask=j < N, other=0.0)
    v = held * 0.0
    t = steps * 0
    while t < steps:
        place = t * stride + row
        z = neighbours(kernel, out + place, j, -stride, tl.minimum(ages, t), N, ROWS, BLOCK)
        tl.store(filtered + place + j, z, mask=j < N)
        tl.debug_barrier()
        arrived = weighted(transposed, filtered + place, j, N, ROWS, BLOCK) * held
        h = tl.load(current + place + j, mask=j < N, other=0.0) + arrived + v * LIF.leak
        fired = h >= LIF.threshold
        v = discharge(h, fired, LIF)
        tl.store(out + place + j, fired.to(h.dtype), mask=j < N)
        tl.store(membrane + place + j, h, mask=j < N)
        tl.debug_barrier()
        t += 1


@triton.jit(do_not_specialize=["steps", "batch", "ages"])
def gather_backward(
    grad: tl.tensor,  # (T, B, N)
    weight: tl.tensor,  # (N, N), row = receiver
    kernel: tl.tensor,
    mask: tl.tensor,
    membrane: tl.tensor,
    sent: tl.tensor,  # (T, B, N), written: dz
    grad_current: tl.tensor,  # (T, B, N), written
    returned: tl.tensor,  # (T, B, N), written: dR
    steps: tl.tensor,
    batch: tl.tensor,
    ages: tl.tensor,
    N: tl.constexpr,
    LIF: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All steps back of one sample."""
    j = tl.arange(0, ROWS)
    row = tl.program_id(0).to(tl.int64) * N
    stride = batch.to(tl.int64) * N
    held = tl.load(mask + row + j, mask=j < N, other=0.0)
    now = held * 0.0
    t = steps - 1
    while t >= 0:
        place = t * stride + row
        value = tl.load(grad + place + j, mask=j < N, other=0.0)
        last = tl.minimum(ages, steps - 1 - t)
        value += neighbours(kernel, sent + place, j, stride, last, N, ROWS, BLOCK)
        h = tl.load(membrane + place + j, mask=j < N, other=0.0)
        slope = slope_at(h, LIF)
        now = value * slope + now * carry_over(h, slope, LIF)
        tl.store(grad_current + place + j, now, mask=j < N)
        tl.store(returned + place + j, now * held, mask=j < N)
        tl.debug_barrier()
        dz = weighted(weight, returned + place, j, N, ROWS, BLOCK)
        tl.store(sent + place + j, dz, mask=j < N)
        tl.debug_barrier()
        t -= 1


class Gathered(torch.autograd.Function):
    """Forward and backward of the layer; ``kernel`` is (K, N)."""

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        weight: Tensor,
        kernel: Tensor,
        mask: Tensor,
        lif: LIFParameters,
    ) -> Tensor:
        """Spikes, (T, B, N)."""
        steps, batch, neurons = current.shape
        rows = max(16, triton.next_power_of_2(neurons))
        ctx.sizes = {"N": neurons, "LIF": lif, "ROWS": rows, "BLOCK": 16}
        out, membrane, filtered = (torch.empty_like(current) for _ in range(3))
        gather_forward[(batch,)](
            current.contiguous(), weight.T.contiguous(), kernel.contiguous(), mask.contiguous(),
            out, membrane, filtered, steps, batch, len(kernel), **ctx.sizes,
        )  # fmt: skip
        ctx.save_for_backward(weight, kernel, mask, out, membrane, filtered)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of current, weight and kernel."""
        weight, kernel, mask, out, membrane, filtered = ctx.saved_tensors
        sent, grad_current, returned = (torch.empty_like(membrane) for _ in range(3))
        gather_backward[(grad.shape[1],)](
            grad.contiguous(), weight.contiguous(), kernel.contiguous(), mask.contiguous(),
            membrane, sent, grad_current, returned, len(grad), grad.shape[1], len(kernel),
            **ctx.sizes,
        )  # fmt: skip
        grad_weight = returned.flatten(0, 1).T @ filtered.flatten(0, 1)
        ages = range(1, len(kernel) + 1)
        by_age = [torch.einsum("tbn,tbn->n", sent[k:], out[:-k]) for k in ages]
        grad_kernel = torch.stack(by_age) if by_age else torch.zeros_like(kernel)
        return grad_current, grad_weight, grad_kernel, None, None


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    lif: LIFParameters = DEFAULT,
) -> Tensor:
    """Spikes of a recurrent LIF layer with axonal delays: see ``functional.delayed_recurrence``.

    Waits for the device once, to learn how many ages the kernel has.

    Args:
        current: feed-forward input I, (T, B, N), contiguous.
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,).
        half_width: s >= 1 in steps, a scalar tensor or (N,).
        mask: factors on the recurrent current, (B, N), or None.
        lif: the neurons' parameters, with a surrogate of our own.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Example:
        >>> current = torch.zeros(6, 1, 1)
        >>> current[0] = 1.0
        >>> delayed_recurrence(
        ...     current, torch.ones(1, 1), torch.tensor([1.0]), torch.tensor(1.0)
        ... ).flatten()
        tensor([1., 0., 1., 0., 1., 0.])
    """
    kernel = delay_kernel(delay, half_width, kernel_length(delay, half_width, len(current)))
    if mask is None:
        mask = torch.ones_like(current[0])
    return Gathered.apply(current, weight, kernel, mask, lif)
