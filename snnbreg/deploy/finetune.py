"""A few epochs on the found support, so that rounding to few bits costs less.

In every step the network runs, as deployed, with the weights that ``integers.quantize`` will give
it; the gradient with respect to these is applied to the weights before rounding (the
straight-through estimator). Zeros stay zeros; delays, and statistics of a batch norm, stay as they
are. Biases learn too.

Reference: Bengio et al. 2013, arXiv 1308.3432; Courbariaux et al. 2015, arXiv 1511.00363,
algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from snnbreg.deploy.network import DeployedNetwork
from snnbreg.deploy.proof import Task
from snnbreg.models import DelayedRecurrentLIF, SpikingNetwork

LR = 1e-3
"""Adam's, chosen on validation samples alone: ``results/deploy/README.md``."""


class Rows(NamedTuple):
    """Weights whose rows share their units."""

    weights: list[Tensor]
    """W and, where there is one, U; (N, senders) each."""
    factors: list[Tensor | float]
    """What a weight is multiplied by before it is rounded, (N, 1): the norm's share."""
    common: bool
    """One unit for all rows: the readout."""


class RoundedWeights:
    """The straight-through estimator as a hook of training: what it offers is a ``Hook``'s.

    Between steps the network holds rounded weights, so that its gradient, its evaluation and its
    checkpoints are those of whole numbers; the weights before rounding are kept here.

    Args:
        network: trained; its weights are rounded from now on.
        deployed: as ``convert`` makes it; weights that are not in it become zeros, so that none
            that matters to nobody sets the unit of a row.
        bits: of a weight.
    """

    def __init__(self, network: SpikingNetwork, deployed: DeployedNetwork, bits: int) -> None:
        self.bits, self._rows = bits, _rows(network)
        _keep_what_matters_(network, deployed)
        self.weights = [weight for entry in self._rows for weight in entry.weights]
        self._support = [weight.detach() != 0 for weight in self.weights]
        self.after_step()

    def before_epoch(self, epoch: int) -> None:
        """Nothing: the weights are rounded already."""

    @torch.no_grad()
    def after_backward(self) -> None:
        """Put the weights before rounding back, for the step; zeros get no gradient."""
        self._restore()
        for weight, kept in zip(self.weights, self._support, strict=True):
            if weight.grad is not None:
                weight.grad.mul_(kept)

    def after_step(self) -> None:
        """Keep what the step has made, and round it."""
        self._own = [weight.detach().clone() for weight in self.weights]
        _round_(self._rows, self.bits)

    def after_epoch(self, epoch: int) -> None:
        """Round once more: a batch norm, whose share the units contain, may have changed."""
        self._restore()
        _round_(self._rows, self.bits)

    def columns(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The weights before rounding, and which of them stay zero."""
        return {"own": [own.clone() for own in self._own], "support": list(self._support)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        for mine, saved in ((self._own, state["own"]), (self._support, state["support"])):
            for tensor, other in zip(mine, saved, strict=True):
                tensor.copy_(other)

    @torch.no_grad()
    def _restore(self) -> None:
        for weight, own in zip(self.weights, self._own, strict=True):
            weight.copy_(own)


def finetune(
    network: SpikingNetwork,
    deployed: DeployedNetwork,
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]],
    task: Task,
    bits: int,
    epochs: int,
    lr: float = LR,
) -> list[float]:
    """Train the weights of a network as whole numbers, in place; afterwards they are on the grid.

    Args:
        network: trained; in the mode it had, with the delays and sigma it had, afterwards.
        deployed: see :class:`RoundedWeights`.
        batches: the training batches of an epoch.
        task: gives the loss.
        bits: of a weight.
        epochs: how many; 1 or more.
        lr: Adam's at the start; it falls to zero along a line.

    Returns:
        The mean loss of each epoch.

    Raises:
        ValueError: fewer than one epoch.
    """
    if epochs < 1:
        raise ValueError(f"epochs={epochs} of fine-tuning must be 1 or more")
    rounded = RoundedWeights(network, deployed, bits)
    biases = [p for name, p in network.named_parameters() if name.endswith("linear.bias")]
    optimizer = torch.optim.Adam([*rounded.weights, *biases], lr)
    modes = {module: module.training for module in network.modules()}
    losses = []
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    try:
        with network.hard_delays(0.0):
            for epoch in range(epochs):
                found = []
                for frames, labels in batches(epoch):
                    network.zero_grad()
                    loss = task.score(network(frames), labels).loss
                    loss.backward()
                    rounded.after_backward()
                    optimizer.step()
                    rounded.after_step()
                    found.append(float(loss.detach()))
                losses.append(sum(found) / len(found))
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1.0 - (epoch + 1) / epochs)
    finally:
        for module, training in modes.items():
            module.training = training
    return losses


@torch.no_grad()
def _keep_what_matters_(network: SpikingNetwork, deployed: DeployedNetwork) -> None:
    below = np.arange(deployed.inputs)
    parts = [*cast(Any, network.layers), network.readout]
    for part, layer in zip(parts, deployed.all_layers(), strict=True):
        own = layer.kept
        matrices = [(part.linear.weight, layer.feedforward, below)]
        if layer.recurrent is not None:
            matrices.append((part.neuron.weight, layer.recurrent, own))
        for weight, synapses, senders in matrices:
            kept = torch.zeros(weight.shape)
            kept[np.ix_(own, senders)] = torch.from_numpy(synapses.dense() != 0).float()
            weight.mul_(kept)
        below = own


def _rows(network: SpikingNetwork) -> list[Rows]:
    found = []
    for layer in cast(Any, network.layers):
        factor: Tensor | float = 1.0
        if isinstance(layer.norm, nn.BatchNorm1d):
            scale = (cast(Tensor, layer.norm.running_var) + layer.norm.eps).rsqrt()
            factor = (layer.norm.weight.detach() * scale).unsqueeze(1)
        recurrent = isinstance(layer.neuron, DelayedRecurrentLIF)
        weights = [layer.linear.weight, *([layer.neuron.weight] if recurrent else [])]
        found.append(Rows(weights, [factor, 1.0][: len(weights)], common=False))
    # a spiking readout's rows have a unit each: its outputs are spikes
    found.append(Rows([network.readout.linear.weight], [1.0], not _fires(network)))
    return found


def _fires(network: SpikingNetwork) -> bool:
    return hasattr(network.readout.neuron, "lif")


@torch.no_grad()
def _round_(rows: list[Rows], bits: int) -> None:
    """Put weights on the grid of ``integers.quantize`` with clip 1, in place."""
    largest = 2 ** (bits - 1) - 1
    for entry in rows:
        scaled = [w * factor for w, factor in zip(entry.weights, entry.factors, strict=True)]
        unit = torch.stack([s.abs().amax(1, keepdim=True) for s in scaled]).amax(0) / largest
        unit = unit.amax().expand_as(unit) if entry.common else unit
        unit = torch.where(unit == 0.0, 1.0, unit)
        for weight, s, factor in zip(entry.weights, scaled, entry.factors, strict=True):
            whole = torch.floor(s / unit + 0.5) * unit
            zero = torch.as_tensor(factor) == 0.0  # of a norm whose share is none
            weight.copy_(torch.where(zero, weight, whole / torch.where(zero, 1.0, factor)))
