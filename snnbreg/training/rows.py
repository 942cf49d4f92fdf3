"""What one epoch's row of ``metrics.csv`` says about the network."""

from __future__ import annotations

from typing import Any

from torch import nn

from snnbreg.training.activity import Activity
from snnbreg.training.evaluation import Loader, evaluate
from snnbreg.training.network import Spiking, delays_of, weights_of
from snnbreg.training.processes import Processes
from snnbreg.training.supports import counts
from snnbreg.training.tasks import Task


def validation_row(
    network: nn.Module, loader: Loader, task: Task, processes: Processes | None = None
) -> dict[str, Any]:
    """Both evaluations, the non-zero weights, and what the spikes cost; see ``columns``.

    Args:
        network: unchanged afterwards.
        loader: validation batches.
        task: gives loss and measure of a batch.
        processes: share the samples if given.

    Returns:
        Columns of the row. A network without delays is evaluated once: it is deployed as it is.
    """
    published, rates = _measured(network, loader, task, "published", processes)
    deployed = published
    if delays_of(network):
        deployed, _ = _measured(network, loader, task, "deployed", processes)
    return {
        **published,
        **{f"deployed_{name}": value for name, value in deployed.items()},
        **counts(weights_of(network)),
        **{f"firing_rate/{name}": rate for name, rate in rates.items()},
    }


def _measured(
    network: nn.Module, loader: Loader, task: Task, evaluation: str, processes: Processes | None
) -> tuple[dict[str, float], dict[str, float]]:
    """The figures of one evaluation, and the firing rate of each hidden layer."""
    activity = Activity() if isinstance(network, Spiking) else None  # counting takes its time
    figures = evaluate(network, loader, task, evaluation, activity, processes=processes)
    row = {"val_loss": figures["loss"], f"val_{task.measure}": figures[task.measure]}
    if activity is None:
        return row, {}
    return {**row, **activity.summary(network)}, activity.rates()
