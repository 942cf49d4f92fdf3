"""Feed-forward synapses with delays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..kernels import check_engine, get_engine
from .delay import Delay


class DelayedLinear(Delay):
    """A linear layer whose senders' events arrive after a delay, which is learned with the weights.

    Equations in ``snnbreg.functional.feedforward``. With whole delays and sigma 0, an event of
    step t acts in step t + d.

    Args:
        senders: C.
        receivers: N.
        bias: whether there is one.
        delays: ``"axonal"``, ``"synaptic"``, ``"common"``, ``"fixed"``, ``"none"``, see ``Delay``.
        learn_spread: whether each sender learns how wide its kernel is.
        sigma: spread of the kernels in steps, >= 0; settable, and usually annealed.
        engine: ``"auto"``, ``"reference"`` or ``"cpu"``, see ``snnbreg.kernels``.
        delay_init: ``"half_normal"``, ``"uniform"`` or ``"constant"``, see ``Delay``.
        delay_scale: in steps, > 0.
        delay_range: lowest and highest in steps, 0 <= low <= high.

    Attributes:
        weight, bias: as of ``torch.nn.Linear``, with its initial values.
        delay, spread: see ``Delay``.

    Shape:
        events (T, B, C) -> currents (T, B, N).

    Raises:
        ValueError: for a setting out of range; the message lists the valid ones.

    Example:
        >>> import torch
        >>> layer = DelayedLinear(5, 3)
        >>> layer(torch.rand(7, 2, 5)).shape
        torch.Size([7, 2, 3])
        >>> [name for name, _ in layer.named_parameters()]
        ['weight', 'delay', 'bias']
    """

    bias: Tensor | None

    def __init__(
        self,
        senders: int,
        receivers: int,
        bias: bool = True,
        delays: str = "axonal",
        learn_spread: bool = False,
        sigma: float = 10.0,
        engine: str = "auto",
        *,
        delay_init: str = "half_normal",
        delay_scale: float = 12.0,
        delay_range: tuple[float, float] = (10.0, 30.0),
    ) -> None:
        undelayed = nn.Linear(senders, receivers, bias)
        super().__init__(
            undelayed.weight,
            delays,
            learn_spread,
            sigma,
            delay_init=delay_init,
            delay_scale=delay_scale,
            delay_range=delay_range,
        )
        self.register_parameter("bias", undelayed.bias)
        self.engine = check_engine(engine)

    def forward(self, events: Tensor, learn_bias: bool = True) -> Tensor:
        """Currents of the receivers from the events of the senders."""
        if torch.is_autocast_enabled(events.device.type):
            events = events.to(self.weight.dtype)  # the filter is float32, the product is not
        engine = get_engine(self.engine, events.device)
        bias = self.bias if learn_bias or self.bias is None else self.bias.detach()
        synapses = self.weight, bias, self.delay_of_senders, self.half_width
        if self.carry is None:
            return engine.delayed_linear(events, *synapses)
        past, steps = self.carry.state, len(events)
        self.carry.state = self.on_its_way(past, events).clone()
        if past is not None:
            events = torch.cat([past, events])
        return engine.delayed_linear(events, *synapses)[-steps:]

    def extra_repr(self) -> str:
        """The layer's settings, for ``print(model)``."""
        receivers, senders = self.weight.shape
        return f"{senders}, {receivers}, bias={self.bias is not None}, {self.describe_delays()}"
