"""The compiled loops as functions of torch, each with its backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..functional import LIFParameters
from . import cpu_axonal, cpu_lif, cpu_synaptic
from .cpu_lanes import LANES
from .cpu_tables import delay_table, tap_table
from .cpu_threads import in_threads


def _settings(lif: LIFParameters) -> tuple[float, float, bool, bool, bool, float]:
    """The neurons' parameters as the loops take them."""
    return (
        float(lif.leak),
        float(lif.threshold),
        lif.reset == "soft",
        bool(lif.detach_reset),
        lif.surrogate == "triangle",
        float(lif.alpha),
    )


def _panels(matrix: Tensor) -> Tensor:
    """A matrix (N, M) as groups of LANES rows, (R / LANES, M, LANES), zeros below."""
    rows, columns = matrix.shape
    matrix = torch.nn.functional.pad(matrix, (0, 0, 0, -rows % LANES))
    return matrix.reshape(len(matrix) // LANES, LANES, columns).transpose(1, 2).contiguous()


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Sum in the order given."""
    return reduce(torch.add, parts)


def _plain(*tensors: Tensor) -> list[Any]:
    """Detached, contiguous numpy views."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


class Axonal(torch.autograd.Function):
    """Forward and backward of the layer with axonal delays; ``recorded``: keep what backward needs.

    Kept: spikes as bytes, membranes, and the last counters.
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
        tiles = -(-batch // LANES)
        ages, kernel = delay_table(*_plain(delay, width))
        held = current.new_empty(1, 0, 0) if mask is None else mask.unsqueeze(0)
        out = torch.empty(current.shape, dtype=current.dtype)
        kept = tiles if recorded else 0
        history = torch.empty((tiles, steps, neurons, LANES), dtype=torch.uint8)
        membrane = current.new_empty((kept, steps, neurons, LANES))
        counters = current.new_empty((kept, 3, neurons, LANES))
        arrays = _plain(current, _panels(weight.detach()), held)
        written = _plain(out, history, membrane, counters)

        def run(first: int, last: int) -> None:
            cpu_axonal.forward((first, last), *arrays, ages, kernel, _settings(lif), *written)

        in_threads(run, tiles)
        if recorded:
            ctx.save_for_backward(weight, delay, width, mask, history, membrane, counters)
            ctx.lif, ctx.tables = lif, (ages, kernel)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors that went in."""
        weight, delay, width, mask, history, membrane, counters = ctx.saved_tensors
        need_weight, need_kernel = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:4])
        ages, kernel = ctx.tables
        d, s = _plain(delay, width)
        tap_ages, taps = tap_table(d, s, ages)
        held = grad.new_empty(1, 0, 0) if mask is None else mask.unsqueeze(0)
        grad_current = torch.empty(grad.shape, dtype=grad.dtype)
        arrays = _plain(grad, _panels(weight.detach().T), held)
        kept = _plain(history, membrane, counters)
        blocks = arrays[1].shape[0] if need_weight else 0

        def run(first: int, last: int) -> tuple[Tensor, Tensor]:
            by_weight = grad.new_zeros((blocks, blocks, LANES, LANES))
            by_kernel = torch.zeros((2, len(delay) if need_kernel else 0), dtype=torch.float64)
            cpu_axonal.backward(
                (first, last), *arrays, ages, kernel, tap_ages, taps, _settings(ctx.lif),
                *kept, grad_current.numpy(), by_weight.numpy(), by_kernel.numpy(),
            )  # fmt: skip
            return by_weight, by_kernel

        parts = in_threads(run, len(history))
        grad_weight = grad_delay = grad_width = None
        if need_weight:
            square = _sum(part[0] for part in parts).transpose(1, 2).flatten(2).flatten(0, 1)
            grad_weight = square[: len(weight), : len(weight)]
        if need_kernel:
            grad_delay, grad_width = _sum(part[1] for part in parts).to(grad.dtype)
        return grad_current, grad_weight, grad_delay, grad_width, None, None, None


