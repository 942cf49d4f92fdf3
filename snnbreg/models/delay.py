"""The delays of a layer's synapses: parameters, spread, rounding, and delays in whole steps.

``Delay`` is what recurrent and feed-forward layers with delays have in common. Training moves
real-valued delays; ``hard_delays`` looks at a network as if they were integers and gives it back
untouched, ``round_delays_`` is the published code's way, which changes them for good at every
validation. Both act on every ``Delay`` of a network, wherever it sits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .. import functional
from .segments import Carrying

DELAYS = ("axonal", "synaptic", "common", "fixed", "none")
DELAY_INITS = ("half_normal", "uniform", "constant")
LONG = 1 << 40  # steps, more than any recording has


class Delay(Carrying):
    """Synapses that deliver late: their weights, delays, and the spread of the delay kernels.

    A base class: a layer adds what the delayed spikes do. The kernel is stated in
    ``snnbreg.functional.delay``.

    Args:
        weight: W, (receivers, senders), which becomes the parameter.
        delays: ``"axonal"`` one learned delay per sender, ``"synaptic"`` one per synapse,
            ``"common"`` a single one that is learned, ``"fixed"`` one per sender that is drawn
            and kept, ``"none"`` zero for all.
        learn_spread: whether each sender learns how wide its kernel is; with ``"common"`` delays
            all senders together.
        sigma: spread of the kernels in steps, >= 0; 0 means single delays. Settable, and usually
            annealed while training.
        delay_init: ``"half_normal"`` |N(0, delay_scale^2)|, ``"uniform"`` on ``delay_range``, or
            ``"constant"``, every delay ``delay_scale``. A ``"common"`` delay starts at the mean
            of such draws.
        delay_scale: in steps, > 0.
        delay_range: lowest and highest in steps, 0 <= low <= high.

    Attributes:
        weight: W, (receivers, senders).
        delay: d in steps, (senders,), (receivers, senders) or, where common, (1,); a buffer when
            fixed; no part of the state with ``delays="none"``.
        spread: p, (senders,) or, where common, (1,), starts at zero; only with ``learn_spread``.
        sigma_steps: sigma as part of the state.

    Raises:
        ValueError: for a setting out of range; the message lists the valid ones.

    Example:
        >>> layer = Delay(torch.ones(2, 3), sigma=4.0)
        >>> layer.sigma = 1.5
        >>> layer.half_width, layer.delay.shape
        (tensor(2.5000), torch.Size([3]))
    """

    weight: Tensor
    delay: Tensor
    spread: Tensor | None
    sigma_steps: Tensor

    def __init__(
        self,
        weight: Tensor,
        delays: str = "axonal",
        learn_spread: bool = False,
        sigma: float = 10.0,
        *,
        delay_init: str = "half_normal",
        delay_scale: float = 12.0,
        delay_range: tuple[float, float] = (10.0, 30.0),
    ) -> None:
        super().__init__()
        if delays not in DELAYS:
            raise ValueError(f"delays={delays!r} is unknown: choose one of {list(DELAYS)}.")
        if delays == "none" and learn_spread:
            raise ValueError("learn_spread=True needs delays: with delays='none' set it to False.")
        self.delays = delays
        self.weight = nn.Parameter(weight)
        senders = weight.shape[1]
        if delays == "none":
            self.register_buffer("delay", torch.zeros(senders), persistent=False)
        else:
            shape = tuple(weight.shape) if delays == "synaptic" else (senders,)
            delay = initial_delays(shape, delay_init, delay_scale, delay_range)
            if delays == "fixed":
                self.register_buffer("delay", delay)
            else:
                self.delay = nn.Parameter(delay.mean(0, True) if delays == "common" else delay)
        spreads = 1 if delays == "common" else senders
        self.register_parameter(
            "spread", nn.Parameter(torch.zeros(spreads)) if learn_spread else None
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
        """Half-width of the kernels in steps, a scalar tensor or (senders,)."""
        sigma = self.sigma_steps.to(self.weight.dtype)
        width = functional.half_width(sigma, self.spread)
        return width if width.ndim == 0 else width.expand(self.weight.shape[1])

    @property
    def delay_of_senders(self) -> Tensor:
        """The delays in steps as the equations take them, (senders,) or (receivers, senders)."""
        return self.delay.expand(self.weight.shape[1]) if self.delays == "common" else self.delay

    @property
    def reach(self) -> int:
        """Steps after which every event has arrived everywhere."""
        return functional.kernel_length(self.delay_of_senders, self.half_width, LONG)

    def on_its_way(self, past: Tensor | None, events: Tensor) -> Tensor:
        """The last events that have not arrived everywhere yet, to be carried on.

        Args:
            past: those from before, (P, B, senders), or None.
            events: of the steps since then, (T, B, senders).

        Returns:
            Of as many steps as the longest kernel reaches.
        """
        reach = self.reach
        if past is not None and len(events) < reach:
            events = torch.cat([past, events])
        return events[-reach:]

    @torch.no_grad()
    def round_(self) -> None:
        """Round the delays to whole steps >= 0, in place (half to even)."""
        self.delay.round_().clamp_(min=0.0)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Set negative delays to zero, in place."""
        self.delay.clamp_(min=0.0)

    def describe_delays(self) -> str:
        """The settings of the delays in one line."""
        spread = ", learn_spread=True" if self.spread is not None else ""
        return f"delays={self.delays}{spread}"


