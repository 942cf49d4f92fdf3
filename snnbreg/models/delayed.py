"""The recurrent LIF layer with delays (DelRec)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import functional
from ..functional import Surrogate
from ..kernels import check_engine, get_engine
from .delay import Delay
from .dropout import HeldDropout
from .lif import describe, in_full_precision, lif_settings


class DelayedRecurrentLIF(Delay):
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
            ``"common"`` a single one that is learned, ``"fixed"`` one per sender that is drawn
            and kept, ``"none"`` one step for all.
        learn_spread: whether each sender learns how wide its kernel is.
        sigma: spread of the kernels in steps, >= 0; 0 means single delays. Settable, and usually
            annealed while training.
        dropout: probability that a neuron's recurrent current is dropped, one draw per sample.
        engine: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"triton"``, see ``kernels.get_engine``.
        alpha: steepness of ``"atan"``.
        delay_init: ``"half_normal"`` |N(0, delay_scale^2)|, ``"uniform"`` on ``delay_range``, or
            ``"constant"``, every delay ``delay_scale``.
        delay_scale: in steps, > 0.
        delay_range: lowest and highest in steps, 0 <= low <= high.

    Attributes:
        weight: W, (N, N), row = receiver; starts orthogonal.
        delay: d in steps, (N,), (N, N) or, where common, (1,); a buffer when fixed; no part of
            the state with ``delays="none"``.
        spread: p, (N,) or, where common, (1,), starts at zero; only with ``learn_spread``.

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
        if neurons < 1:
            raise ValueError(f"neurons={neurons} must be at least 1.")
        super().__init__(
            nn.init.orthogonal_(torch.empty(neurons, neurons)),
            delays,
            learn_spread,
            sigma,
            delay_init=delay_init,
            delay_scale=delay_scale,
            delay_range=delay_range,
        )
        self.neurons = neurons
        self.lif = lif_settings(tau, threshold, reset, detach_reset, surrogate, alpha)
        self.engine = check_engine(engine)
        self.dropout = HeldDropout(dropout)

    @in_full_precision
    def forward(self, current: Tensor) -> Tensor:
        """Spikes of a feed-forward current."""
        functional.check_current(current, self.neurons)
        engine = get_engine(self.engine, current.device)
        mask = self.dropout.sample(current)
        synapses = self.weight, self.delay_of_senders, self.half_width, mask, self.lif
        if self.carry is None:
            return engine.delayed_recurrence(current, *synapses)
        spikes, self.carry.state = engine.continued_recurrence(
            current, self.carry.state, *synapses, self.reach
        )
        return spikes

    def extra_repr(self) -> str:
        """The layer's settings, for ``print(model)``."""
        return f"{self.neurons}, {self.describe_delays()}, {describe(self.lif)}"
