"""The GPU engine: ``functional``'s layers over time as Triton kernels, one launch per pass.

Same signatures and, up to rounding, the same numbers as ``snnbreg.functional``. Nothing is read
from the device, so that the processor never waits: values that are not finite are for the trainer
to find (its loss is then not finite either).

float32, and our own two surrogates; delays per synapse, other surrogates, other types and layers
of more than 1024 neurons are computed by ``functional``. The products with W follow torch's switch
``torch.set_float32_matmul_precision``: ``"highest"`` (the default) is as exact as float32,
``"high"`` is TF32, ``"medium"`` bfloat16; the gradient of W is one product of torch's own.

Without a GPU the kernels run in Triton's interpreter, also in float64, if ``TRITON_INTERPRET=1``
is set before this module is imported; that is slow, and meant for tests.

Legend: T steps, B batch, N neurons. Runs with weights of their own could share a launch as a
second axis of the grid, since a program meets no other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from triton import JITFunction

from .. import functional
from ..functional import LIFParameters, check_current, check_recurrence, delayed_linear
from . import gpu_lif
from .gpu_autograd import LARGEST, Axonal, FeedForward
from .select import backward_may_follow

__all__ = ["delayed_linear", "delayed_recurrence", "lif"]

DEFAULT = LIFParameters()
INTERPRETED = not isinstance(gpu_lif.forward, JITFunction)
"""Whether the kernels run on the CPU, in Triton's interpreter."""


def supports(current: Tensor, lif: LIFParameters) -> bool:
    """Whether the engine computes this itself; if not it passes it on to ``functional``.

    Args:
        current: (T, B, N).
        lif: the neurons' parameters.

    Returns:
        True for a float32 tensor on a GPU, in the interpreter also float64 and on the CPU, and a
        surrogate of our own.
    """
    return (
        current.device.type == ("cpu" if INTERPRETED else "cuda")
        and (current.dtype == torch.float32 or (INTERPRETED and current.dtype == torch.float64))
        and lif.surrogate in ("triangle", "atan")
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
    with torch.cuda.device_of(current):  # Triton launches on the current device
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
        ValueError: for shapes or types that do not fit together.

    Example:
        >>> current = torch.zeros(8, 1, 1)
        >>> current[0] = 1.0
        >>> spikes = delayed_recurrence(
        ...     current, torch.ones(1, 1), torch.tensor([2.0]), torch.tensor(1.0)
        ... )
        >>> spikes.flatten()
        tensor([1., 0., 0., 1., 0., 0., 1., 0.])
    """
    if delay.ndim == 2 or len(delay) > LARGEST or not supports(current, lif):
        return functional.delayed_recurrence(current, weight, delay, half_width, mask, lif)
    check_recurrence(current, weight, delay, half_width, mask, finite=False)
    recorded = backward_may_follow(current, weight, delay, half_width)
    width = half_width.expand(delay.shape)
    with torch.cuda.device_of(current):
        return Axonal.apply(current, weight, delay, width, mask, lif, recorded)
