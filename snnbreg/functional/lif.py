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
"""What happens to the membrane of a neuron that fired."""


class LIFParameters(NamedTuple):
    """What one population of LIF neurons shares; ``lif_parameters`` builds and checks it."""

    leak: float = 0.5
    """Share of the membrane that is kept per step, 1 - 1/tau."""
    threshold: float = 1.0
    """A neuron fires when its membrane reaches it."""
    reset: str = "soft"
    """``"soft"`` subtracts the threshold, ``"hard"`` sets the membrane to zero."""
    detach_reset: bool = False
    """Whether the reset passes no gradient to the spike."""
    surrogate: Surrogate = "triangle"
    """Stands in for the derivative of the spike, see ``surrogates.spike``."""
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
        detach_reset: whether the reset passes no gradient to the spike.
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


def charge(v: Tensor, current: Tensor, lif: LIFParameters) -> Tensor:
    """Membrane before the spike, H = leak V + I; all of one shape."""
    return torch.add(current, v, alpha=lif.leak)


def discharge(h: Tensor, spikes: Tensor, lif: LIFParameters) -> Tensor:
    """Membrane after the spike: H - threshold S (soft) or (1 - S) H (hard); all of one shape."""
    spikes = spikes.detach() if lif.detach_reset else spikes
    if lif.reset == "soft":
        return torch.sub(h, spikes, alpha=lif.threshold)
    return (1.0 - spikes) * h


def discharge_slope(h: Tensor, spikes: Tensor, slope: Tensor, lif: LIFParameters) -> Tensor:
    """Derivative dV/dH of ``discharge``, the way through the spike included unless detached.

    Args:
        h: membranes before the spike, any shape.
        spikes: the spikes they made, same shape.
        slope: dS/dH by the surrogate, same shape.
        lif: the neurons' parameters.

    Returns:
        1 - threshold dS/dH (soft) or (1 - S) - H dS/dH (hard), same shape.
    """
    kept = torch.ones_like(h) if lif.reset == "soft" else 1.0 - spikes
    if lif.detach_reset:
        return kept
    return kept - (lif.threshold * slope if lif.reset == "soft" else h * slope)


def lif_step(current: Tensor, v: Tensor, lif: LIFParameters = DEFAULTS) -> tuple[Tensor, Tensor]:
    """One step of LIF neurons: charge, spike, reset.

    Args:
        current: input I[t], (B, N).
        v: membranes V[t-1] after the last reset, (B, N).
        lif: the neurons' parameters.

    Returns:
        Spikes S[t] and membranes V[t] after the reset, both (B, N).

    Example:
        >>> lif_step(torch.tensor([0.75, 0.75]), torch.tensor([0.25, 0.5]))
        (tensor([0., 1.]), tensor([0.8750, 0.0000]))
    """
    h = charge(v, current, lif)
    spikes = spike(h - lif.threshold, lif.surrogate, lif.alpha)
    return spikes, discharge(h, spikes, lif)


def lif(current: Tensor, lif: LIFParameters = DEFAULTS) -> Tensor:
    """LIF neurons over time, without recurrence, from membranes at zero.

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
    v = torch.zeros_like(current[0])
    trace = []
    for current_t in current.unbind():
        spikes, v = lif_step(current_t, v, lif)
        trace.append(spikes)
    return torch.stack(trace)


def leaky_integrator(current: Tensor, leak: float = 0.5) -> Tensor:
    """Membranes of neurons that never fire: V[t] = leak V[t-1] + I[t].

    The readout of DelRec's SHD network, there a LIF neuron with threshold 1e8.

    Args:
        current: input, (T, B, K).
        leak: share of the membrane that is kept per step, 1 - 1/tau.

    Returns:
        Membranes, (T, B, K).

    Raises:
        ValueError: if ``current`` is not a floating (T, B, K) tensor with T >= 1.

    Example:
        >>> leaky_integrator(torch.ones(3, 1, 1), leak=0.5).flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    check_current(current)
    v = torch.zeros_like(current[0])
    trace = []
    for current_t in current.unbind():
        v = torch.add(current_t, v, alpha=leak)
        trace.append(v)
    return torch.stack(trace)


def check_current(current: Tensor, neurons: int | None = None, what: str = "current") -> None:
    """Refuse a tensor that is not time-major, floating and as wide as the layer.

    Args:
        current: to be checked, (T, B, N) with T >= 1.
        neurons: N, or None where any number is right.
        what: name of the tensor, for the message.

    Raises:
        ValueError: naming the shape or type found and the one expected.
    """
    width = "N" if neurons is None else neurons
    if current.ndim != 3 or len(current) < 1 or neurons not in (None, current.shape[2]):
        raise ValueError(
            f"{what} has the shape {tuple(current.shape)}: expected (T, B, {width}), time steps "
            "first, with at least one step."
        )
    if not current.is_floating_point():
        raise ValueError(f"{what} has the type {current.dtype}: convert it with .float().")
