"""The GPU kernels as torch functions with a backward pass."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable
from triton.runtime import driver

from ...functional import LIFParameters
from .axonal import axonal_backward, kernel_gradients, run_axonal
from .lif import lif_backward, run_lif

LANES = 16
"""Samples per program: the smallest number of columns of a matrix product."""
PART = 16
"""Neurons per program of ``kernel_gradients``."""
COLUMNS = 128
"""Columns per program of the layer without recurrence."""
MAX_NEURONS = 1024
"""Most neurons of a layer: one program computes all of them."""
ON_CHIP = 128 * 1024
"""Largest W, in bytes, that a multiprocessor of a Hopper GPU keeps in its shared memory."""
PRECISIONS = {"highest": "tf32x3", "high": "tf32", "medium": "bfloat16"}
"""Precision of the products with W in float32, by ``torch.get_float32_matmul_precision``."""


class Layout(NamedTuple):
    """How a layer is divided into programs."""

    tiles: int
    """Groups of LANES samples."""
    rows: int
    """N rounded up to a power of two, at least 16."""
    precision: str
    """Of the products with W: a value of PRECISIONS."""

    @property
    def operand(self) -> torch.dtype | None:
        """Type of W in the kernels, None for the type of the layer."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def settings(self, matrix: Tensor) -> dict[str, Any]:
        """The kernels' constants that depend on sizes; ``matrix`` is W as the kernel reads it."""
        split = self.precision in ("tf32x3", "ieee")  # then W is kept in registers
        limit = 64 * 64 * 4 if split else on_chip(matrix.device)
        return {
            "RESIDENT": matrix.numel() * matrix.element_size() <= limit,
            "ROWS": self.rows,
            "LANES": LANES,
            "BLOCK": min(self.rows, 32 if self.rows <= 256 else 16),
            "PRECISION": "ieee" if self.precision == "bfloat16" else self.precision,
            "num_warps": 4 if self.rows <= 64 else 8 if self.rows <= 256 else 16,
            "num_stages": 1,
        }

    def matrix(self, weight: Tensor) -> Tensor:
        """W, or its transpose, padded with zeros to (rows, rows), in the kernels' type."""
        missing = self.rows - len(weight)
        padded = torch.nn.functional.pad(weight.detach(), (0, missing, 0, missing))
        return padded.to(self.operand or weight.dtype).contiguous()


@cache
def on_chip(device: torch.device) -> int:
    """Largest W, in bytes, that a multiprocessor can keep next to the other data of a program."""
    if device.type != "cuda":
        return ON_CHIP
    shared = driver.active.utils.get_device_properties(device.index)["max_shared_mem"]
    return min(ON_CHIP, shared - 32 * 1024)


def divide(batch: int, neurons: int, dtype: torch.dtype) -> Layout:
    """Divide a layer of this size into programs."""
    rows = max(16, triton.next_power_of_2(neurons))
    precision = PRECISIONS[torch.get_float32_matmul_precision()]
    return Layout(-(-batch // LANES), rows, precision if dtype == torch.float32 else "ieee")


class Axonal(torch.autograd.Function):
    """The layer with axonal delays; ``recorded``: whether to save tensors for the backward pass.

    Saved: spikes as bytes, membranes, and z.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        weight: Tensor,
        delay: Tensor,
        width: Tensor,
        mask: Tensor | None,
        neuron: LIFParameters,
        recorded: bool,
    ) -> Tensor:
        """Spikes, (T, B, N)."""
        steps, batch, neurons = current.shape
        layout = divide(batch, neurons, current.dtype)
        current, delay, width = current.contiguous(), delay.contiguous(), width.contiguous()
        mask = None if mask is None else mask.contiguous()
        matrix = layout.matrix(weight)
        out = torch.empty_like(current)
        z = torch.empty_like(current if recorded else current[:1])
        blocks = (layout.tiles, steps, layout.rows, LANES)
        history = torch.empty(blocks, dtype=torch.uint8, device=current.device)
        membrane = current.new_empty(blocks if recorded else (0,))
        run_axonal[(layout.tiles,)](
            current, matrix, delay, width, current if mask is None else mask,
            out, history, membrane, z, steps, batch,
            N=neurons, NEURON=neuron, MASKED=mask is not None, RECORDED=recorded,
            **layout.settings(matrix),
        )  # fmt: skip
        if recorded:
            ctx.save_for_backward(weight, delay, width, mask, history, membrane, z)
            ctx.neuron, ctx.layout = neuron, layout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments of ``forward``."""
        weight, delay, width, mask, history, membrane, z = ctx.saved_tensors
        steps, batch, neurons = grad.shape
        layout, grad = ctx.layout, grad.contiguous()
        matrix = layout.matrix(weight.T)
        grad_current = torch.empty_like(grad)
        grad_recurrent = grad_current if mask is None else torch.empty_like(grad)
        grad_z = torch.empty_like(membrane)
        axonal_backward[(layout.tiles,)](
            grad, matrix, delay, width, grad if mask is None else mask,
            membrane, grad_z, grad_current, grad_recurrent, steps, batch,
            N=neurons, NEURON=ctx.neuron, MASKED=mask is not None, **layout.settings(matrix),
        )  # fmt: skip
        grad_weight = grad_delay = grad_width = None
        if ctx.needs_input_grad[1]:
            grad_weight = grad_recurrent.flatten(0, 1).T @ z.flatten(0, 1)
        if any(ctx.needs_input_grad[2:4]):
            sums = torch.empty(
                (layout.tiles, 2, layout.rows), dtype=torch.float64, device=grad.device
            )
            kernel_gradients[(layout.tiles, layout.rows // PART)](
                history, grad_z, delay, width, sums, steps,
                N=neurons, ROWS=layout.rows, LANES=LANES, PART=PART, num_warps=1,
            )  # fmt: skip
            grad_delay, grad_width = sums.sum(0)[:, :neurons].to(grad.dtype)
        return grad_current, grad_weight, grad_delay, grad_width, None, None, None


class FeedForward(torch.autograd.Function):
    """The layer without recurrence; saves the membranes."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: LIFParameters, recorded: bool) -> Tensor:
        """Spikes, (T, B, N)."""
        current = current.contiguous()
        out = torch.empty_like(current)
        membrane = torch.empty_like(current) if recorded else current.new_empty(0)
        size = current[0].numel()
        run_lif[(-(-size // COLUMNS),)](
            current, out, membrane, len(current), size,
            NEURON=neuron, RECORDED=recorded, BLOCK=COLUMNS,
        )  # fmt: skip
        if recorded:
            ctx.save_for_backward(membrane)
            ctx.neuron = neuron
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Gradients of the arguments of ``forward``."""
        (membrane,) = ctx.saved_tensors
        grad = grad.contiguous()
        out = torch.empty_like(grad)
        size = grad[0].numel()
        lif_backward[(-(-size // COLUMNS),)](
            grad, membrane, out, len(grad), size, NEURON=ctx.neuron, BLOCK=COLUMNS
        )
        return out, None, None