def initial_delays(
    shape: tuple[int, ...], init: str, scale: float, bounds: tuple[float, float]
) -> Tensor:
    """Draw delays in steps, all >= 0, from torch's global generator.

    Args:
        shape: (senders,) or (receivers, senders).
        init: ``"half_normal"``, ``"uniform"`` or ``"constant"``.
        scale: standard deviation of the normal distribution that is folded, or the constant; > 0.
        bounds: lowest and highest of the uniform distribution.

    Returns:
        Delays of that shape.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """
    if init in ("half_normal", "constant"):
        if not (scale > 0.0 and math.isfinite(scale)):
            raise ValueError(f"delay_scale={scale} must be a positive number of steps.")
        if init == "constant":
            return torch.full(shape, float(scale))
        return torch.randn(shape).abs_().mul_(scale)
    if init == "uniform":
        low, high = bounds
        if not (0.0 <= low <= high and math.isfinite(high)):
            raise ValueError(f"delay_range={tuple(bounds)} must be 0 <= low <= high, in steps.")
        return torch.empty(shape).uniform_(low, high)
    raise ValueError(f"delay_init={init!r} is unknown: choose one of {list(DELAY_INITS)}.")


def delayed_layers(module: nn.Module) -> dict[str, Delay]:
    """The layers of a module that have delays, by name (``delays="none"`` has none).

    Example:
        >>> sorted(delayed_layers(nn.Sequential(Delay(torch.ones(2, 3)), nn.ReLU())))
        ['0']
    """
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, Delay) and layer.delays != "none"
    }


def round_delays_(module: nn.Module) -> None:
    """Round all delays to whole steps >= 0, in place (half to even)."""
    for layer in delayed_layers(module).values():
        layer.round_()


def clamp_delays_(module: nn.Module) -> None:
    """Set negative delays to zero, in place."""
    for layer in delayed_layers(module).values():
        layer.clamp_()


@contextmanager
def hard_delays(module: nn.Module, sigma: float | None = None) -> Iterator[None]:
    """Whole delays inside the context, the module's own again after it, bit for bit.

    Args:
        module: contains layers with delays, or is one.
        sigma: spread inside the context: None keeps the current one (the papers' way to
            evaluate), 0.0 leaves one integer delay per sender or synapse (what a chip runs).

    Yields:
        Nothing; delays and sigma are restored when the block ends, also by an exception.

    Raises:
        ValueError: if ``sigma`` is negative or not finite.

    Example:
        >>> layer = Delay(torch.ones(2, 3), sigma=5.0)
        >>> with hard_delays(layer, sigma=0.0):
        ...     print(layer.sigma, bool((layer.delay % 1 == 0).all()))
        0.0 True
        >>> layer.sigma
        5.0
    """
    layers = delayed_layers(module).values()
    saved = [(layer, layer.delay.detach().clone(), layer.sigma_steps.clone()) for layer in layers]
    try:
        round_delays_(module)
        if sigma is not None:
            for layer in layers:
                layer.sigma = sigma
        yield
    finally:
        with torch.no_grad():
            for layer, delay, sigma_steps in saved:
                layer.delay.copy_(delay)
                layer.sigma_steps.copy_(sigma_steps)


@contextmanager
def deployed(module: nn.Module) -> Iterator[None]:
    """Inside: the network as a chip runs it, in evaluation mode and without gradients.

    Delays are whole and kernels one step wide (sigma 0), as in the evaluation ``deployed`` of the
    trainer. Afterwards every delay, sigma and mode is as it was.

    Args:
        module: a network, with layers that have delays or without.

    Example:
        >>> layer = Delay(torch.ones(2, 3), sigma=5.0)
        >>> with deployed(layer):
        ...     print(layer.sigma, layer.training, torch.is_grad_enabled())
        0.0 False False
        >>> layer.sigma, layer.training
        (5.0, True)
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode(), hard_delays(module, 0.0):
            yield
    finally:
        for part, training in modes:
            part.training = training
