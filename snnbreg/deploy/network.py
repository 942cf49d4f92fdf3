"""A deployed network: sparse weights sorted by sender, whole delays, and what its neurons share.

It is what a chip runs and what ``network.npz`` holds. The equations, for t = 0 .. T - 1, layer by
layer, with x the recording's counts times ``input_scale`` or the spikes of the layer below:

    I[t] = b + W x[t - d]                feed-forward; without delays d = 0
    R[t] = U S[t - 1 - d]                recurrent; spikes before the first step do not exist
    H[t] = leak V[t-1] + I[t] + R[t]     charge; V = 0 at the start of every recording
    S[t] = 1 if H[t] >= threshold        spike
    V[t] = H[t] - threshold S[t]         soft reset
    V[t] = (1 - S[t]) H[t]               hard reset

The readout is one more layer without recurrence: ``linear`` o = I, ``leaky`` o[t] = leak o[t-1] +
I[t], ``spiking`` o = S. With ``bits`` below 32 all numbers are whole, see ``integers``.

Legend: T time steps, C input channels, K classes, N neurons of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RESETS = ("soft", "hard")
READOUTS = ("linear", "leaky", "spiking")
DECISIONS = {
    "sum_cross_entropy": "sum",
    "mean_cross_entropy": "sum",
    "softmax_sum_cross_entropy": "softmax_sum",
    "last_cross_entropy": "last",
    "last_squared_error": "last",
    "step_cross_entropy": "step",
}
"""How a class follows from the outputs, by the loss the network was trained with.

