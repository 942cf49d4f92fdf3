"""The CPU engine: ``functional``'s layers over time, compiled by numba, several times as fast.

Same signatures, same errors and, up to rounding, the same numbers as ``snnbreg.functional``.
Samples are independent, so that each thread takes tiles of the batch through all steps; there are
as many threads as torch has (``torch.set_num_threads``, ``OMP_NUM_THREADS``). The same inputs give
the same bits again with the same number of threads.

float32 and float64, and our own two surrogates; anything else is computed by ``functional``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import functional
from ..functional import LIFParameters, check_current, check_recurrence, delay_kernel, kernel_length
from .cpu_autograd import Axonal, FeedForward, Synaptic
from .cpu_feedforward import delayed_linear
from .select import backward_may_follow

__all__ = ["delayed_linear", "delayed_recurrence", "lif", "supports"]

DEFAULT = LIFParameters()
LONGEST = 8192
"""Steps up to which the counters are exact in float32."""


def supports(current: Tensor, lif: LIFParameters) -> bool:
    """Whether the engine computes this itself; if not it passes it on to ``functional``.

    Args:
        current: (T, B, N).
        lif: the neurons' parameters.

    Returns:
        True for a float32 or float64 tensor on the CPU and a surrogate of our own.
    """
    return (
        current.device.type == "cpu"
        and current.dtype in (torch.float32, torch.float64)
        and lif.surrogate in ("triangle", "atan")
        and (len(current) <= LONGEST or current.dtype == torch.float64)
        and current.numel() > 0
    )


def lif(current: Tensor, lif: LIFParameters = DEFAULT) -> Tensor:
    """LIF neurons over time, without recurrence: see ``functional.lif``.

    Args:
        current: input, (T, B, N).
        lif: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: if ``current`` is not a floating (T, B, N) tensor with T >= 1.

    Example:
        >>> lif(torch.full((5, 1, 1), 0.75)).flatten()
        tensor([0., 1., 0., 1., 0.])
    """
    check_current(current)
    if not supports(current, lif):
        return functional.lif(current, lif)
    return FeedForward.apply(current, lif, backward_may_follow(current))


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    lif: LIFParameters = DEFAULT,
) -> Tensor:
    """Spikes of a recurrent LIF layer with delays: see ``functional.delayed_recurrence``.

    Args:
        current: feed-forward input I, (T, B, N).
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,) per sender (axonal) or (N, N) as ``weight`` (synaptic).
        half_width: s >= 1 in steps, a scalar tensor or (N,) per sender.
        mask: factors on the recurrent current, (B, N), or None.
        lif: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: for shapes or types that do not fit together, and for values that are not
            finite in ``delay``, ``half_width`` or ``weight``.

    Example:
        >>> current = torch.zeros(8, 1, 1)
        >>> current[0] = 1.0
        >>> spikes = delayed_recurrence(
        ...     current, torch.ones(1, 1), torch.tensor([2.0]), torch.tensor(1.0)
        ... )
        >>> spikes.flatten()
        tensor([1., 0., 0., 1., 0., 0., 1., 0.])
    """
    check_recurrence(current, weight, delay, half_width, mask)
    if not supports(current, lif):
        return functional.delayed_recurrence(current, weight, delay, half_width, mask, lif)
    recorded = backward_may_follow(current, weight, delay, half_width)
    if delay.ndim == 2:
        kernel = delay_kernel(delay, half_width, kernel_length(delay, half_width, len(current)))
        return Synaptic.apply(current, weight * kernel, mask, lif, recorded)
    width = half_width.expand(delay.shape)
    return Axonal.apply(current, weight, delay, width, mask, lif, recorded)
