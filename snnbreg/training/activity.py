"""What the spikes cost: firing rates, silent neurons and synaptic operations.

T time steps, B batch, N neurons, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnbreg.training.network import Spiking, spiking_layers_of


class Activity:
    """Counts the spikes of every layer while a network runs.

    ``counts[layer]`` holds the spikes per neuron (N,), summed over time and samples;
    ``counts["input"]`` the events per channel (C,): a bin of n events counts n times, an analog
    value (one that is no whole number) once.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}
        self.neuron_steps: dict[str, int] = {}
        self.samples = 0

    def _add(self, layer: str, events: Tensor) -> None:
        count = events.sum(1).sum(0, dtype=torch.float64)  # whole numbers: exact, ten times as fast
        self.counts[layer] = self.counts[layer] + count if layer in self.counts else count
        self.neuron_steps[layer] = self.neuron_steps.get(layer, 0) + events.numel()

    def on_cpu(self) -> Activity:
        """Itself, its counts moved to the CPU: to be sent to another process."""
        self.counts = {layer: count.cpu() for layer, count in self.counts.items()}
        return self

    def join(self, others: Sequence[Activity]) -> None:
        """Become what all of these have counted together, whether this one is among them or not."""
        counts: dict[str, Tensor] = {}
        steps: dict[str, int] = {}
        for other in others:
            for layer, count in other.counts.items():
                counts[layer] = counts[layer] + count if layer in counts else count
                steps[layer] = steps.get(layer, 0) + other.neuron_steps[layer]
        self.counts, self.neuron_steps = counts, steps
        self.samples = sum(other.samples for other in others)

    @contextmanager
    def of(self, network: nn.Module) -> Iterator[Activity]:
        """Count while the context is open; the hooks are gone after it."""

        def on_input(module: nn.Module, args: tuple[Any, ...]) -> None:
            frames = args[0]
            self.samples += frames.shape[1]
            self._add("input", torch.where(frames == frames.round(), frames.abs(), 1.0))

        hooks = [network.register_forward_pre_hook(on_input)]
        for name, layer in spiking_layers_of(network).items():

            def on_spikes(module: nn.Module, args: Any, spikes: Tensor, name: str = name) -> None:
                self._add(name, spikes.detach())

            hooks.append(layer.register_forward_hook(on_spikes))
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _hidden(self) -> dict[str, Tensor]:
        return {name: count for name, count in self.counts.items() if name != "input"}

    def rates(self) -> dict[str, float]:
        """Spikes per neuron and step of every hidden layer."""
        return {
            name: float(count.sum()) / self.neuron_steps[name]
            for name, count in self._hidden().items()
        }

    def summary(self, network: nn.Module) -> dict[str, float]:
        """The figures of a whole evaluation; none of a network that does not spike.

        Returns:
            ``firing_rate``, spikes per neuron and step over the hidden layers; ``silent``, the
            hidden neurons without a single spike; ``synops``, synaptic operations per sample: each
            spike and each input event counts its non-zero outgoing weights (the metric of
            NeuroBench, Yik et al. 2023, with the recurrent weights included).
        """
        if not isinstance(network, Spiking):
            return {}
        hidden = self._hidden()
        steps = sum(self.neuron_steps[name] for name in hidden)
        spikes = sum(float(count.sum()) for count in hidden.values())
        operations = 0.0
        for synapses in network.synapses():
            outgoing = torch.count_nonzero(synapses.weight.detach(), dim=0)
            sent = self.counts[synapses.senders]
            operations += float(sent @ outgoing.to(sent.device).double())
        return {
            "firing_rate": spikes / steps if steps else 0.0,
            "silent": int(sum(int((count == 0).sum()) for count in hidden.values())),
            "synops": operations / max(self.samples, 1),
        }
