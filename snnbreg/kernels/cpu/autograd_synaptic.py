"""The loops of the layer with synaptic delays as operators of torch, with a backward pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...functional import check_finite
from ...functional.recurrence import RECURRENT
from .autograd import mask_array, total
from .lanes import LANES
from .lif import Neuron
from .matrices import panels
from .memory import empty
from .operators import NEURON, arrays, differentiable, operator, run_steps
from .synaptic import run_synaptic, synaptic_backward
from .threads import in_threads

ARGUMENTS = f"Tensor current, Tensor kernel, Tensor? reach, Tensor? mask, {NEURON}"


def _run(
    current: Tensor, kernel: Tensor, reach: Tensor | None, mask: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, (T, B, N), and what ``_backward`` reads: spikes as bytes, and membranes.

    ``kernel`` is W h, (K, N, N) = (age, receiver, sender), of which ages above ``reach`` (steps,
    a scalar, None for no limit) are zero. The others are the neuron's parameters, and whether a
    backward pass may follow.
    """
    *neuron, recorded = others
    check_finite(RECURRENT, kernel)
    steps, batch, neurons = current.shape
    tiles = -(-batch // LANES)
    out = empty(current.shape, current.dtype)
    history = empty((tiles, steps, neurons, LANES), torch.uint8)
    saved_tiles = tiles if recorded else 0
    membrane = empty((saved_tiles, steps, neurons, LANES), current.dtype)
    oldest_first = _used(kernel, reach).flip(0).transpose(0, 1).flatten(1)
    read = [*arrays(current, panels(oldest_first)), mask_array(mask, current)]
    written = arrays(out, history, membrane)

    def run(first: int, last: int) -> None:
        run_synaptic((first, last), *read, Neuron(*neuron), *written)

    in_threads(run, tiles)
    return out, history, membrane


def _used(kernel: Tensor, reach: Tensor | None) -> Tensor:
    """The ages of the kernel that may be other than zero."""
    return kernel.detach()[: None if reach is None else max(math.floor(float(reach)) + 1, 1)]


def _fake(
    current: Tensor, kernel: Tensor, reach: Tensor | None, mask: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor]:
    steps, batch, neurons = current.shape
    tiles = -(-batch // LANES)
    return (
        current.new_empty(current.shape),
        current.new_empty((tiles, steps, neurons, LANES), dtype=torch.uint8),
        current.new_empty((tiles if others[-1] else 0, steps, neurons, LANES)),
    )


def _backward(
    grad: Tensor, kernel: Tensor, reach: Tensor | None, mask: Tensor | None, history: Tensor,
    membrane: Tensor, *others: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of the current and the kernel; this one is empty if not wanted, the last of all."""
    *neuron, need_kernel = others
    used = _used(kernel, reach)
    grad_current = empty(grad.shape, grad.dtype)
    read = [*arrays(grad, panels(used.permute(2, 0, 1).flatten(1))), mask_array(mask, grad)]
    saved = arrays(history, membrane)
    blocks = read[1].shape[0]
    ages = len(used) if need_kernel else 0

    def run(first: int, last: int) -> Tensor:
        d_kernel = grad.new_zeros((ages, blocks, blocks, LANES, LANES))
        synaptic_backward(
            (first, last), *read, Neuron(*neuron), *saved, grad_current.numpy(), d_kernel.numpy()
        )
        return d_kernel

    square = total(in_threads(run, len(history))).transpose(2, 3).flatten(3).flatten(1, 2)
    grad_kernel = grad.new_zeros(kernel.shape if need_kernel else (0, 0, 0))
    if need_kernel:
        grad_kernel[:ages] = square[:, : kernel.shape[1], : kernel.shape[2]]
    return grad_current, grad_kernel


def _fake_backward(
    grad: Tensor, kernel: Tensor, reach: Tensor | None, mask: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor]:
    return grad.new_empty(grad.shape), grad.new_empty(kernel.shape if others[-1] else (0, 0, 0))


STEPS = operator(
    f"synaptic_steps({ARGUMENTS}, bool recorded) -> (Tensor, Tensor, Tensor)", _run, _fake
)
BACKWARD = operator(
    "synaptic_backward(Tensor grad, Tensor kernel, Tensor? reach, Tensor? mask, Tensor history, "
    f"Tensor membrane, {NEURON}, bool need_kernel) -> (Tensor, Tensor)",
    _backward,
    _fake_backward,
)


class Synaptic(torch.autograd.Function):
    """The layer with synaptic delays; its results and arguments are those of ``_run``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        """See ``_run``."""
        results: tuple[Tensor, ...] = STEPS(*arguments, True)
        return results

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what ``_backward`` reads."""
        _, kernel, reach, mask, *ctx.neuron = inputs
        ctx.save_for_backward(kernel, reach, mask, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *none: None) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments."""
        need_kernel = ctx.needs_input_grad[1]
        by_current, by_kernel = BACKWARD(grad, *ctx.saved_tensors, *ctx.neuron, need_kernel)
        none_of_others = [None] * (2 + len(ctx.neuron))
        return by_current, by_kernel if need_kernel else None, *none_of_others


def _synaptic(*arguments: Any) -> Tensor:
    spikes, *_ = run_steps(Synaptic, STEPS, 2, arguments)
    return spikes


synaptic = differentiable(
    f"synaptic({ARGUMENTS}) -> Tensor", _synaptic, lambda *xs: _fake(*xs, False)[0]
)
"""Spikes, from the arguments of ``_run``."""
