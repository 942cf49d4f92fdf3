"""Sparse initialisation and counts of non-zero weights.

References: A Bregman Learning Framework for Sparse Neural Networks (Bungert, Roith, Tenbrinck,
Burger 2021), section 4.1, https://arxiv.org/abs/2105.04319; for the densities of layers, Rigging
the Lottery (Evci et al. 2020), section 3, https://arxiv.org/abs/1911.11134, and Mocanu et al. 2018,
Nature Communications 9:2383.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from snnbreg.optim.regularizers import get_regularizer

ALLOCATIONS = ("uniform", "erk")


def layer_densities(
    shapes: Sequence[Sequence[int]], density: float, allocation: str = "uniform"
) -> list[float]:
    """Densities of layers that amount to one density of all their weights together.

    ``"uniform"`` gives every layer the same. ``"erk"`` (Erdos-Renyi-kernel) makes it proportional
    to ``(n_out + n_in + k_h + k_w) / (n_out n_in k_h k_w)``, for a matrix
    ``(n_out + n_in) / (n_out n_in)``: small layers keep a larger share. A layer that would get
    more than all its weights is dense, and the others share what it leaves.

    Args:
        shapes: one per layer, ``(n_out, n_in, *kernel)``.
        density: share of non-zero weights in all layers together, in (0, 1].
        allocation: ``"uniform"`` or ``"erk"``.

    Returns:
        A density in (0, 1] per layer.

    Raises:
        ValueError: an unknown allocation, or a density outside (0, 1].

    Example:
        >>> layer_densities([(100, 100), (10, 10)], 0.2, "erk")  # 2020 weights: 1920 and 100
        [0.192, 1.0]
    """
    _check_density(density)
    if allocation not in ALLOCATIONS:
        valid = ", ".join(ALLOCATIONS)
        raise ValueError(f"Invalid allocation: {allocation!r}. Valid allocations are {valid}.")
    densities = [density] * len(shapes)
    if allocation == "uniform":
        return densities
    sizes, shares = [math.prod(shape) for shape in shapes], [sum(shape) for shape in shapes]
    entries, share = density * sum(sizes), sum(shares)  # to give, and among how many
    # Once the densest of the layers that are left is not full, no later one will be.
    for i in sorted(range(len(shapes)), key=lambda i: shares[i] / sizes[i], reverse=True):
        densities[i] = min(1.0, entries * shares[i] / share / sizes[i])
        entries -= densities[i] * sizes[i]
        share -= shares[i]
    return densities


def _check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"Invalid density: {density!r}. It must be in (0, 1]; 1 is dense.")


@torch.no_grad()
def sparsify_(
    param: Tensor,
    density: float,
    generator: torch.Generator | None = None,
    regularizer: str = "l1",
) -> Tensor:
    """Mask a dense initialisation at random, in place, and keep its variance.

    Every entry stays with probability ``density`` = r and is multiplied by ``1 / sqrt(r)``: the
    non-zero weights have variance Var0 / r, the masked tensor has Var0. Group regularisers keep or
    drop whole rows, columns or kernels. Call it before the optimizer's first step.

    Args:
        param: the weights, any shape the regulariser takes.
        density: expected share of non-zero weights, in (0, 1]; 1 changes no bit of any shape.
        generator: source of the mask (on the CPU the mask does not depend on the device of
            ``param``); torch's global generator by default.
        regularizer: a name from ``REGULARIZERS``; says what is kept or dropped together.

    Returns:
        ``param``.

    Raises:
        ValueError: a density outside (0, 1], an unknown regulariser, or below density 1 one that
            does not fit the shape.
    """
    _check_density(density)
    draw = get_regularizer(regularizer, None if density == 1 else param.shape).draw
    if density == 1:
        return param
    device = param.device if generator is None else generator.device
    uniform = functools.partial(torch.rand, generator=generator, device=device)
    keep = draw(param.shape, uniform) < density
    return param.mul_(keep.to(param)).div_(density**0.5)


def count_nonzero(named_parameters: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """The number of non-zero entries of every parameter.

    Example:
        >>> count_nonzero([("weight", torch.tensor([[0.0, 2.0], [0.0, -0.1]]))])
        {'weight': 2}
    """
    return {name: int(torch.count_nonzero(param)) for name, param in named_parameters}


def density(params: Iterable[Tensor]) -> float:
    """Non-zero entries over all entries, of several parameters together; 0 if there are none.

    Example:
        >>> density([torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0])])
        0.75
    """
    params = list(params)
    nonzero = sum(int(torch.count_nonzero(param)) for param in params)
    return nonzero / max(1, sum(param.numel() for param in params))
