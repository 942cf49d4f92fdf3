"""A GPU kernel that sums the last K spikes of every sender in each step.

The algorithm of the published Triton code, written simply: one program per sample. In each step it
reads the last K spikes of every sender from memory, weights them with the delay kernel (K, N) and
multiplies the sums with W, which it reads from the second-level cache. The engine
(``snnbreg.kernels.gpu``) computes the same at a cost that does not grow with K. Float types and
axonal delays only. ``NEURON`` is a ``LIFParameters``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnbreg.functional import LIFParameters, delay_kernel, kernel_length
from snnbreg.kernels.gpu.equations import next_membrane_slope, reset_membrane, surrogate_slope

DEFAULTS = LIFParameters()


@triton.jit
def product(
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
def weighted_sum(
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
    z_out: tl.tensor,  # (T, B, N), written: z
    steps: tl.tensor,
    batch: tl.tensor,
    ages: tl.tensor,
    N: tl.constexpr,
    NEURON: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """All steps of one sample."""
    j = tl.arange(0, ROWS)
    row = tl.program_id(0).to(tl.int64) * N
    stride = batch.to(tl.int64) * N
    mask_row = tl.load(mask + row + j, mask=j < N, other=0.0)
    v = mask_row * 0.0
    t = steps * 0
    while t < steps:
        place = t * stride + row
        z = weighted_sum(kernel, out + place, j, -stride, tl.minimum(ages, t), N, ROWS, BLOCK)
        tl.store(z_out + place + j, z, mask=j < N)
        tl.debug_barrier()
        recurrent = product(transposed, z_out + place, j, N, ROWS, BLOCK) * mask_row
        h = tl.load(current + place + j, mask=j < N, other=0.0) + recurrent + v * NEURON.leak
        fired = h >= NEURON.threshold
        v = reset_membrane(h, fired, NEURON)
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
    grad_z: tl.tensor,  # (T, B, N), written: dz
    grad_current: tl.tensor,  # (T, B, N), written
    grad_recurrent: tl.tensor,  # (T, B, N), written: dR
    steps: tl.tensor,
    batch: tl.tensor,
    ages: tl.tensor,
    N: tl.constexpr,
    NEURON: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Backward pass over all steps of one sample."""
    j = tl.arange(0, ROWS)
    row = tl.program_id(0).to(tl.int64) * N
    stride = batch.to(tl.int64) * N
    mask_row = tl.load(mask + row + j, mask=j < N, other=0.0)
    grad_h = mask_row * 0.0
    t = steps - 1
    while t >= 0:
        place = t * stride + row
        value = tl.load(grad + place + j, mask=j < N, other=0.0)
        last = tl.minimum(ages, steps - 1 - t)
        value += weighted_sum(kernel, grad_z + place, j, stride, last, N, ROWS, BLOCK)
        h = tl.load(membrane + place + j, mask=j < N, other=0.0)
        slope = surrogate_slope(h, NEURON)
        grad_h = value * slope + grad_h * next_membrane_slope(h, slope, NEURON)
        tl.store(grad_current + place + j, grad_h, mask=j < N)
        tl.store(grad_recurrent + place + j, grad_h * mask_row, mask=j < N)
        tl.debug_barrier()
        dz = product(weight, grad_recurrent + place, j, N, ROWS, BLOCK)
        tl.store(grad_z + place + j, dz, mask=j < N)
        tl.debug_barrier()
        t -= 1


class Gathered(torch.autograd.Function):
    """The layer with its backward pass; ``kernel`` is (K, N)."""

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        weight: Tensor,
        kernel: Tensor,
        mask: Tensor,
        neuron: LIFParameters,
    ) -> Tensor:
        """Spikes, (T, B, N)."""
        steps, batch, neurons = current.shape
        rows = max(16, triton.next_power_of_2(neurons))
        ctx.sizes = {"N": neurons, "NEURON": neuron, "ROWS": rows, "BLOCK": 16}
        out, membrane, z = (torch.empty_like(current) for _ in range(3))
        gather_forward[(batch,)](
            current.contiguous(), weight.T.contiguous(), kernel.contiguous(), mask.contiguous(),
            out, membrane, z, steps, batch, len(kernel), **ctx.sizes,
        )  # fmt: skip
        ctx.save_for_backward(weight, kernel, mask, out, membrane, z)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of current, weight and kernel."""
        weight, kernel, mask, out, membrane, z = ctx.saved_tensors
        grad_z, grad_current, grad_recurrent = (torch.empty_like(membrane) for _ in range(3))
        gather_backward[(grad.shape[1],)](
            grad.contiguous(), weight.contiguous(), kernel.contiguous(), mask.contiguous(),
            membrane, grad_z, grad_current, grad_recurrent, len(grad), grad.shape[1], len(kernel),
            **ctx.sizes,
        )  # fmt: skip
        grad_weight = grad_recurrent.flatten(0, 1).T @ z.flatten(0, 1)
        ages = range(1, len(kernel) + 1)
        by_age = [torch.einsum("tbn,tbn->n", grad_z[k:], out[:-k]) for k in ages]
        grad_kernel = torch.stack(by_age) if by_age else torch.zeros_like(kernel)
        return grad_current, grad_weight, grad_kernel, None, None


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    neuron: LIFParameters = DEFAULTS,
) -> Tensor:
    """Spikes of a recurrent LIF layer with axonal delays: see ``functional.delayed_recurrence``.

    Waits for the device once, to read the number of ages K.

    Args:
        current: feed-forward input I, (T, B, N), contiguous.
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,).
        half_width: s >= 1 in steps, a scalar tensor or (N,).
        mask: factors on the recurrent current, (B, N), or None.
        neuron: the neurons' parameters; surrogate ``"triangle"`` or ``"atan"``.

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
    return Gathered.apply(current, weight, kernel, mask, neuron)
