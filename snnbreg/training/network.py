"""What training asks of a network: any ``nn.Module``, and more of it where it offers more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class Weights(Protocol):
    """One weight matrix, or the weights of a convolution."""

    @property
    def name(self) -> str:
        """The parameter's name in the network."""

    @property
    def weight(self) -> Tensor:
        """(receivers, senders, ...)."""


class Synapses(Weights, Protocol):
    """Weights between two populations, one of which sends spikes."""

    @property
    def senders(self) -> str:
        """``"input"`` or the name of a spiking layer."""


@runtime_checkable
class Spiking(Protocol):
    """Offered by networks whose hidden layers spike: firing rates and operations are counted."""

    def synapses(self) -> Sequence[Synapses]:
        """All weight matrices that carry a regulariser or would."""

    def spiking_layers(self) -> Mapping[str, nn.Module]:
        """Hidden layers by name; each module returns its spikes (T, B, N)."""


@runtime_checkable
class Delayed(Protocol):
    """Offered by networks with delays: they are annealed, rounded, clamped and evaluated whole."""

    sigma: float
    """Spread of the delay kernels in steps; settable, part of the state."""

    def delays(self) -> Mapping[str, Tensor]:
        """Delays in steps by layer, sharing memory with the parameters; empty without any."""

    def hard_delays(self, sigma: float | None = None) -> AbstractContextManager[None]:
        """Inside: whole delays, and this sigma where it is given. Afterwards: as before."""

    def round_delays_(self) -> None:
        """Round the delays for good."""

    def clamp_delays_(self) -> None:
        """Set negative delays to zero."""


class NamedWeights(NamedTuple):
    """Weights of a network that does not say what sends to them."""

    name: str
    weight: Tensor


def weights_of(network: nn.Module) -> Sequence[Weights]:
    """What regularisers act on and zeros are counted in.

    A spiking network names its synapses; of any other it is every parameter of two or more
    dimensions.
    """
    if isinstance(network, Spiking):
        return network.synapses()
    return [NamedWeights(name, p) for name, p in network.named_parameters() if p.ndim >= 2]


def spiking_layers_of(network: nn.Module) -> Mapping[str, nn.Module]:
    """The spiking layers by name; none of a network that does not spike."""
    return network.spiking_layers() if isinstance(network, Spiking) else {}


def delays_of(network: nn.Module) -> Mapping[str, Tensor]:
    """The delays in steps by layer; none of a network without any."""
    return network.delays() if isinstance(network, Delayed) else {}


def hard_delays_of(network: nn.Module, sigma: float | None) -> AbstractContextManager[None]:
    """Inside: whole delays, where there are any."""
    return network.hard_delays(sigma) if isinstance(network, Delayed) else nullcontext()
