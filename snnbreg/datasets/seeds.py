"""Randomness as a pure function of numbers: the same on every machine, no global generator.

NumPy guarantees the streams of ``SeedSequence`` and ``PCG64`` for good, but not those of the
methods built upon them, so permutations are made here from the raw stream.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def permutation(n: int, *entropy: int) -> Tensor:
    """Return a permutation of ``0..n-1`` that depends on ``entropy`` alone.

    Args:
        n: number of elements.
        *entropy: non-negative integers (a seed, an epoch, a stream number).

    Returns:
        int64 tensor ``(n,)``.

    Raises:
        ValueError: if a number in ``entropy`` is negative.

    Example:
        >>> permutation(6, 0).tolist()
        [3, 2, 1, 0, 4, 5]
    """
    raw = np.random.PCG64(_sequence(entropy)).random_raw(n)
    return torch.from_numpy(np.argsort(raw, kind="stable"))


def derive_seed(*entropy: int) -> int:
    """Return a seed below 2**63 for a ``torch.Generator``, a pure function of ``entropy``.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    return int(_sequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sequence(entropy: tuple[int, ...]) -> np.random.SeedSequence:
    if any(number < 0 for number in entropy):
        raise ValueError(f"seeds must be 0 or more, got {entropy}")
    return np.random.SeedSequence(entropy)
