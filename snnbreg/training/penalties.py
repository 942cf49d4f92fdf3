"""Terms of the loss that look at hidden spikes: they need more than outputs and labels.

T time steps, B batch, N neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnbreg.training.network import spiking_layers_of

Mean = Callable[[Tensor], Tensor]
"""A mean over the batch of all processes, from that over this process's samples of it."""
Penalty = Callable[..., Tensor]
"""The spikes (T, B, N) by layer, and a :data:`Mean`, to a scalar that is added to the loss."""


def _own(mean: Tensor) -> Tensor:
    """The :data:`Mean` of a single process."""
    return mean


def spike_count(weight: float) -> Penalty:
    """``weight`` times the mean number of spikes per neuron and sample, summed over layers.

    Args:
        weight: >= 0.

    Example:
        >>> import torch
        >>> float(spike_count(0.5)({"a": torch.ones(10, 2, 4)}))
        5.0
    """
    _check("weight", weight, weight >= 0)

    def penalty(spikes: Mapping[str, Tensor], mean: Mean = _own) -> Tensor:
        return weight * mean(torch.stack([s.sum(0).mean() for s in spikes.values()])).sum()

    return penalty


def rate_bounds(weight: float, low: float = 0.0, high: float = 1.0) -> Penalty:
    """``weight`` times the squared distance of each neuron's firing rate from [low, high].

    A rate is in spikes per step, a mean over the batch; the distances are averaged over the
    neurons of a layer and summed over layers.

    Args:
        weight: >= 0.
        low: least rate, in [0, high].
        high: highest rate, at most 1.

    Example:
        >>> import torch
        >>> penalty = rate_bounds(1.0, low=0.25, high=0.5)
        >>> float(penalty({"a": torch.ones(10, 2, 4), "b": torch.zeros(10, 2, 4)}))
        0.3125
    """
    _check("weight", weight, weight >= 0)
    _check("low", low, 0 <= low <= high)
    _check("high", high, high <= 1)

    def penalty(spikes: Mapping[str, Tensor], mean: Mean = _own) -> Tensor:
        rates = [mean(layer.mean((0, 1))) for layer in spikes.values()]
        outside = [(low - rate).clamp(min=0) + (rate - high).clamp(min=0) for rate in rates]
        return weight * torch.stack([distance.square().mean() for distance in outside]).sum()

    return penalty


PENALTIES: dict[str, Callable[..., Penalty]] = {
    "spike_count": spike_count,
    "rate_bounds": rate_bounds,
}
"""The penalties by name, for configs: ``trainer.penalties=[{name: spike_count, weight: 0.01}]``."""


class Penalties:
    """Adds penalties on hidden spikes to the loss of a batch.

    Args:
        network: whose spiking layers are watched.
        terms: what is added.

    Raises:
        ValueError: there are terms but no spiking layers.
    """

    def __init__(self, network: nn.Module, terms: Sequence[Penalty] = ()) -> None:
        self.network, self.terms = network, list(terms)
        self.layers = spiking_layers_of(network) if terms else {}
        self._spikes: dict[str, list[Tensor]] = {}  # of segments of time, where there are some
        self._watches = False
        if self.terms and not self.layers:
            raise ValueError("trainer.penalties needs a network with spiking layers")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside: the spikes of each forward pass are kept for :meth:`of`."""

        def begin(module: nn.Module, args: Any) -> None:
            self._spikes, self._watches = {name: [] for name in self.layers}, True

        def watch(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, spikes: Tensor) -> None:
                if self._watches:  # else a segment is computed again
                    self._spikes[name].append(spikes)

            return hook

        hooks = [layer.register_forward_hook(watch(name)) for name, layer in self.layers.items()]
        hooks.append(self.network.register_forward_pre_hook(begin))
        try:
            yield
        finally:
            self._spikes.clear()
            for hook in hooks:
                hook.remove()

    def added_to(self, loss: Tensor, mean: Mean = _own) -> Tensor:
        """The loss of the last forward pass with all penalties."""
        spikes = {name: torch.cat(parts) for name, parts in self._spikes.items()}
        self._spikes, self._watches = {}, False
        for term in self.terms:
            loss = loss + term(spikes, mean)
        return loss


def _check(option: str, value: float, fine: bool) -> None:
    if not fine:
        raise ValueError(f"Invalid {option} of a penalty: {value!r}")
