"""Leaky integrate-and-fire neurons, one step and over time.

With I the input current, V the membrane after reset (V = 0 before the first step):

    H[t] = leak V[t-1] + I[t]              charge; leak = 1 - 1/tau
    S[t] = 1 if H[t] >= threshold else 0   spike
    V[t] = H[t] - threshold S[t]           soft reset
    V[t] = (1 - S[t]) H[t]                 hard reset

The input is not scaled by 1/tau: Eq. 4 of the DelRec paper prints that factor, its code
(SpikingJelly with ``decay_input=False``) runs without it.

Legend: T time steps, B batch, N neurons; tensors are time-major (T, B, N).

Reference: Queant et al. 2025, "DelRec", arXiv 2509.24852, section 3, and its public code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .surrogates import SURROGATES, Surrogate, spike

RESETS = ("soft", "hard")
"""Ways to reset the membrane of a neuron that fired."""


class LIFParameters(NamedTuple):
    """Parameters shared by the LIF neurons of a layer; ``lif_parameters`` checks them."""

    leak: float = 0.5
    """Fraction of the membrane that remains after a step, 1 - 1/tau."""
    threshold: float = 1.0
    """A neuron fires when its membrane reaches it."""
    reset: str = "soft"
    """``"soft"`` subtracts the threshold, ``"hard"`` sets the membrane to zero."""
    detach_reset: bool = False
    """Whether the gradient through the reset is cut at the spike."""
    surrogate: Surrogate = "triangle"
    """Replaces the derivative of the spike in the backward pass, see ``surrogates.spike``."""
    alpha: float = 5.0
    """Steepness of the ``"atan"`` surrogate."""


DEFAULTS = LIFParameters()


def lif_parameters(
    tau: float = 2.0,
    threshold: float = 1.0,
    reset: str = "soft",
    detach_reset: bool = False,
    surrogate: Surrogate = "triangle",
    alpha: float = 5.0,
) -> LIFParameters:
    """Check the settings of LIF neurons and turn the time constant into a leak.

    Args:
        tau: membrane time constant in steps, >= 1.
        threshold: > 0.
        reset: ``"soft"`` or ``"hard"``.
        detach_reset: whether the gradient through the reset is cut at the spike.
        surrogate: ``"triangle"``, ``"atan"``, or a function (see ``surrogates.spike``).
        alpha: steepness of ``"atan"``, > 0.

    Returns:
        The parameters with leak = 1 - 1/tau.

    Raises:
        ValueError: for a value out of range; the message names it.

    Example:
        >>> lif_parameters(tau=4.0).leak
        0.75
    """
    if not tau >= 1.0:
        raise ValueError(f"tau={tau} must be at least 1 (time steps): the leak is 1 - 1/tau.")
    if not (threshold > 0.0 and math.isfinite(threshold)):
        raise ValueError(f"threshold={threshold} must be a positive finite number.")
    if reset not in RESETS:
        raise ValueError(f"reset={reset!r} is unknown: choose one of {list(RESETS)}.")
    if not callable(surrogate) and surrogate not in SURROGATES:
        raise ValueError(f"surrogate={surrogate!r} is unknown: choose one of {sorted(SURROGATES)}.")
    if not (alpha > 0.0 and math.isfinite(alpha)):
        raise ValueError(f"alpha={alpha} must be a positive finite number.")
    return LIFParameters(1.0 - 1.0 / tau, threshold, reset, detach_reset, surrogate, alpha)


def charge(v: Tensor, current: Tensor, neuron: LIFParameters) -> Tensor:
    """Membrane before the spike, H = leak V + I; one shape."""
    return torch.add(current, v, alpha=neuron.leak)


def reset_membrane(h: Tensor, spikes: Tensor, neuron: LIFParameters) -> Tensor:
    """Membrane after the reset, V = H - threshold S (soft) or (1 - S) H (hard); one shape."""
    spikes = spikes.detach() if neuron.detach_reset else spikes
    if neuron.reset == "soft":
        return torch.sub(h, spikes, alpha=neuron.threshold)
    return (1.0 - spikes) * h


def reset_slope(h: Tensor, spikes: Tensor, slope: Tensor, neuron: LIFParameters) -> Tensor:
    """Derivative dV/dH of ``reset_membrane``, including the path through S unless it is detached.

    Args:
        h: membranes before the spike, any shape.
        spikes: their spikes S, same shape.
        slope: dS/dH by the surrogate, same shape.
        neuron: the neurons' parameters.

    Returns:
        1 - threshold dS/dH (soft) or (1 - S) - H dS/dH (hard), same shape; detached, the first
        term alone.
    """
    direct = torch.ones_like(h) if neuron.reset == "soft" else 1.0 - spikes
    if neuron.detach_reset:
        return direct
    return direct - (neuron.threshold * slope if neuron.reset == "soft" else h * slope)


def lif_step(current: Tensor, v: Tensor, neuron: LIFParameters = DEFAULTS) -> tuple[Tensor, Tensor]:
    """One step of LIF neurons: charge, spike, reset.

    Args:
        current: input I[t], (B, N).
        v: membranes V[t-1] after the last reset, (B, N).
        neuron: the neurons' parameters.

    Returns:
        Spikes S[t] and membranes V[t] after the reset, both (B, N).

    Example:
        >>> lif_step(torch.tensor([0.75, 0.75]), torch.tensor([0.25, 0.5]))
        (tensor([0., 1.]), tensor([0.8750, 0.0000]))
    """
    h = charge(v, current, neuron)
    spikes = spike(h - neuron.threshold, neuron.surrogate, neuron.alpha)
    return spikes, reset_membrane(h, spikes, neuron)


def lif(current: Tensor, neuron: LIFParameters = DEFAULTS) -> Tensor:
    """LIF neurons over time, without recurrence; the membranes start at zero.

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
    """A segment of time of :func:`lif`.

    Args:
        current: input of the segment, (T, B, N).
        membrane: V after the step before it, (B, N); None at the beginning, where it is zero.
        neuron: the neurons' parameters.

    Returns:
        Spikes, (T, B, N), and the membranes V after the last step, (B, N).
    """
    v = torch.zeros_like(current[0]) if membrane is None else membrane
    steps = []
    for current_t in current.unbind():
        spikes, v = lif_step(current_t, v, neuron)
        steps.append(spikes)
    return torch.stack(steps), v


