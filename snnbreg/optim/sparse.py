"""Sparse initialisation and counts of non-zero weights.

References: A Bregman Learning Framework for Sparse Neural Networks (Bungert, Roith, Tenbrinck,
Burger 2021), section 4.1, https://arxiv.org/abs/2105.04319; for the densities of layers, Rigging
the Lottery (Evci et al. 2020), section 3, https://arxiv.org/abs/1911.11134, and Mocanu et al. 2018,
Nature Communications 9:2383.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from snnbreg.optim.functionals import Regularizer
from snnbreg.optim.regularizers import get_regularizer, jointly

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
    params: Tensor | Sequence[Tensor],
    density: float,
    generator: torch.Generator | None = None,
    regularizer: str = "l1",
    exact: bool = False,
) -> Tensor | Sequence[Tensor]:
    """Mask a dense initialisation at random, in place, and keep its variance.

    Every entry stays with probability ``density`` = r and is multiplied by ``1 / sqrt(r)``: the
    non-zero weights have variance Var0 / r, the masked tensor has Var0 (4.3). Group regularisers
    keep or drop whole groups (4.4), the nuclear norm singular values. One is always kept, so that
    no layer is dead from the start; r then is the share that is to be expected.

    Args:
        params: the weights, any shape the regulariser takes; for one that couples several
            parameters, all of these.
        density: expected share of non-zero weights, in (0, 1]; 1 changes no bit of any shape.
        generator: source of the mask (on the CPU the mask does not depend on the device of
            the weights); torch's global generator by default.
        regularizer: its name; says what is kept or dropped together.
        exact: keep as many groups as come closest to the density, instead of each with that
            probability.

    Returns:
        ``params``.

    Raises:
        ValueError: a density outside (0, 1], an unknown regulariser, or below density 1 one that
            does not fit the shape.
    """
    _check_density(density)
    tensors = [params] if isinstance(params, Tensor) else list(params)
    functional = get_regularizer(regularizer, *(t.shape for t in tensors if density < 1))
    if density == 1:
        return params
    device = tensors[0].device if generator is None else generator.device

    def masked(each: Regularizer, theta: Tensor) -> Tensor:
        shares = []

        def choose(counts: Sequence[int]) -> Tensor:
            numbers = torch.rand(counts, generator=generator, device=device)
            keep, share = _kept(numbers, density, exact)
            shares.append(share)
            return keep

        keep = each.draw(theta.shape, choose)
        return each.mask(theta, keep.to(theta.device)).div_(shares[0] ** 0.5)

    for tensor, theta in zip(tensors, jointly(functional, masked, tensors), strict=True):
        tensor.copy_(theta)
    return params


def _kept(numbers: Tensor, density: float, exact: bool) -> tuple[Tensor, float]:
    """Which of random numbers are kept, one at least, and the share that is to be expected."""
    groups = numbers.numel()
    if exact:
        count = max(1, round(density * groups))
        keep = torch.zeros_like(numbers, dtype=torch.bool)
        keep.view(-1)[numbers.flatten().argsort()[:count]] = True
        return keep, count / groups
    share = density + (1 - density) ** groups / groups
    return (numbers < density) | (numbers == numbers.min()), share


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
