"""The loops of the layer with axonal delays as operators of torch, with a backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...functional import check_finite, link_of
from ...functional.recurrence import RECURRENT
from .axonal import run_axonal
from .axonal_backward import axonal_backward
from .lanes import LANES
from .lif import Neuron
from .matrices import pack
from .memory import empty
from .operators import NEURON, arrays, differentiable, operator, run_steps
from .tables import delay_table
from .threads import in_threads

MOST_DELAYED = 0.35
"""Share of delayed spikes z that are not zero from which on their zeros are not skipped."""
ARGUMENTS = (
    "Tensor current, Tensor weight, Tensor delay, Tensor width, Tensor? mask, "
    f"Tensor? start, Tensor? link, Tensor? past, int keep, {NEURON}"
)


def total(parts: Iterable[Tensor]) -> Tensor:
    """Sum, in the given order."""
    return reduce(torch.add, parts)


def mask_array(mask: Tensor | None, like: Tensor) -> Any:
    """The mask as (1, B, N), or (1, 0, 0) if there is none."""
    (array,) = arrays(like.new_empty(1, 0, 0) if mask is None else mask.unsqueeze(0))
    return array


def _run(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    width: Tensor,
    mask: Tensor | None,
    start: Tensor | None,
    link: Tensor | None,
    past: Tensor | None,
    keep: int,
    *others: Any,
) -> tuple[Tensor, ...]:
    """Spikes, (T, B, N), what is carried on, and what ``_backward`` reads.

    Carried on are the membranes after the last step, (B, N), and the spikes of the last ``keep``
    steps, bytes in tiles (J, keep, N, LANES). Then follow the bytes of all spikes, membranes, the
    counters n, c, m of the last step, and the tables of the kernels. ``start``, ``past`` and
    ``link`` were carried on by the steps before. The others are the neuron's parameters, and
    whether a backward pass may follow.
    """
    *neuron, recorded = others
    check_finite(RECURRENT, weight, delay, width)
    steps, batch, neurons = current.shape
    tiles = -(-batch // LANES)
    before = 0 if past is None else past.shape[1]
    ends = current.new_zeros((2, batch, neurons))
    if start is not None:
        ends[0] = start.detach()
    ages, kernel = delay_table(*arrays(delay, width))
    out = empty(current.shape, current.dtype)
    saved_tiles = tiles if recorded else 0
    history = empty((tiles, before + steps, neurons, LANES), torch.uint8)
    if past is not None:
        history[:, :before] = past
    membrane = empty((saved_tiles, steps, neurons, LANES), current.dtype)
    counters = current.new_empty((saved_tiles, 3, neurons, LANES))
    read = [*arrays(current), pack(weight), mask_array(mask, current)]
    written = arrays(out, history, membrane, counters, ends)

    def run(first: int, last: int) -> None:
        run_axonal((first, last), *read, ages, kernel, Neuron(*neuron), *written)

    in_threads(run, tiles)
    tables = torch.from_numpy(ages), torch.from_numpy(kernel)
    last = history[:, before + steps - _kept(keep, before, current) :]
    return out, ends[1].clone(), last.clone(), history, membrane, counters, *tables


def _kept(keep: int, before: int, current: Tensor) -> int:
    """Of how many steps there are spikes to hand on."""
    return min(keep, before + len(current))


def _fake(
    current: Tensor, weight: Tensor, delay: Tensor, width: Tensor, mask: Tensor | None,
    start: Tensor | None, link: Tensor | None, past: Tensor | None, keep: int, *others: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    steps, batch, neurons = current.shape
    tiles = -(-batch // LANES)
    saved = tiles if others[-1] else 0
    before = 0 if past is None else past.shape[1]
    kept = _kept(keep, before, current)
    return (
        current.new_empty(current.shape),
        current.new_empty((batch, neurons)),
        current.new_empty((tiles, kept, neurons, LANES), dtype=torch.uint8),
        current.new_empty((tiles, before + steps, neurons, LANES), dtype=torch.uint8),
        current.new_empty((saved, steps, neurons, LANES)),
        current.new_empty((saved, 3, neurons, LANES)),
        delay.new_empty((neurons, 4), dtype=torch.int64),
        delay.new_empty((neurons, 7)),
    )


def _backward(
    grad: Tensor, grad_end: Tensor | None, grad_link: Tensor | None, weight: Tensor,
    mask: Tensor | None, history: Tensor, membrane: Tensor, counters: Tensor, ages: Tensor,
    kernel: Tensor, *others: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of the current, W, d and s together (2, N), and the spikes of the steps before.

    ``grad`` is that of all spikes, ``grad_link`` of those that were handed on. The others are the
    neuron's parameters, and whether those of W, and of d and s are wanted; where not, they are
    empty.
    """
    *parameters, need_weight, need_kernel = others
    neuron = Neuron(*parameters)
    grad_past = grad.new_empty((history.shape[1] - len(grad), *grad.shape[1:]))
    handed_on = grad[:0] if grad_link is None else grad_link
    older = max(len(handed_on) - len(grad), 0)  # steps of them that are of the past
    ends = arrays(over_leak(grad_end, grad, neuron), handed_on[older:], grad_past)
    tables = arrays(ages, kernel)
    grad_current = empty(grad.shape, grad.dtype)
    read = [*arrays(grad), pack(weight.T), mask_array(mask, grad)]
    saved = arrays(history, membrane, counters)
    blocks = -(-len(weight) // LANES) if need_weight else 0

    def run(first: int, last: int) -> tuple[Tensor, Tensor]:
        d_weight = grad.new_zeros((blocks, blocks * LANES, LANES))
        d_kernel = torch.zeros((2, len(weight) if need_kernel else 0), dtype=torch.float64)
        axonal_backward(
            (first, last), *read, *tables, neuron, MOST_DELAYED, *saved,
            grad_current.numpy(), d_weight.numpy(), d_kernel.numpy(), *ends,
        )  # fmt: skip
        return d_weight, d_kernel

    parts = in_threads(run, len(history))
    square = total(part[0] for part in parts).transpose(1, 2).flatten(0, 1)
    grad_weight = square[: len(weight), : len(weight)].contiguous()
    grad_past[len(grad_past) - older :] += handed_on[:older]
    return grad_current, grad_weight, total(part[1] for part in parts).to(grad.dtype), grad_past


def _fake_backward(
    grad: Tensor, grad_end: Tensor | None, grad_link: Tensor | None, weight: Tensor,
    mask: Tensor | None, history: Tensor, *others: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    need_weight, need_kernel = others[-2:]
    neurons = weight.shape[0]
    return (
        grad.new_empty(grad.shape),
        grad.new_empty((neurons, neurons) if need_weight else (0, 0)),
        grad.new_empty((2, neurons if need_kernel else 0)),
        grad.new_empty((history.shape[1] - grad.shape[0], *grad.shape[1:])),
    )


STEPS = operator(
    f"axonal_steps({ARGUMENTS}, bool recorded) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run,
    _fake,
)
BACKWARD = operator(
    "axonal_backward(Tensor grad, Tensor? grad_end, Tensor? grad_link, Tensor weight, "
    "Tensor? mask, Tensor history, Tensor membrane, Tensor counters, Tensor ages, Tensor kernel, "
    f"{NEURON}, bool need_weight, bool need_kernel) -> (Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
)


class Axonal(torch.autograd.Function):
    """The layer with axonal delays, with the arguments of ``_run``.

    Its results too, with the link of what is carried on in the fourth place.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        """See ``_run``."""
        return _linked(*arguments, True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what ``_backward`` reads."""
        _, weight, _, _, mask, _, _, _, _, *ctx.neuron = inputs
        ctx.save_for_backward(weight, mask, *output[4:])
        ctx.mark_non_differentiable(output[2], *output[4:])
        ctx.set_materialize_grads(False)
        ctx.shape = output[0].shape

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor | None, grad_end: Tensor | None, none: None,
        grad_link: Tensor | None, *others: None,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Gradients of the arguments."""
        weight, *saved = ctx.saved_tensors
        if grad is None:
            grad = weight.new_zeros(ctx.shape)
        _, need_weight, need_delay, need_width, _, need_start, need_link, *_ = ctx.needs_input_grad
        need_kernel = need_delay or need_width
        by_current, by_weight, by_kernel, by_past = BACKWARD(
            grad, grad_end, grad_link, weight, *saved, *ctx.neuron, need_weight, need_kernel
        )
        return (
            by_current,
            by_weight if need_weight else None,
            by_kernel[0] if need_kernel else None,
            by_kernel[1] if need_kernel else None,
            None,
            by_current[0] * ctx.neuron[0] if need_start else None,
            by_past if need_link else None,
            None,
            None,
            *[None] * len(ctx.neuron),
        )


def _linked(*arguments: Any) -> tuple[Tensor, ...]:
    """The results of ``_run`` with a link in the fourth place."""
    out, end, last, *saved = STEPS(*arguments)
    return out, end, last, link_of(out, last.shape[1]), *saved


def _axonal(*arguments: Any) -> tuple[Tensor, ...]:
    return tuple(run_steps(Axonal, _linked, 7, arguments)[:4])


def _fake_linked(*arguments: Any) -> tuple[Tensor, ...]:
    out, end, last, *_ = _fake(*arguments, False)
    return out, end, last, link_of(out, last.shape[1])


axonal = differentiable(
    f"axonal({ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)", _axonal, _fake_linked
)
"""Spikes, membranes after the last step, last spikes and their link, from arguments of ``_run``."""


def over_leak(grad: Tensor | None, like: Tensor, neuron: Neuron) -> Tensor:
    """The gradient of membranes as one of the next step's, for the loops, (1, B, N).

    ``grad`` is (B, N), None for zero; ``like`` is the spikes' gradient. No leak, no effect.
    """
    if grad is None or not neuron.leak:
        return torch.zeros_like(like[:1])
    return (grad / neuron.leak).unsqueeze(0)


def to_tiles(spikes: Tensor) -> Tensor:
    """(P, B, N) as (J, P, N, LANES), padded with zeros."""
    padded = torch.nn.functional.pad(spikes, (0, 0, 0, -spikes.shape[1] % LANES))
    return padded.unflatten(1, (-1, LANES)).permute(1, 0, 3, 2)


def from_tiles(tiles: Tensor, batch: int) -> Tensor:
    """(J, P, N, LANES) as (P, B, N)."""
    return tiles.permute(1, 0, 3, 2).flatten(1, 2)[:, :batch]
