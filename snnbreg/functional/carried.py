"""What a recurrent layer hands on from a segment of time into the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Carried(NamedTuple):
    """The state of a recurrent layer after a step; gradients pass through it."""

    membrane: Tensor
    """V, (B, N)."""
    spikes: Tensor
    """Of the last P steps, all that have not arrived yet, as bytes: (P, B, N), or in an engine's
    own order. Without a gradient."""
    link: Tensor
    """(P, B, N) in the type of the membranes, without memory of its own: takes the gradient of the
    spikes."""


def pack(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """``spikes`` and ``link`` of a ``Carried`` from spikes (P, B, N)."""
    packed, link = _Pack.apply(spikes)
    return packed, link


def unpack(spikes: Tensor, link: Tensor) -> Tensor:
    """The spikes (P, B, N) again, in the link's type; their gradient is that of what was packed."""
    unpacked: Tensor = _Unpack.apply(spikes, link)
    return unpacked


def link_of(like: Tensor, steps: int) -> Tensor:
    """A link of so many steps for spikes like those of a (T, B, N) tensor."""
    return like.new_zeros(()).expand(steps, *like.shape[1:])


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor) -> tuple[Tensor, Tensor]:
        packed = spikes.byte()
        ctx.mark_non_differentiable(packed)
        return packed, link_of(spikes, len(spikes))

    @staticmethod
    def backward(ctx: Any, none: Tensor, grad: Tensor) -> Tensor:
        return grad


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, link: Tensor) -> Tensor:
        return packed.to(link.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad
