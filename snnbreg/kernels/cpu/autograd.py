"""The compiled loops as torch functions with a backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...functional import LIFParameters
from .axonal import run_axonal
from .axonal_backward import axonal_backward
from .lanes import LANES
from .lif import Neuron, lif_backward, run_lif
from .matrices import pack, panels
from .memory import empty
from .synaptic import run_synaptic, synaptic_backward
from .tables import delay_table, tap_table
from .threads import in_threads

MOST_DELAYED = 0.55
"""Share of delayed spikes z that are not zero from which on their zeros are not skipped."""


def _compiled(neuron: LIFParameters) -> Neuron:
    """The neurons' parameters for the compiled loops."""
    return Neuron(
        float(neuron.leak),
        float(neuron.threshold),
        neuron.reset == "soft",
        bool(neuron.detach_reset),
        neuron.surrogate == "triangle",
        float(neuron.alpha),
    )


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Sum, in the given order."""
    return reduce(torch.add, parts)


def _arrays(*tensors: Tensor) -> list[Any]:
    """The tensors as contiguous numpy arrays, detached."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _mask_array(mask: Tensor | None, like: Tensor) -> Any:
    """The mask as (1, B, N), or (1, 0, 0) if there is none."""
    (array,) = _arrays(like.new_empty(1, 0, 0) if mask is None else mask.unsqueeze(0))
    return array


