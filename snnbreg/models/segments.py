"""Gradient checkpointing: a network over segments of time, whose inside is computed twice.

Training keeps what every step of every layer needs for the backward pass. In segments it keeps
what crosses their borders alone, and computes a segment again when its gradients are due: less
memory, for one more forward pass.

A module that remembers something over time is a :class:`Carrying`. What it carries from a segment
into the next is an ordinary result, through which gradients pass: membranes, the spikes that have
not arrived yet, and the mask of a dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Carry:
    """Attribute ``state``: what a module found before a segment, and leaves after it."""

    def __init__(self, state: Any) -> None:
        self.state = state


class Carrying(nn.Module):
    """A module that goes on where the last segment of time ended.

    Attributes:
        carry: inside a segment, with ``state`` None in the first one; None outside of segments.
    """

    carry: Carry | None = None


@contextmanager
def _carrying(network: nn.Module, states: Mapping[str, Any]) -> Iterator[dict[str, Carry]]:
    """Inside: every module that carries something has its state, by name."""
    modules = {name: m for name, m in network.named_modules() if isinstance(m, Carrying)}
    carries = {name: Carry(states.get(name)) for name in modules}
    try:
        for name, module in modules.items():
            module.carry = carries[name]
        yield carries
    finally:
        for module in modules.values():
            module.carry = None


def in_segments(
    network: nn.Module, forward: Callable[[Tensor], Tensor], frames: Tensor, segments: int
) -> Tensor:
    """The outputs (T, B, K) of ``forward`` on frames (T, B, C), computed in segments of time.

    Args:
        network: has the modules that carry something.
        forward: any number of steps of it.
        frames: of all steps.
        segments: at most T; of equal lengths but for the last one.
    """

    def segment(part: Tensor, states: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        with _carrying(network, states) as carries:
            outputs = forward(part)
        return outputs, {name: carry.state for name, carry in carries.items()}

    states: dict[str, Any] = {}
    outputs = []
    parts = frames.split(-(-len(frames) // segments))
    for part in parts:
        # the gradients of the last one are due first: it is kept until then
        if torch.is_grad_enabled() and part is not parts[-1]:
            out, states = checkpoint(segment, part, states, use_reentrant=False)
        else:
            out, states = segment(part, states)
        outputs.append(out)
    return torch.cat(outputs)


def twice(module: nn.Module, x: Tensor) -> Tensor:
    """A module's result, whose inside is computed again when its gradients are due.

    Batch norms move their running statistics the first time alone.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _untracked(module)

    result: Tensor = checkpoint(module, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _untracked(module: nn.Module) -> Iterator[None]:
    """Inside: running statistics of batch norms do not move, and no batch is counted."""
    norms: list[Any] = [
        m for m in module.modules() if getattr(m, "num_batches_tracked", None) is not None
    ]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
