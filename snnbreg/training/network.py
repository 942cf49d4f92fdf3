"""What the training room asks of a network: all that it knows of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn


class Synapses(Protocol):
    """One weight matrix between populations."""

    @property
    def name(self) -> str:
        """The parameter's name in the network."""

    @property
    def weight(self) -> Tensor:
        """(receivers, senders)."""

    @property
    def senders(self) -> str:
        """``"input"`` or the name of a spiking layer."""


class Network(Protocol):
    """A torch module, frames (T, B, C) -> outputs (T, B, K), that can be asked a few things.

    :class:`snnbreg.models.SpikingNetwork` is one; so is any ``nn.Module`` with these methods.
    """

    sigma: float
    """Spread of the delay kernels in steps; settable, part of the state."""

    def hard_delays(self, sigma: float | None = None) -> AbstractContextManager[None]:
        """Inside: whole delays, and this sigma where it is given. Afterwards: as before."""

    def round_delays_(self) -> None:
        """Round the delays for good."""

    def clamp_delays_(self) -> None:
        """Set negative delays to zero."""

    def delays(self) -> Mapping[str, Tensor]:
        """Delays in steps by layer, sharing memory with the parameters; empty without any."""

    def synapses(self) -> Sequence[Synapses]:
        """All weight matrices that carry a regulariser or would."""

    def spiking_layers(self) -> Mapping[str, nn.Module]:
        """Hidden layers by name; each module returns its spikes (T, B, N)."""

    # of nn.Module
    def __call__(self, frames: Tensor) -> Tensor: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102
    def parameters(self) -> Iterable[nn.Parameter]: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102
    def register_forward_pre_hook(self, hook: Any) -> Any: ...  # noqa: D102
