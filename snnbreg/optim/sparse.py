"""Sparse initialisation and counts of non-zero weights.

Reference: A Bregman Learning Framework for Sparse Neural Networks (Bungert, Roith, Tenbrinck,
Burger 2021), section 4.1, https://arxiv.org/abs/2105.04319
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from snnbreg.optim.regularizers import get_regularizer


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
        density: expected share of non-zero weights, in (0, 1]; 1 changes no bit.
        generator: source of the mask (on the CPU the mask does not depend on the device of
            ``param``); torch's global generator by default.
        regularizer: a name from ``REGULARIZERS``; says what is kept or dropped together.

    Returns:
        ``param``.

    Raises:
        ValueError: a density outside (0, 1], or a regulariser that does not fit the shape.
    """
    if not 0 < density <= 1:
        raise ValueError(f"Invalid density: {density!r}. It must be in (0, 1]; 1 is dense.")
    grouped = get_regularizer(regularizer, param.shape).group_dims
    if density == 1:
        return param
    shape = [1 if dim in grouped else size for dim, size in enumerate(param.shape)]
    device = param.device if generator is None else generator.device
    keep = torch.rand(shape, generator=generator, device=device) < density
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