class Axonal(torch.autograd.Function):
    """The layer with axonal delays; ``recorded``: whether to save tensors for the backward pass.

    Saved: spikes as bytes, membranes, and the counters n, c, m of the last step.
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
        start: Tensor | None,
        past: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Spikes, (T, B, N), and membranes after the last step, (B, N).

        ``start`` and ``past`` are the membranes (B, N) and spikes (P, B, N) of the steps before.
        """
        steps, batch, neurons = current.shape
        tiles = -(-batch // LANES)
        before = 0 if past is None else len(past)
        ends = current.new_zeros((2, batch, neurons))
        if start is not None:
            ends[0] = start.detach()
        ages, kernel = delay_table(*_arrays(delay, width))
        out = empty(current.shape, current.dtype)
        saved_tiles = tiles if recorded else 0
        history = empty((tiles, before + steps, neurons, LANES), torch.uint8)
        if past is not None:
            history[:, :before] = _to_tiles(past.detach().byte())
        membrane = empty((saved_tiles, steps, neurons, LANES), current.dtype)
        counters = current.new_empty((saved_tiles, 3, neurons, LANES))
        arrays = [*_arrays(current), pack(weight), _mask_array(mask, current)]
        written = _arrays(out, history, membrane, counters, ends)

        def run(first: int, last: int) -> None:
            run_axonal((first, last), *arrays, ages, kernel, _compiled(neuron), *written)

        in_threads(run, tiles)
        if recorded:
            ctx.save_for_backward(weight, delay, width, mask, history, membrane, counters)
            ctx.neuron, ctx.tables = neuron, (ages, kernel)
        return out, ends[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_end: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments of ``forward``."""
        weight, delay, width, mask, history, membrane, counters = ctx.saved_tensors
        grad_past = grad.new_empty((history.shape[1] - len(grad), *grad.shape[1:]))
        ends = _arrays(_over_leak(grad_end, ctx.neuron).unsqueeze(0), grad_past)
        need_weight, need_kernel = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:4])
        ages, kernel = ctx.tables
        d, s = _arrays(delay, width)
        tap_ages, taps = tap_table(d, s, ages)
        grad_current = empty(grad.shape, grad.dtype)
        arrays = [*_arrays(grad), pack(weight.T), _mask_array(mask, grad)]
        saved = _arrays(history, membrane, counters)
        blocks = -(-len(weight) // LANES) if need_weight else 0

        def run(first: int, last: int) -> tuple[Tensor, Tensor]:
            d_weight = grad.new_zeros((blocks, blocks * LANES, LANES))
            d_kernel = torch.zeros((2, len(delay) if need_kernel else 0), dtype=torch.float64)
            axonal_backward(
                (first, last), *arrays, ages, kernel, tap_ages, taps, _compiled(ctx.neuron),
                MOST_DELAYED, *saved, grad_current.numpy(), d_weight.numpy(), d_kernel.numpy(),
                *ends,
            )  # fmt: skip
            return d_weight, d_kernel

        parts = in_threads(run, len(history))
        grad_weight = grad_delay = grad_width = None
        if need_weight:
            square = _sum(part[0] for part in parts).transpose(1, 2).flatten(0, 1)
            grad_weight = square[: len(weight), : len(weight)]
        if need_kernel:
            grad_delay, grad_width = _sum(part[1] for part in parts).to(grad.dtype)
        by_start = grad_current[0] * ctx.neuron.leak if ctx.needs_input_grad[7] else None
        by_past = grad_past if ctx.needs_input_grad[8] else None
        return (
            grad_current, grad_weight, grad_delay, grad_width, None, None, None, by_start, by_past
        )  # fmt: skip


class Synaptic(torch.autograd.Function):
    """The layer with synaptic delays; ``kernel`` is W h, (K, N, N) = (age, receiver, sender).

    Saved: the kernel, spikes as bytes, membranes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        kernel: Tensor,
        mask: Tensor | None,
        neuron: LIFParameters,
        recorded: bool,
    ) -> Tensor:
        """Spikes, (T, B, N)."""
        steps, batch, neurons = current.shape
        tiles = -(-batch // LANES)
        out = empty(current.shape, current.dtype)
        history = empty((tiles, steps, neurons, LANES), torch.uint8)
        saved_tiles = tiles if recorded else 0
        membrane = empty((saved_tiles, steps, neurons, LANES), current.dtype)
        oldest_first = kernel.detach().flip(0).transpose(0, 1).flatten(1)
        arrays = [*_arrays(current, panels(oldest_first)), _mask_array(mask, current)]
        written = _arrays(out, history, membrane)

        def run(first: int, last: int) -> None:
            run_synaptic((first, last), *arrays, _compiled(neuron), *written)

        in_threads(run, tiles)
        if recorded:
            ctx.save_for_backward(kernel, mask, history, membrane)
            ctx.neuron = neuron
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments of ``forward``."""
        kernel, mask, history, membrane = ctx.saved_tensors
        grad_current = empty(grad.shape, grad.dtype)
        table = panels(kernel.detach().permute(2, 0, 1).flatten(1))
        arrays = [*_arrays(grad, table), _mask_array(mask, grad)]
        saved = _arrays(history, membrane)
        blocks = arrays[1].shape[0]
        ages = len(kernel) if ctx.needs_input_grad[1] else 0

        def run(first: int, last: int) -> Tensor:
            d_kernel = grad.new_zeros((ages, blocks, blocks, LANES, LANES))
            synaptic_backward(
                (first, last), *arrays, _compiled(ctx.neuron), *saved,
                grad_current.numpy(), d_kernel.numpy(),
            )  # fmt: skip
            return d_kernel

        parts = in_threads(run, len(history))
        grad_kernel = None
        if ctx.needs_input_grad[1]:
            square = _sum(parts).transpose(2, 3).flatten(3).flatten(1, 2)
            grad_kernel = square[:, : kernel.shape[1], : kernel.shape[2]]
        return grad_current, grad_kernel, None, None, None


class FeedForward(torch.autograd.Function):
    """The layer without recurrence; saves the membranes."""

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        neuron: LIFParameters,
        recorded: bool,
        start: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Spikes, (T, B, N), and membranes after the last step; ``start``: before the first."""
        flat = _to_columns(current)
        before = flat.new_empty((0, 0)) if start is None else _to_columns(start.unsqueeze(0))
        end = flat.new_empty((1, flat.shape[1]))
        out = empty(flat.shape, flat.dtype)
        membrane = empty(flat.shape if recorded else (0, 0), flat.dtype)
        arrays = _arrays(flat, out, membrane, before, end)

        def run(first: int, last: int) -> None:
            columns = (first * LANES, last * LANES)
            run_lif(columns, arrays[0], _compiled(neuron), *arrays[1:])

        in_threads(run, flat.shape[1] // LANES)
        if recorded:
            ctx.save_for_backward(membrane)
            ctx.neuron = neuron
        return _from_columns(out, current.shape), _from_columns(end, current.shape)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_end: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments of ``forward``."""
        (membrane,) = ctx.saved_tensors
        flat = _to_columns(grad)
        out = empty(flat.shape, flat.dtype)
        end = _to_columns(_over_leak(grad_end, ctx.neuron).unsqueeze(0))
        arrays = _arrays(flat, membrane, out, end)

        def run(first: int, last: int) -> None:
            columns = (first * LANES, last * LANES)
            lif_backward(columns, arrays[0], _compiled(ctx.neuron), *arrays[1:])

        in_threads(run, flat.shape[1] // LANES)
        by_current = _from_columns(out, grad.shape)
        by_start = by_current[0] * ctx.neuron.leak if ctx.needs_input_grad[3] else None
        return by_current, None, None, by_start


def _over_leak(grad: Tensor, neuron: LIFParameters) -> Tensor:
    """The gradient of membranes as one of the next step's, for the loops; no leak, no effect."""
    return grad / neuron.leak if neuron.leak else torch.zeros_like(grad)


def _to_tiles(spikes: Tensor) -> Tensor:
    """(P, B, N) as (J, P, N, LANES), padded with zeros."""
    padded = torch.nn.functional.pad(spikes, (0, 0, 0, -spikes.shape[1] % LANES))
    return padded.unflatten(1, (-1, LANES)).permute(1, 0, 3, 2)


def _to_columns(tensor: Tensor) -> Tensor:
    """(T, B, N) as a contiguous (T, M): M is B N, padded with zeros to a multiple of LANES."""
    flat = tensor.flatten(1)
    padding = -flat.shape[1] % LANES
    return torch.nn.functional.pad(flat, (0, padding)) if padding else flat.contiguous()


def _from_columns(flat: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of ``_to_columns``, of any number of steps."""
    return flat[:, : shape[1] * shape[2]].reshape(-1, *shape[1:])
