"""Spikes and their surrogate gradients.

In the forward pass a neuron fires if its membrane reaches the threshold: S = 1 if x >= 0, else 0,
with x = H - threshold. The derivative of that step is zero almost everywhere, so the backward pass
uses another one, the surrogate: ``triangle`` (DelRec on SSC and PSMNIST) or ``atan`` (DelRec on
SHD).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Surrogate = str | Callable[[Tensor], Tensor]
"""A name of ``SURROGATES``, or a function x -> spikes that brings its own backward pass."""


def triangle_slope(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Derivative max(0, 1 - |x|): a triangle of height 1 around the threshold.

    Args:
        x: membrane minus threshold, any shape.
        alpha: not used; all slopes have the same arguments.

    Returns:
        The slope, in the shape and type of ``x``.

    Example:
        >>> triangle_slope(torch.tensor([-2.0, -0.5, 0.0, 0.25]))
        tensor([0.0000, 0.5000, 1.0000, 0.7500])

    Reference:
        Queant et al. 2025, "DelRec", arXiv 2509.24852 (SSC and PSMNIST; gamma = 1).
    """
    return torch.relu(1.0 - x.abs())


def atan_slope(x: Tensor, alpha: float = 5.0) -> Tensor:
    """Derivative of a scaled arctangent, (alpha/2) / (1 + (pi alpha x / 2)^2).

    Args:
        x: membrane minus threshold, any shape.
        alpha: steepness; the peak is alpha/2.

    Returns:
        The slope, in the shape and type of ``x``.

    Example:
        >>> atan_slope(torch.tensor([0.0, 0.1]), alpha=5.0)
        tensor([2.5000, 1.5462])

    Reference:
        Fang et al. 2021, ICCV, "Incorporating Learnable Membrane Time Constants"; alpha = 5 in
        Queant et al. 2025, arXiv 2509.24852 (SHD).
    """
    return (0.5 * alpha) / (1.0 + (0.5 * torch.pi * alpha * x).square())


SURROGATES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "triangle": triangle_slope,
    "atan": atan_slope,
}
"""The surrogate derivatives by name, functions (x, alpha) -> dS/dx."""


class _Spike(torch.autograd.Function):
    """Heaviside forward (1 at x = 0), ``slope(x, alpha)`` backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, slope: Callable[[Tensor, float], Tensor], alpha: float
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope, ctx.alpha = slope, alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.slope(x, ctx.alpha), None, None


def spike(x: Tensor, surrogate: Surrogate = "triangle", alpha: float = 5.0) -> Tensor:
    """Spikes S = 1 where x >= 0, else 0; the backward pass uses the surrogate derivative.

    Args:
        x: membrane minus threshold, any shape and floating type.
        surrogate: ``"triangle"``, ``"atan"``, or a function x -> spikes with its own backward
            pass (which also decides about x = 0 and the precision).
        alpha: steepness of ``"atan"``.

    Returns:
        Zeros and ones in the shape and type of ``x``.

    Raises:
        ValueError: for a name that is not in ``SURROGATES``.

    Example:
        >>> x = torch.tensor([-0.25, 0.0, 2.0], requires_grad=True)
        >>> spikes = spike(x)
        >>> spikes.sum().backward()
        >>> spikes.detach(), x.grad
        (tensor([0., 1., 1.]), tensor([0.7500, 1.0000, 0.0000]))
    """
    if callable(surrogate):
        return surrogate(x).to(x.dtype)
    return _Spike.apply(x, _named(surrogate), alpha)


def surrogate_slope(x: Tensor, surrogate: Surrogate = "triangle", alpha: float = 5.0) -> Tensor:
    """The derivative dS/dx that ``spike`` uses in its backward pass.

    Args:
        x: membrane minus threshold, any shape and floating type.
        surrogate: as in ``spike``; a function is differentiated by autograd.
        alpha: steepness of ``"atan"``.

    Returns:
        The slope, in the shape and type of ``x``, detached.

    Raises:
        ValueError: for a name that is not in ``SURROGATES``.

    Example:
        >>> surrogate_slope(torch.tensor([0.0, 0.75]), "triangle")
        tensor([1.0000, 0.2500])
    """
    x = x.detach()
    if callable(surrogate):
        with torch.enable_grad():
            x.requires_grad_()
            (slope,) = torch.autograd.grad(surrogate(x).sum(), x)
        return slope
    return _named(surrogate)(x, alpha)


def _named(surrogate: str) -> Callable[[Tensor, float], Tensor]:
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate={surrogate!r} is unknown: choose one of {sorted(SURROGATES)}.")
    return SURROGATES[surrogate]