def leaky_integrator(current: Tensor, leak: float = 0.5, membrane: Tensor | None = None) -> Tensor:
    """Membranes of neurons that never fire: V[t] = leak V[t-1] + I[t].

    The readout of DelRec's SHD network, which is written there as LIF neurons of threshold 1e8.

    Args:
        current: input, (T, B, K).
        leak: fraction of the membrane that remains after a step, 1 - 1/tau.
        membrane: of the step before, (B, K); None at the beginning, where it is zero.

    Returns:
        Membranes, (T, B, K).

    Raises:
        ValueError: if ``current`` is not a floating (T, B, K) tensor with T >= 1.

    Example:
        >>> leaky_integrator(torch.ones(3, 1, 1), leak=0.5).flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    check_current(current)
    v = torch.zeros_like(current[0]) if membrane is None else membrane
    steps = []
    for current_t in current.unbind():
        v = torch.add(current_t, v, alpha=leak)
        steps.append(v)
    return torch.stack(steps)


def check_current(current: Tensor, neurons: int | None = None, what: str = "current") -> None:
    """Check that a tensor is a floating-point (T, B, N) tensor with T >= 1.

    Args:
        current: the tensor, (T, B, N).
        neurons: N, or None if any N is allowed.
        what: name of the tensor in the message.

    Raises:
        ValueError: if it is not; the message names the shape or type found and expected.
    """
    width = "N" if neurons is None else neurons
    if current.ndim != 3 or len(current) < 1 or neurons not in (None, current.shape[2]):
        raise ValueError(
            f"{what} has the shape {tuple(current.shape)}: expected (T, B, {width}), time steps "
            "first, with at least one step."
        )
    if not current.is_floating_point():
        raise ValueError(f"{what} has the type {current.dtype}: convert it with .float().")