``sum``: the largest sum over time; ``softmax_sum``: of the softmax; ``last``: the largest output of
the last step; ``step``: one class for every step. The lowest class wins among equals.
"""


@dataclass(frozen=True, eq=False)
class Synapses:
    """Weights between two populations as lists, each of one sender with one delay.

    With one delay per sender there is one list per sender, list a being that of sender a. With
    one delay per synapse a sender has a list for each of its delays.

    Attributes:
        receivers: N.
        lists: (senders + 1,); the lists of sender j are lists[j] .. lists[j + 1] - 1.
        delay: (A,), of list a in steps, >= 0; a recurrent spike takes one step more.
        pointer: (A + 1,); list a is entries pointer[a] .. pointer[a + 1] - 1.
        receiver: (entries,), ascending within a list.
        weight: (entries,), none of them zero.
    """

    receivers: int
    lists: Array
    delay: Array
    pointer: Array
    receiver: Array
    weight: Array

    @classmethod
    def of(cls, weight: Array, delay: Array) -> Synapses:
        """Lists from a matrix.

        Args:
            weight: (N, senders), with zeros.
            delay: in steps, (senders,), or (N, senders) with one delay per synapse.

        Example:
            >>> synapses = Synapses.of(np.array([[0.0, 2.0], [3.0, 4.0]]), np.array([5, 6]))
            >>> synapses.pointer, synapses.receiver, synapses.weight, synapses.delay
            (array([0, 1, 3]), array([1, 0, 1]), array([3., 2., 4.]), array([5, 6]))
        """
        receivers, senders = weight.shape
        if delay.ndim == 1:
            sender, receiver = np.nonzero(weight.T)
            pointer = np.searchsorted(sender, np.arange(senders + 1))
            return cls(
                receivers, np.arange(senders + 1), np.where(np.diff(pointer) > 0, delay, 0),
                pointer, receiver, weight[receiver, sender],
            )  # fmt: skip
        receiver, sender = np.nonzero(weight)
        order = np.lexsort((receiver, delay[receiver, sender], sender))
        receiver, sender = receiver[order], sender[order]
        keys = np.stack([sender, delay[receiver, sender]], 1)
        lists, first = np.unique(keys, axis=0, return_index=True)
        return cls(
            receivers, np.searchsorted(lists[:, 0], np.arange(senders + 1)), lists[:, 1],
            np.append(first, len(receiver)), receiver, weight[receiver, sender],
        )  # fmt: skip

    @property
    def senders(self) -> int:
        """How many there are."""
        return len(self.lists) - 1

    @property
    def longest_delay(self) -> int:
        """In steps; 0 where there are no weights."""
        return int(self.delay.max(initial=0))

    @property
    def one_list_per_sender(self) -> bool:
        """Whether list a is that of sender a."""
        return np.array_equal(self.lists, np.arange(len(self.lists)))

    def sender(self) -> Array:
        """The sender of every entry, (entries,)."""
        of_list = np.repeat(np.arange(self.senders), np.diff(self.lists))
        return np.repeat(of_list, np.diff(self.pointer))

    def dense(self) -> Array:
        """The matrix (N, senders); exact where a pair has one entry, as networks have them."""
        matrix = np.zeros((self.receivers, self.senders), self.weight.dtype)
        np.add.at(matrix, (self.receiver, self.sender()), self.weight)
        return matrix


@dataclass(frozen=True, eq=False)
class Layer:
    """Neurons, the synapses to them, and those between them.

    Attributes:
        feedforward: from the layer below or the input.
        recurrent: among the neurons; None without recurrence.
        bias: (N,); float32, or int32 with the fraction of the membrane.
        threshold: (N,), as the bias.
        kept: (N,), the neurons' numbers in the trained network, from which some were removed.
        gain: (N,) int32 where the feed-forward sums are on a scale of their own, see
            ``integers``; else None.
    """

    feedforward: Synapses
    recurrent: Synapses | None
    bias: Array
    threshold: Array
    kept: Array
    gain: Array | None = None

    @property
    def neurons(self) -> int:
        """N."""
        return len(self.bias)

    def matrices(self) -> list[tuple[str, Synapses]]:
        """The synapses by name."""
        found = [("feedforward", self.feedforward)]
        return found if self.recurrent is None else [*found, ("recurrent", self.recurrent)]


@dataclass(frozen=True, eq=False)
class DeployedNetwork:
    """What a chip runs.

    Attributes:
        layers: hidden layers.
        readout: K outputs; its thresholds matter to a spiking readout alone.
        steps: T, the longest recording in steps; what arrives later has been left out.
        inputs: C.
        leak: fraction of a membrane that remains after a step; with integers a multiple of 2^-15.
        reset: ``"soft"`` or ``"hard"``.
        readout_kind: ``"linear"``, ``"leaky"`` or ``"spiking"``.
        objective: the loss it was trained with, a key of ``DECISIONS``.
        input_scale: a count c is the input c * input_scale.
        input_max: the largest count.
        bits: of a weight: 32 are floats, fewer are integers.
        fraction: bits of a membrane below one unit of a weight; integers only.
        output_scale: what one unit of an output is worth; 1.0 for floats.
        about: where it comes from: the run's config, what was removed, the size before.
    """

    layers: Sequence[Layer]
    readout: Layer
    steps: int
    inputs: int
    leak: float
    reset: str
    readout_kind: str
    objective: str
    input_scale: float = 1.0
    input_max: int = 255
    bits: int = 32
    fraction: int = 0
    output_scale: float = 1.0
    about: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def integer(self) -> bool:
        """Whether all its numbers are whole."""
        return self.bits < 32

    @property
    def classes(self) -> int:
        """K."""
        return self.readout.neurons

    @property
    def decision(self) -> str:
        """How a class follows from the outputs, see ``DECISIONS``."""
        return DECISIONS[self.objective]

    def all_layers(self) -> list[Layer]:
        """The hidden layers and the readout."""
        return [*self.layers, self.readout]

    def matrices(self) -> list[tuple[str, Synapses]]:
        """All synapses by name, such as ``layers.0.recurrent``, in the order of the data."""
        named = [(f"layers.{i}", layer) for i, layer in enumerate(self.layers)]
        named.append(("readout", self.readout))
        return [(f"{a}.{b}", synapses) for a, layer in named for b, synapses in layer.matrices()]

    @property
    def nonzero(self) -> int:
        """Weights that are not zero."""
        return sum(len(synapses.weight) for _, synapses in self.matrices())
