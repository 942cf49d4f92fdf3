"""The layers over time of ``snnbreg.functional``, compiled by numba for the CPU.

Same signatures, same errors and, up to rounding, the same numbers as ``snnbreg.functional``.
Samples are independent, so each thread computes all steps of a part of the batch, with as many
threads as torch has (``torch.set_num_threads``, ``OMP_NUM_THREADS``). With the same number of
threads the same inputs give bitwise equal results.

Computes float32 and float64 with the surrogates ``"triangle"`` and ``"atan"``; everything else is
passed to ``snnbreg.functional``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ... import functional
from ...functional import (
    Carried,
    LIFParameters,
    check_current,
    check_recurrence,
    delay_kernel,
    kernel_length,
    readable,
)
from . import autograd_lif
from .autograd import axonal, from_tiles, to_tiles
from .autograd_synaptic import synaptic
from .operators import scalars

DEFAULTS = LIFParameters()
MAX_FLOAT32_STEPS = 8192
"""Longest recording, in steps, for which the counters n, c and m are exact in float32."""


def supports(current: Tensor, neuron: LIFParameters) -> bool:
    """Whether the engine computes this itself; otherwise it calls ``functional``.

    Args:
        current: (T, B, N).
        neuron: the neurons' parameters.

    Returns:
        True for a float32 or float64 tensor on the CPU and the surrogates ``"triangle"`` and
        ``"atan"``.
    """
    return (
        current.device.type == "cpu"
        and current.ndim == 3  # the reference says what is wrong with others
        and current.dtype in (torch.float32, torch.float64)
        and neuron.surrogate in ("triangle", "atan")
        and (len(current) <= MAX_FLOAT32_STEPS or current.dtype == torch.float64)
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
    return continued_lif(current, None, neuron)[0]


def continued_lif(
    current: Tensor, membrane: Tensor | None, neuron: LIFParameters = DEFAULTS
) -> tuple[Tensor, Tensor]:
    """A segment of time of ``lif``: see ``functional.continued_lif``."""
    if not supports(current, neuron):
        return functional.continued_lif(current, membrane, neuron)
    return autograd_lif.lif(current, membrane, *scalars(neuron))


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
    if delay.ndim == 2 and supports(current, neuron):
        check_recurrence(current, weight, delay, half_width, mask)
        kernel = delay_kernel(delay, half_width, kernel_length(delay, half_width, len(current)))
        reach = None if readable() else (delay + half_width).detach().max()
        return synaptic(current, weight * kernel, reach, mask, *scalars(neuron))
    return continued_recurrence(current, None, weight, delay, half_width, mask, neuron)[0]


def continued_recurrence(
    current: Tensor,
    carried: Carried | None,
    weight: Tensor,
    delay: Tensor,
    half_width: Tensor,
    mask: Tensor | None = None,
    neuron: LIFParameters = DEFAULTS,
    keep: int = 0,
) -> tuple[Tensor, Carried]:
    """A segment of time of ``delayed_recurrence``: see ``functional.continued_recurrence``.

    Spikes are handed on in tiles of samples. Delays per synapse are computed by the reference.
    """
    check_recurrence(current, weight, delay, half_width, mask, finite=False)  # the operator looks
    if delay.ndim == 2 or not supports(current, neuron):
        if carried is not None and carried.spikes.ndim == 4:  # of a segment that was supported
            rows = from_tiles(carried.spikes, current.shape[1])
            carried = carried._replace(spikes=rows)
        return functional.continued_recurrence(
            current, carried, weight, delay, half_width, mask, neuron, keep
        )
    before: tuple[Tensor | None, ...] = (None, None, None)
    if carried is not None:
        membrane, past, link = carried
        before = membrane, link, past if past.ndim == 4 else to_tiles(past)
    width = half_width.expand(delay.shape)
    spikes, *after = axonal(current, weight, delay, width, mask, *before, keep, *scalars(neuron))
    return spikes, Carried(*after)
