"""One hidden layer and the output layer of a network."""

from __future__ import annotations

from torch import Tensor, nn

from .delayed_linear import DelayedLinear
from .dropout import HeldDropout
from .linear import Linear

DROPOUTS_ON = ("current", "spikes")


class SpikingLayer(nn.Module):
    """One hidden layer: linear, norm, neurons, and dropout before or after the neurons.

    Args:
        linear: the synapses from the layer below, with or without delays.
        neuron: LIF neurons, with or without recurrence; (T, B, N) -> (T, B, N).
        norm: normalises the current over all steps and samples.
        dropout: held over time.
        dropout_on: ``"current"`` (before the neurons) or ``"spikes"`` (after them).

    Shape:
        (T, B, senders) -> (T, B, N).
    """

    def __init__(
        self,
        linear: Linear | DelayedLinear,
        neuron: nn.Module,
        norm: nn.Module,
        dropout: HeldDropout,
        dropout_on: str,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.neuron = neuron
        self.dropout = dropout
        self.dropout_on = dropout_on
        self._drops_in_linear = (
            dropout_on == "current"
            and isinstance(norm, nn.Identity)
            and not isinstance(linear, DelayedLinear)
        )

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes of this layer from those of the layer below."""
        if self._drops_in_linear:
            sizes = spikes.shape[1], len(self.linear.weight)
            mask = self.dropout.sample(spikes.new_empty((1, *sizes)))
            return self.neuron(self.linear(spikes, mask))
        current = self.linear(spikes, learn_bias=not self._normalises())
        current = self.norm(current.flatten(0, 1)).unflatten(0, current.shape[:2])
        if self.dropout_on == "current":
            return self.neuron(self.dropout(current))
        return self.dropout(self.neuron(current))

    def _normalises(self) -> bool:
        """Whether the mean of the batch is subtracted.

        Then a bias cancels. Of the rounding in its gradient optimizers like Adam would make full
        steps, which the running mean, and so every evaluation, follows late.
        """
        return self.norm.training and not isinstance(self.norm, nn.Identity)


class Readout(nn.Module):
    """The output layer: linear at every step, then nothing, a leaky integrator or LIF neurons.

    Args:
        linear: the synapses from the last hidden layer.
        neuron: what the current goes through, (T, B, K) -> (T, B, K).

    Shape:
        (T, B, N) -> (T, B, K).
    """

    def __init__(self, linear: Linear, neuron: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.neuron = neuron

    def forward(self, spikes: Tensor) -> Tensor:
        """Outputs of every step."""
        return self.neuron(self.linear(spikes))
