"""What one epoch's row of ``metrics.csv`` says about the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from snnbreg.training.activity import Activity
from snnbreg.training.evaluation import Loader, evaluate
from snnbreg.training.network import Spiking, active_units, delays_of, weights_of
from snnbreg.training.tasks import Task


def validation_row(network: nn.Module, loader: Loader, task: Task) -> dict[str, Any]:
    """Both evaluations, the non-zero weights, and what the spikes cost; see ``columns``.

    Args:
        network: unchanged afterwards.
        loader: validation batches.
        task: gives loss and measure of a batch.

    Returns:
        Columns of the row. A network without delays is evaluated once: it is deployed as it is.
    """
    published, rates = _measured(network, loader, task, "published")
    deployed = published
    if delays_of(network):
        deployed, _ = _measured(network, loader, task, "deployed")
    weights = weights_of(network)
    nonzero = {w.name: int(torch.count_nonzero(w.weight.detach())) for w in weights}
    return {
        **published,
        **{f"deployed_{name}": value for name, value in deployed.items()},
        "nonzero": sum(nonzero.values()),
        "density": sum(nonzero.values()) / sum(w.weight.numel() for w in weights),
        **{f"nonzero/{name}": count for name, count in nonzero.items()},
        **{f"active/{name}": count for name, count in active_units(network).items()},
        **{f"firing_rate/{name}": rate for name, rate in rates.items()},
    }


def _measured(
    network: nn.Module, loader: Loader, task: Task, evaluation: str
) -> tuple[dict[str, float], dict[str, float]]:
    """The figures of one evaluation, and the firing rate of each hidden layer."""
    activity = Activity() if isinstance(network, Spiking) else None  # counting takes its time
    figures = evaluate(network, loader, task, evaluation, activity)
    row = {"val_loss": figures["loss"], f"val_{task.measure}": figures[task.measure]}
    if activity is None:
        return row, {}
    return {**row, **activity.summary(network)}, activity.rates()
