"""The CPU engine: ``functional``'s layers over time, compiled by numba, several times as fast.

Same signatures, same errors and, up to rounding, the same numbers as ``snnbreg.functional``.
Samples are independent, so that each thread takes tiles of the batch through all steps; there are
as many threads as torch has (``torch.set_num_threads``, ``OMP_NUM_THREADS``). The same inputs give
the same bits again with the same number of threads.

float32 and float64, and our own two surrogates; anything else is computed by ``functional``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import functional
from ..functional import LIFParameters, check_current, check_recurrence
from . import cpu_axonal, cpu_lif
from .cpu_lanes import LANES
from .cpu_tables import delay_table, tap_table
from .cpu_threads import in_threads

DEFAULT = LIFParameters()
LONGEST = 8192
"""Steps up to which the counters are exact in float32."""


def supports(current: Tensor, lif: LIFParameters) -> bool:
    """Whether the engine computes this itself; if not it passes it on to ``functional``.

    Args:
        current: (T, B, N).
        lif: the neurons' parameters.

    Returns:
        True for a float32 or float64 tensor on the CPU and a surrogate of our own.
    """
    return (
        current.device.type == "cpu"
        and current.dtype in (torch.float32, torch.float64)
        and lif.surrogate in ("triangle", "atan")
        and (len(current) <= LONGEST or current.dtype == torch.float64)
        and current.numel() > 0
    )


def lif(current: Tensor, lif: LIFParameters = DEFAULT) -> Tensor:
    """LIF neurons over time, without recurrence: see ``functional.lif``.

    Args:
        current: input, (T, B, N).
        lif: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: if ``current`` is not a floating (T, B, N) tensor with T >= 1.

    Example:
        >>> lif(torch.full((5, 1, 1), 0.75)).flatten()
        tensor([0., 1., 0., 1., 0.])
    """
    check_current(current)
    if not supports(current, lif):
        return functional.lif(current, lif)
    return _LIF.apply(current, lif, _recorded(current))


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    lif: LIFParameters = DEFAULT,
) -> Tensor:
    """Spikes of a recurrent LIF layer with delays: see ``functional.delayed_recurrence``.

    Args:
        current: feed-forward input I, (T, B, N).
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,) per sender (axonal) or (N, N) as ``weight`` (synaptic).
        half_width: s >= 1 in steps, a scalar tensor or (N,) per sender.
        mask: factors on the recurrent current, (B, N), or None.
        lif: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: for shapes or types that do not fit together, and for values that are not
            finite in ``delay``, ``half_width`` or ``weight``.

    Example:
        >>> current = torch.zeros(8, 1, 1)
        >>> current[0] = 1.0
        >>> spikes = delayed_recurrence(
        ...     current, torch.ones(1, 1), torch.tensor([2.0]), torch.tensor(1.0)
        ... )
        >>> spikes.flatten()
        tensor([1., 0., 0., 1., 0., 0., 1., 0.])
    """
    check_recurrence(current, weight, delay, half_width, mask)
    if delay.ndim == 2 or not supports(current, lif):
        return functional.delayed_recurrence(current, weight, delay, half_width, mask, lif)
    recorded = _recorded(current, weight, delay, half_width)
    width = half_width.expand(delay.shape)
    return _Axonal.apply(current, weight, delay, width, mask, lif, recorded)


def _recorded(*tensors: Tensor) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


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
    """Rows of a square matrix in groups of LANES, (R / LANES, N, LANES), zeros below."""
    neurons = len(matrix)
    matrix = torch.nn.functional.pad(matrix, (0, 0, 0, -neurons % LANES))
    return matrix.reshape(-1, LANES, neurons).transpose(1, 2).contiguous()


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Sum in the order given."""
    return reduce(torch.add, parts)


def _plain(*tensors: Tensor) -> list[Any]:
    """Detached, contiguous numpy views."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


class _Axonal(torch.autograd.Function):
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
            ctx.lif = lif
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, delay, width, mask, history, membrane, counters = ctx.saved_tensors
        need_weight, need_kernel = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:4])
        d, s = _plain(delay, width)
        ages, kernel = delay_table(d, s)
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


class _LIF(torch.autograd.Function):
    """Forward and backward of the layer without recurrence; keeps the membranes."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, lif: LIFParameters, recorded: bool) -> Tensor:
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