class Synaptic(torch.autograd.Function):
    """The layer with a delay per synapse; ``kernel`` is W h, (K, N, N) = (age, receiver, sender).

    Kept: the kernel, spikes as bytes, membranes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        kernel: Tensor,
        mask: Tensor | None,
        lif: LIFParameters,
        recorded: bool,
    ) -> Tensor:
        """Spikes, (T, B, N)."""
        steps, batch, neurons = current.shape
        tiles = -(-batch // LANES)
        held = current.new_empty(1, 0, 0) if mask is None else mask.unsqueeze(0)
        out = torch.empty(current.shape, dtype=current.dtype)
        history = torch.empty((tiles, steps, neurons, LANES), dtype=torch.uint8)
        membrane = current.new_empty((tiles if recorded else 0, steps, neurons, LANES))
        oldest_first = kernel.detach().flip(0).transpose(0, 1).flatten(1)
        arrays = _plain(current, _panels(oldest_first), held)
        written = _plain(out, history, membrane)

        def run(first: int, last: int) -> None:
            cpu_synaptic.forward((first, last), *arrays, _settings(lif), *written)

        in_threads(run, tiles)
        if recorded:
            ctx.save_for_backward(kernel, mask, history, membrane)
            ctx.lif = lif
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors that went in."""
        kernel, mask, history, membrane = ctx.saved_tensors
        held = grad.new_empty(1, 0, 0) if mask is None else mask.unsqueeze(0)
        grad_current = torch.empty(grad.shape, dtype=grad.dtype)
        arrays = _plain(grad, _panels(kernel.detach().permute(2, 0, 1).flatten(1)), held)
        kept = _plain(history, membrane)
        blocks = arrays[1].shape[0]
        ages = len(kernel) if ctx.needs_input_grad[1] else 0

        def run(first: int, last: int) -> Tensor:
            by_kernel = grad.new_zeros((ages, blocks, blocks, LANES, LANES))
            cpu_synaptic.backward(
                (first, last), *arrays, _settings(ctx.lif), *kept,
                grad_current.numpy(), by_kernel.numpy(),
            )  # fmt: skip
            return by_kernel

        parts = in_threads(run, len(history))
        grad_kernel = None
        if ctx.needs_input_grad[1]:
            square = _sum(parts).transpose(2, 3).flatten(3).flatten(1, 2)
            grad_kernel = square[:, : kernel.shape[1], : kernel.shape[2]]
        return grad_current, grad_kernel, None, None, None


class FeedForward(torch.autograd.Function):
    """Forward and backward of the layer without recurrence; keeps the membranes."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, lif: LIFParameters, recorded: bool) -> Tensor:
        """Spikes, (T, B, N)."""
        flat = _columns(current)
        out = torch.empty_like(flat)
        membrane = torch.empty_like(flat) if recorded else flat.new_empty((0, 0))
        arrays = _plain(flat, out, membrane)

        def run(first: int, last: int) -> None:
            columns = (first * LANES, last * LANES)
            cpu_lif.forward(columns, arrays[0], _settings(lif), *arrays[1:])

        in_threads(run, flat.shape[1] // LANES)
        if recorded:
            ctx.save_for_backward(membrane)
            ctx.lif = lif
        return _uncolumns(out, current.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Gradients of the tensors that went in."""
        (membrane,) = ctx.saved_tensors
        flat = _columns(grad)
        out = torch.empty_like(flat)
        arrays = _plain(flat, membrane, out)

        def run(first: int, last: int) -> None:
            columns = (first * LANES, last * LANES)
            cpu_lif.backward(columns, arrays[0], _settings(ctx.lif), *arrays[1:])

        in_threads(run, flat.shape[1] // LANES)
        return _uncolumns(out, grad.shape), None, None


def _columns(tensor: Tensor) -> Tensor:
    """(T, B, N) as (T, B N), contiguous, padded with zeros to a multiple of LANES columns."""
    flat = tensor.flatten(1)
    padding = -flat.shape[1] % LANES
    return torch.nn.functional.pad(flat, (0, padding)) if padding else flat.contiguous()


def _uncolumns(flat: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of ``_columns``."""
    return flat[:, : shape[1] * shape[2]].reshape(shape)
