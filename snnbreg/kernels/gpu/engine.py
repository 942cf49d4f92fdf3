"""The layers over time of ``snnbreg.functional`` as Triton kernels, one launch per pass.

Same signatures and, up to rounding, the same numbers as ``snnbreg.functional``. The CPU never waits
for the device, and so NaN and infinite values raise no error here: the trainer finds them, because
the loss is not finite either.

Computes float32 with the surrogates ``"triangle"`` and ``"atan"``; delays per synapse, other
surrogates, other types and layers of more than 1024 neurons are passed to ``snnbreg.functional``.
The precision of the products with W is torch's setting
``torch.set_float32_matmul_precision``: ``"highest"`` (the default) is as exact as float32,
``"high"`` is TF32, ``"medium"`` bfloat16; the gradient of W is one product of torch's own.

Without a GPU the kernels run in Triton's interpreter, also in float64, if ``TRITON_INTERPRET=1``
is set before this module is imported; this is slow, and for tests only.

Legend: T steps, B batch, N neurons.
"""

from __future__ import annotations

import torch
from torch import Tensor
from triton import JITFunction

from ... import functional
from ...functional import LIFParameters, check_current, check_recurrence
from ..select import backward_may_follow
from .autograd import MAX_NEURONS, Axonal, FeedForward
from .lif import run_lif

DEFAULTS = LIFParameters()
INTERPRETED = not isinstance(run_lif, JITFunction)
"""Whether the kernels run on the CPU, in Triton's interpreter."""


def supports(current: Tensor, neuron: LIFParameters) -> bool:
    """Whether the engine computes this itself; otherwise it calls ``functional``.

    Args:
        current: (T, B, N).
        neuron: the neurons' parameters.

    Returns:
        True for a float32 tensor on a GPU (in the interpreter float32 or float64 on the CPU) and
        the surrogates ``"triangle"`` and ``"atan"``.
    """
    return (
        current.device.type == ("cpu" if INTERPRETED else "cuda")
        and (current.dtype == torch.float32 or (INTERPRETED and current.dtype == torch.float64))
        and neuron.surrogate in ("triangle", "atan")
        and current.numel() > 0
    )


def lif(current: Tensor, neuron: LIFParameters = DEFAULTS) -> Tensor:
    """LIF neurons over time, without recurrence: see ``functional.lif``.

    Args:
        current: input, (T, B, N).
        neuron: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), in the type of ``current``.

    Raises:
        ValueError: if ``current`` is not a floating (T, B, N) tensor with T >= 1.

    Example:
        >>> lif(torch.full((5, 1, 1), 0.75)).flatten()
        tensor([0., 1., 0., 1., 0.])
    """
    check_current(current)
    if not supports(current, neuron):
        return functional.lif(current, neuron)
    with torch.cuda.device_of(current):  # Triton launches on the current device
        return FeedForward.apply(current, neuron, backward_may_follow(current))


def delayed_recurrence(
    current: Tensor,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    neuron: LIFParameters = DEFAULTS,
) -> Tensor:
    """Spikes of a recurrent LIF layer with delays: see ``functional.delayed_recurrence``.

    Args:
        current: feed-forward input I, (T, B, N).
        weight: W, (N, N), row = receiver, column = sender.
        delay: d in steps, (N,) per sender (axonal) or (N, N) as ``weight`` (synaptic).
        half_width: s >= 1 in steps, a scalar tensor or (N,) per sender.
        mask: factors on the recurrent current (dropout), (B, N), or None.
        neuron: the neurons' parameters.

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
    if delay.ndim == 2 or len(delay) > MAX_NEURONS or not supports(current, neuron):
        return functional.delayed_recurrence(current, weight, delay, half_width, mask, neuron)
    check_recurrence(current, weight, delay, half_width, mask, finite=False)
    recorded = backward_may_follow(current, weight, delay, half_width)
    width = half_width.expand(delay.shape)
    with torch.cuda.device_of(current):
        return Axonal.apply(current, weight, delay, width, mask, neuron, recorded)
