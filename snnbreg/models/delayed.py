"""The recurrent LIF layer with delays (DelRec)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .. import functional
from ..functional import Surrogate
from ..kernels import check_engine, get_engine
from .dropout import HeldDropout
from .lif import describe, lif_settings

DELAYS = ("axonal", "synaptic", "fixed", "none")
DELAY_INITS = ("half_normal", "uniform")


class DelayedRecurrentLIF(nn.Module):
    """LIF neurons that excite each other after a delay, which is learned with the weights.

    Equations in ``snnbreg.functional.recurrence``. The layer receives the feed-forward current
    and adds the recurrent one itself; there is no bias.

    Args:
        neurons: N.
        tau: membrane time constant in steps, >= 1; the leak is 1 - 1/tau.
        threshold: > 0; a neuron fires when its membrane reaches it.
        reset: ``"soft"`` subtracts the threshold, ``"hard"`` sets the membrane to zero.
        detach_reset: whether the reset passes no gradient to the spike.
        surrogate: ``"triangle"``, ``"atan"`` or ``"snntorch:NAME"``.
        delays: ``"axonal"`` one learned delay per sender, ``"synaptic"`` one per synapse,
            ``"fixed"`` one per sender that is drawn and kept, ``"none"`` one step for all.
        learn_spread: whether each sender learns how wide its kernel is.
        sigma: spread of the kernels in steps, >= 0; 0 means single delays. Settable, and usually
            annealed while training.
        dropout: probability that a neuron's recurrent current is dropped, one draw per sample.
        engine: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"triton"``, see ``kernels.get_engine``.
        alpha: steepness of ``"atan"``.
        delay_init: ``"half_normal"`` |N(0, delay_scale^2)| or ``"uniform"`` on ``delay_range``.
        delay_scale: in steps, > 0.
        delay_range: lowest and highest in steps, 0 <= low <= high.

    Attributes:
        weight: W, (N, N), row = receiver; starts orthogonal.
        delay: d in steps, (N,) or (N, N); a buffer when fixed; absent with ``delays="none"``.
        spread: p, (N,), starts at zero; only with ``learn_spread``.

    Shape:
        current (T, B, N) -> spikes (T, B, N), in the type of the input.

    Raises:
        ValueError: for a setting out of range; the message lists the valid ones.

    Example:
        >>> layer = DelayedRecurrentLIF(neurons=4, sigma=10.0)
        >>> spikes = layer(torch.rand(6, 2, 4))
        >>> layer.sigma = 4.0
        >>> [name for name, _ in layer.named_parameters()], spikes.shape
        (['weight', 'delay'], torch.Size([6, 2, 4]))

    Reference:
        Queant et al. 2025, "DelRec: learning delays in recurrent spiking neural networks",
        arXiv 2509.24852. Where paper and code differ this follows the code.
    """

    delay: Tensor
    spread: Tensor | None
    sigma_steps: Tensor

    def __init__(
        self,
        neurons: int,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: str = "soft",
        detach_reset: bool = False,
        surrogate: str | Surrogate = "triangle",
        delays: str = "axonal",
        learn_spread: bool = False,
        sigma: float = 10.0,
        dropout: float = 0.0,
        engine: str = "auto",
        *,
        alpha: float = 5.0,
        delay_init: str = "half_normal",
        delay_scale: float = 12.0,
        delay_range: tuple[float, float] = (10.0, 30.0),
    ) -> None:
        super().__init__()
        if neurons < 1:
            raise ValueError(f"neurons={neurons} must be at least 1.")
        if delays not in DELAYS:
            raise ValueError(f"delays={delays!r} is unknown: choose one of {list(DELAYS)}.")
        if delays == "none" and learn_spread:
            raise ValueError("learn_spread=True needs delays: with delays='none' set it to False.")
        self.neurons = neurons
        self.delays = delays
        self.lif = lif_settings(tau, threshold, reset, detach_reset, surrogate, alpha)
        self.engine = check_engine(engine)
        self.dropout = HeldDropout(dropout)
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(neurons, neurons)))
        if delays == "none":
            self.register_buffer("delay", torch.zeros(neurons), persistent=False)
        else:
            shape = (neurons, neurons) if delays == "synaptic" else (neurons,)
            delay = initial_delays(shape, delay_init, delay_scale, delay_range)
            if delays == "fixed":
                self.register_buffer("delay", delay)
            else:
                self.delay = nn.Parameter(delay)
        self.register_parameter(
            "spread", nn.Parameter(torch.zeros(neurons)) if learn_spread else None
        )
        # float64 holds any Python float exactly, so that what was set is what is read back
        self.register_buffer("sigma_steps", torch.zeros((), dtype=torch.float64))
        self.sigma = 0.0 if delays == "none" else sigma

    @property
    def sigma(self) -> float:
        """Spread of the delay kernels in steps; kept in the state dict as ``sigma_steps``."""
        return float(self.sigma_steps)

    @sigma.setter
    def sigma(self, value: float) -> None:
        if not (value >= 0.0 and math.isfinite(value)):
            raise ValueError(f"sigma={value} must be a finite number of steps, at least 0.")
        if self.delays == "none" and value != 0.0:
            raise ValueError(f"sigma={value} has no meaning with delays='none': leave it at 0.")
        self.sigma_steps.fill_(value)

    @property
    def half_width(self) -> Tensor:
        """Half-width of the kernels in steps, a scalar tensor or (N,)."""
        sigma = self.sigma_steps.to(self.weight.dtype)
        return functional.half_width(sigma, self.spread)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of a feed-forward current."""
        functional.check_current(current, self.neurons)
        engine = get_engine(self.engine, current.device)
        mask = self.dropout.sample(current)
        return engine.delayed_recurrence(
            current, self.weight, self.delay, self.half_width, mask, self.lif
        )

    def extra_repr(self) -> str:
        """The layer's settings, for ``print(model)``."""
        spread = ", learn_spread=True" if self.spread is not None else ""
        return f"{self.neurons}, delays={self.delays}{spread}, {describe(self.lif)}"


def initial_delays(
    shape: tuple[int, ...], init: str, scale: float, bounds: tuple[float, float]
) -> Tensor:
    """Draw delays in steps, all >= 0, from torch's global generator.

    Args:
        shape: (N,) or (N, N).
        init: ``"half_normal"`` or ``"uniform"``.
        scale: standard deviation of the normal distribution that is folded, > 0.
        bounds: lowest and highest of the uniform distribution.

    Returns:
        Delays of that shape.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """
    if init == "half_normal":
        if not (scale > 0.0 and math.isfinite(scale)):
            raise ValueError(f"delay_scale={scale} must be a positive number of steps.")
        return torch.randn(shape).abs_().mul_(scale)
    if init == "uniform":
        low, high = bounds
        if not (0.0 <= low <= high and math.isfinite(high)):
            raise ValueError(f"delay_range={tuple(bounds)} must be 0 <= low <= high, in steps.")
        return torch.empty(shape).uniform_(low, high)
    raise ValueError(f"delay_init={init!r} is unknown: choose one of {list(DELAY_INITS)}.")
