"""The constraints of a network of LIF neurons as equations, and the augmented Lagrangian.

With layers l = 1..L (the last one integrates and does not spike), steps t = 1..T, membranes z,
spikes a, a_0 the frames, and every term before the first step zero:

    r[l,t] = z[l,t] - leak z[l,t-1] + reset a[l,t-1] - W[l] a[l-1,t]   (no reset in layer L)
    a[l,t] = h(z[l,t]) = 1 if z[l,t] > threshold else 0                (l < L)

are a network's states if all r are zero. ADMM minimises, in one block of variables at a time,

    sum_n ||z[L,T] - Y||^2 + sum_t <dual[t], r[L,t]> + sum_l rho[l]/2 ||r[l]||^2
        + beta/2 sum_{l<L} ||a[l] - h(z[l])||^2

As published the dual variable stands at the last step alone, and ``reset`` is the threshold. In
this framework's soft reset the subtracted threshold leaks like the membrane it is subtracted
from: ``reset = leak * threshold`` gives its networks exactly.

Legend: T steps, N samples, n neurons, K classes; tensors are time-major (T, N, n). Layers count
from 0 in code, the output layer last.

Reference: Perin, Bidini, Mazzieri, Rossi: ADMM-Based Training for Spiking Neural Networks (2025),
https://arxiv.org/abs/2505.05527
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 1 << 17
"""Entries of a tensor that are worked on at once: half a megabyte in float32."""


class Neuron(NamedTuple):
    """What all neurons of a network share."""

    leak: float
    """Fraction of a membrane that remains after a step."""
    threshold: float
    """A neuron spikes when its membrane is above it."""
    reset: float
    """What a spike takes from the next step's membrane."""


@dataclass
class Penalties:
    """Weights of the squared residuals.

    Attributes:
        rho: of the membranes, by layer, the output layer's last.
        beta: of the spikes.
    """

    rho: list[float]
    beta: float


def heaviside(z: Tensor, threshold: float) -> Tensor:
    """h(z): 1 strictly above the threshold, else 0, in the type of ``z``."""
    return (z > threshold).to(z.dtype)


def few_steps(z: Tensor) -> Iterator[slice]:
    """All steps in pieces that a processor's cache holds, where whole tensors would not fit."""
    size = max(1, PIECE // max(1, z[0].numel()))
    return (slice(t, min(t + size, len(z))) for t in range(0, len(z), size))


def drive(z: Tensor, a: Tensor | None, neuron: Neuron, steps: slice = slice(0, None)) -> Tensor:
    """The current that membranes and spikes imply: z[t] - leak z[t-1] + reset a[t-1].

    Args:
        z: membranes, (T, N, n).
        a: spikes, (T, N, n); None in the output layer.
        neuron: leak and reset.
        steps: which of them, one after the other.
    """
    current = z[steps].clone()
    alone = 1 if steps.start == 0 else 0  # the first step has none before it
    before = slice(steps.start - 1 + alone, steps.start - 1 + len(current))
    current[alone:].sub_(z[before], alpha=neuron.leak)
    if a is not None:
        current[alone:].add_(a[before], alpha=neuron.reset)
    return current


@dataclass
class Terms:
    """The parts of the Lagrangian, each a sum over samples and steps.

    Attributes:
        fit: ||z[L,T] - Y||^2.
        linear: <dual, r[L]>.
        membranes: ||r[l]||^2 by layer.
        spikes: ||a[l] - h(z[l])||^2 by hidden layer.
    """

    fit: Tensor
    linear: Tensor
    membranes: list[Tensor]
    spikes: list[Tensor]

    def lagrangian(self, penalties: Penalties) -> Tensor:
        """The function that every block update minimises, a scalar."""
        rho = zip(penalties.rho, self.membranes, strict=True)
        penalty = sum((weight / 2 * square for weight, square in rho), torch.zeros_like(self.fit))
        for square in self.spikes:
            penalty = penalty + penalties.beta / 2 * square
        return self.fit + self.linear + penalty


def lagrangian_terms(
    currents: Iterable[Tensor],
    z: Sequence[Tensor],
    a: Sequence[Tensor],
    dual: Tensor,
    target: Tensor,
    neuron: Neuron,
) -> Terms:
    """What the Lagrangian adds up, added up in float64; see the module.

    Args:
        currents: W a by layer, (T, N, n).
        z: membranes by layer, (T, N, n); those of the output layer last.
        a: spikes of the hidden layers, (T, N, n), in [0, 1].
        dual: of the output layer's constraints, (T, N, K).
        target: one-hot labels Y, (N, K).
        neuron: leak, threshold and reset.
    """
    terms = Terms(_sum_squares(z[-1][-1] - target), dual.new_zeros((), dtype=torch.float64), [], [])
    for membranes, spikes, current in zip(z, [*a, None], currents, strict=True):
        square = gap = torch.zeros_like(terms.linear)
        for steps in few_steps(membranes):
            r = drive(membranes, spikes, neuron, steps) - current[steps]
            square = square + _sum_squares(r)
            if spikes is None:
                terms.linear = terms.linear + (dual[steps] * r).sum(dtype=torch.float64)
            else:
                fired = heaviside(membranes[steps], neuron.threshold)
                gap = gap + _sum_squares(spikes[steps] - fired)
        terms.membranes.append(square)
        terms.spikes += [] if spikes is None else [gap]
    return terms


def _sum_squares(x: Tensor) -> Tensor:
    return x.square().sum(dtype=torch.float64)


def simulate(
    weights: Sequence[Tensor], current: Tensor, neuron: Neuron
) -> tuple[list[Tensor], list[Tensor]]:
    """The states of the true network: all residuals are zero.

    Args:
        weights: by layer; the first one is in ``current`` already.
        current: W[0] a of the frames, (T, N, n).
        neuron: leak, threshold and reset.

    Returns:
        Membranes by layer, the output layer's last, and spikes of the hidden layers.
    """
    z, a = [], []
    for weight in weights[1:]:
        membranes, spikes = spiking(current, neuron)
        z.append(membranes)
        a.append(spikes)
        current = spikes @ weight.T
    return [*z, integrate(current, neuron.leak)], a


def integrate(current: Tensor, leak: float) -> Tensor:
    """Membranes of the output layer, which does not spike: z[t] = leak z[t-1] + current[t]."""
    output = torch.empty_like(current)
    v = torch.zeros_like(current[0])
    for t, current_t in enumerate(current):
        v = torch.add(current_t, v, alpha=leak, out=output[t])
    return output


def spiking(current: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Membranes and spikes of one hidden layer, (T, N, n) each."""
    z, a = torch.empty_like(current), torch.empty_like(current)
    before = torch.zeros_like(current[0])  # leak z - reset a of the step before
    for t, current_t in enumerate(current):
        torch.add(current_t, before, out=z[t])
        a[t] = heaviside(z[t], neuron.threshold)
        before = neuron.leak * z[t] - neuron.reset * a[t]
    return z, a
