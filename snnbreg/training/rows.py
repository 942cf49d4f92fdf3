"""What one epoch's row of ``metrics.csv`` says about the network and its optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from snnbreg.training.activity import Activity
from snnbreg.training.evaluation import Loader, evaluate
from snnbreg.training.network import Network
from snnbreg.training.objectives import Objective


def validation_row(network: Network, loader: Loader, objective: Objective) -> dict[str, Any]:
    """Both evaluations, the non-zero weights, and what the spikes cost.

    Args:
        network: unchanged afterwards.
        loader: validation batches.
        objective: gives loss and scores of a batch.

    Returns:
        ``val_loss``, ``val_acc`` and the figures of :meth:`Activity.summary` of the ``published``
        evaluation; the same with the prefix ``deployed_``; ``nonzero`` and ``density`` of all
        weight matrices; ``layers``: a row of its own, ``nonzero/NAME`` by weight matrix and
        ``firing_rate/NAME`` (published) by hidden layer.
    """
    published, layers = _measured(network, loader, objective, "published")
    deployed = published
    if network.delays():
        deployed, _ = _measured(network, loader, objective, "deployed")
    nonzero = {s.name: int(torch.count_nonzero(s.weight.detach())) for s in network.synapses()}
    weights = sum(s.weight.numel() for s in network.synapses())
    return {
        **published,
        **{f"deployed_{name}": value for name, value in deployed.items()},
        "nonzero": sum(nonzero.values()),
        "density": sum(nonzero.values()) / weights,
        "layers": {**{f"nonzero/{name}": count for name, count in nonzero.items()}, **layers},
    }


def _measured(
    network: Network, loader: Loader, objective: Objective, evaluation: str
) -> tuple[dict[str, float], dict[str, float]]:
    """The figures of one evaluation, and the firing rate of each hidden layer."""
    activity = Activity()
    figures = evaluate(network, loader, objective, evaluation, activity)
    rates = {f"firing_rate/{name}": rate for name, rate in activity.rates().items()}
    return {
        "val_loss": figures["loss"],
        "val_acc": figures["acc"],
        **activity.summary(network),
    }, rates


def settings_row(network: Network, optimizer: Optimizer) -> dict[str, float]:
    """Learning rate and lambda of the weight matrices, and sigma, as they stand.

    Args:
        network: its first weight matrix says which parameter group is meant.
        optimizer: of the weights.
    """
    first = network.synapses()[0].weight
    group = next(g for g in optimizer.param_groups if any(p is first for p in g["params"]))
    return {
        "lr": float(group["lr"]),
        "lam": float(group.get("lam", 0.0)),
        "sigma": float(network.sigma),
    }
