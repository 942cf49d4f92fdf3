"""Feed-forward synapses without delays."""

from __future__ import annotations

from torch import Tensor, nn

from ..kernels import check_engine, get_engine


class Linear(nn.Linear):
    """``torch.nn.Linear`` over time, computed by an engine that may skip what is zero.

    Args:
        senders: C.
        receivers: N.
        bias: whether there is one.
        engine: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"triton"``, see ``kernels.get_engine``.

    Shape:
        events (T, B, C) -> currents (T, B, N).

    Raises:
        ValueError: for an engine that does not exist.

    Example:
        >>> import torch
        >>> Linear(5, 3)(torch.rand(7, 2, 5)).shape
        torch.Size([7, 2, 3])
    """

    def __init__(
        self, senders: int, receivers: int, bias: bool = True, engine: str = "auto"
    ) -> None:
        super().__init__(senders, receivers, bias)
        self.engine = check_engine(engine)

    def forward(
        self, events: Tensor, mask: Tensor | None = None, learn_bias: bool = True
    ) -> Tensor:
        """Currents of the events, times factors (B, N) that are held over time."""
        engine = get_engine(self.engine, events.device)
        bias = self.bias if learn_bias or self.bias is None else self.bias.detach()
        return engine.linear(events, self.weight, bias, mask)
