"""The GPU kernels as functions of torch, each with its backward pass."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.runtime import driver

from ..functional import LIFParameters
from . import gpu_axonal, gpu_lif

LANES = 16
"""Samples per program: the narrowest tile of a matrix product."""
PART = 16
"""Neurons per program where programs need not hold all of them."""
COLUMNS = 128
"""Columns per program of the layer without recurrence."""
LARGEST = 1024
"""Neurons of the largest layer: one program holds them all."""
ON_CHIP = 128 * 1024
"""Bytes of W that a multiprocessor of a Hopper GPU keeps in shared memory, with room for more."""
PRECISIONS = {"highest": "tf32x3", "high": "tf32", "medium": "bfloat16"}
"""What ``torch.get_float32_matmul_precision`` makes of the products with W in float32."""


class Layout(NamedTuple):
    """How a layer is cut into programs."""

    tiles: int
    """Groups of LANES samples."""
    rows: int
    """N rounded up to a power of two, at least 16."""
    precision: str
    """Of the products with W: a value of PRECISIONS."""

    @property
    def operand(self) -> torch.dtype | None:
        """Type of W, None for the type of the layer."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def settings(self, matrix: Tensor) -> dict[str, Any]:
        """The kernels' constants that depend on sizes; ``matrix`` is W as the kernel reads it."""
        split = self.precision in ("tf32x3", "ieee")  # then W is kept in registers
        room = 64 * 64 * 4 if split else on_chip(matrix.device)
        return {
            "RESIDENT": matrix.numel() * matrix.element_size() <= room,
            "ROWS": self.rows,
            "LANES": LANES,
            "BLOCK": min(self.rows, 32 if self.rows <= 256 else 16),
            "PRECISION": "ieee" if self.precision == "bfloat16" else self.precision,
            "num_warps": 4 if self.rows <= 64 else 8 if self.rows <= 256 else 16,
            "num_stages": 1,
        }

    def matrix(self, weight: Tensor) -> Tensor:
        """W, or its transpose, as the kernels read it: (rows, rows), zeros below and right."""
        missing = self.rows - len(weight)
        padded = torch.nn.functional.pad(weight.detach(), (0, missing, 0, missing))
        return padded.to(self.operand or weight.dtype).contiguous()


@cache
def on_chip(device: torch.device) -> int:
    """Bytes of W that a multiprocessor can keep, with room for what else a program needs."""
    if device.type != "cuda":
        return ON_CHIP
    shared = driver.active.utils.get_device_properties(device.index)["max_shared_mem"]
    return min(ON_CHIP, shared - 32 * 1024)


def layout(batch: int, neurons: int, dtype: torch.dtype) -> Layout:
    """Cut a layer of this size into programs."""
    rows = max(16, triton.next_power_of_2(neurons))
    precision = PRECISIONS[torch.get_float32_matmul_precision()]
    return Layout(-(-batch // LANES), rows, precision if dtype == torch.float32 else "ieee")


class Axonal(torch.autograd.Function):
    """Forward and backward of the layer with axonal delays; ``recorded``: keep what backward needs.

    Kept: spikes as bytes, membranes, and z.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        weight: Tensor,
        delay: Tensor,
        width: Tensor,
        mask: Tensor | None,
        lif: LIFParameters,
        recorded: bool,
    ) -> Tensor:
        """Spikes, (T, B, N)."""
        steps, batch, neurons = current.shape
        cut = layout(batch, neurons, current.dtype)
        current, delay, width = current.contiguous(), delay.contiguous(), width.contiguous()
        mask = None if mask is None else mask.contiguous()
        matrix = cut.matrix(weight)
        out = torch.empty_like(current)
        filtered = torch.empty_like(current if recorded else current[:1])
        blocks = (cut.tiles, steps, cut.rows, LANES)
        history = torch.empty(blocks, dtype=torch.uint8, device=current.device)
        membrane = current.new_empty(blocks if recorded else (0,))
        gpu_axonal.forward[(cut.tiles,)](
            current, matrix, delay, width, current if mask is None else mask,
            out, history, membrane, filtered, steps, batch,
            N=neurons, LIF=lif, MASKED=mask is not None, RECORDED=recorded,
            **cut.settings(matrix),
        )  # fmt: skip
        if recorded:
            ctx.save_for_backward(weight, delay, width, mask, history, membrane, filtered)
            ctx.lif, ctx.cut = lif, cut
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors that went in."""
        weight, delay, width, mask, history, membrane, filtered = ctx.saved_tensors
        steps, batch, neurons = grad.shape
        cut, grad = ctx.cut, grad.contiguous()
        matrix = cut.matrix(weight.T)
        grad_current = torch.empty_like(grad)
        returned = grad_current if mask is None else torch.empty_like(grad)
        sent = torch.empty_like(membrane)
        gpu_axonal.backward[(cut.tiles,)](
            grad, matrix, delay, width, grad if mask is None else mask,
            membrane, sent, grad_current, returned, steps, batch,
            N=neurons, LIF=ctx.lif, MASKED=mask is not None, **cut.settings(matrix),
        )  # fmt: skip
        grad_weight = grad_delay = grad_width = None
        if ctx.needs_input_grad[1]:
            grad_weight = returned.flatten(0, 1).T @ filtered.flatten(0, 1)
        if any(ctx.needs_input_grad[2:4]):
            sums = torch.empty((cut.tiles, 2, cut.rows), dtype=torch.float64, device=grad.device)
            gpu_axonal.kernel_gradients[(cut.tiles, cut.rows // PART)](
                history, sent, delay, width, sums, steps,
                N=neurons, ROWS=cut.rows, LANES=LANES, PART=PART, num_warps=1,
            )  # fmt: skip
            grad_delay, grad_width = sums.sum(0)[:, :neurons].to(grad.dtype)
        return grad_current, grad_weight, grad_delay, grad_width, None, None, None


class FeedForward(torch.autograd.Function):
    """Forward and backward of the layer without recurrence; keeps the membranes."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, lif: LIFParameters, recorded: bool) -> Tensor:
        """Spikes, (T, B, N)."""
        current = current.contiguous()
        out = torch.empty_like(current)
        membrane = torch.empty_like(current) if recorded else current.new_empty(0)
        size = current[0].numel()
        gpu_lif.forward[(-(-size // COLUMNS),)](
            current, out, membrane, len(current), size,
            LIF=lif, RECORDED=recorded, BLOCK=COLUMNS,
        )  # fmt: skip
        if recorded:
            ctx.save_for_backward(membrane)
            ctx.lif = lif
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Gradients of the tensors that went in."""
        (membrane,) = ctx.saved_tensors
        grad = grad.contiguous()
        out = torch.empty_like(grad)
        size = grad[0].numel()
        gpu_lif.backward[(-(-size // COLUMNS),)](
            grad, membrane, out, len(grad), size, LIF=ctx.lif, BLOCK=COLUMNS
        )
        return out, None, None
