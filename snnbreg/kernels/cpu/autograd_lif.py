"""The loops of the layer without recurrence as operators of torch, with a backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .autograd import over_leak
from .lanes import LANES
from .lif import Neuron, lif_backward, run_lif
from .memory import empty
from .operators import NEURON, arrays, differentiable, operator, run_steps
from .threads import in_threads

ARGUMENTS = f"Tensor current, Tensor? start, {NEURON}"


def _run(current: Tensor, start: Tensor | None, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, (T, B, N), membranes after the last step, (B, N), and before each spike, (T, M).

    ``start`` is the membranes before the first step. The others are the neuron's parameters, and
    whether a backward pass may follow: if not, the last result is empty.
    """
    *neuron, recorded = others
    flat = _to_columns(current)
    before = flat.new_empty((0, 0)) if start is None else _to_columns(start.unsqueeze(0))
    end = flat.new_empty((1, flat.shape[1]))
    out = empty(flat.shape, flat.dtype)
    membrane = empty(flat.shape if recorded else (0, 0), flat.dtype)
    read, *written = arrays(flat, out, membrane, before, end)

    def run(first: int, last: int) -> None:
        run_lif((first * LANES, last * LANES), read, Neuron(*neuron), *written)

    in_threads(run, flat.shape[1] // LANES)
    return _from_columns(out, current.shape), _from_columns(end, current.shape)[0], membrane


def _fake(current: Tensor, start: Tensor | None, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    steps, batch, neurons = current.shape
    width = -(-batch * neurons // LANES) * LANES
    return (
        current.new_empty(current.shape),
        current.new_empty((batch, neurons)),
        current.new_empty((steps, width) if others[-1] else (0, 0)),
    )


def _backward(grad: Tensor, grad_end: Tensor | None, membrane: Tensor, *neuron: Any) -> Tensor:
    """Gradient of the current."""
    flat = _to_columns(grad)
    out = empty(flat.shape, flat.dtype)
    end = _to_columns(over_leak(grad_end, grad, Neuron(*neuron)))
    read, *others = arrays(flat, membrane, out, end)

    def run(first: int, last: int) -> None:
        lif_backward((first * LANES, last * LANES), read, Neuron(*neuron), *others)

    in_threads(run, flat.shape[1] // LANES)
    return _from_columns(out, grad.shape)


def _fake_backward(grad: Tensor, grad_end: Tensor | None, membrane: Tensor, *neuron: Any) -> Tensor:
    return grad.new_empty(grad.shape)


STEPS = operator(f"lif_steps({ARGUMENTS}, bool recorded) -> (Tensor, Tensor, Tensor)", _run, _fake)
BACKWARD = operator(
    f"lif_backward(Tensor grad, Tensor? grad_end, Tensor membrane, {NEURON}) -> Tensor",
    _backward,
    _fake_backward,
)


class FeedForward(torch.autograd.Function):
    """The layer without recurrence; its results and arguments are those of ``_run``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        """See ``_run``."""
        results: tuple[Tensor, ...] = STEPS(*arguments, True)
        return results

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save the membranes."""
        _, _, *ctx.neuron = inputs
        ctx.save_for_backward(output[2])
        ctx.mark_non_differentiable(output[2])
        ctx.set_materialize_grads(False)
        ctx.shape = output[0].shape

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor | None, grad_end: Tensor | None, none: None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments."""
        (membrane,) = ctx.saved_tensors
        if grad is None:
            grad = membrane.new_zeros(ctx.shape)
        by_current = BACKWARD(grad, grad_end, membrane, *ctx.neuron)
        by_start = by_current[0] * ctx.neuron[0] if ctx.needs_input_grad[1] else None
        return by_current, by_start, *[None] * len(ctx.neuron)


def _lif(*arguments: Any) -> tuple[Tensor, Tensor]:
    spikes, end, _ = run_steps(FeedForward, STEPS, 2, arguments)
    return spikes, end


lif = differentiable(
    f"lif({ARGUMENTS}) -> (Tensor, Tensor)", _lif, lambda *xs: _fake(*xs, False)[:2]
)
"""Spikes and membranes after the last step, from the arguments of ``_run``."""


def _to_columns(tensor: Tensor) -> Tensor:
    """(T, B, N) as a contiguous (T, M): M is B N, padded with zeros to a multiple of LANES."""
    flat = tensor.flatten(1)
    padding = -flat.shape[1] % LANES
    return torch.nn.functional.pad(flat, (0, padding)) if padding else flat.contiguous()


def _from_columns(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of ``_to_columns``, of any number of steps."""
    return flat[:, : shape[1] * shape[2]].reshape(-1, *shape[1:]).contiguous()
