"""What an epoch tells: the Lagrangian, the residuals, and how the simulated network does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from snnbreg.admm.equations import Neuron, Penalties, Terms, lagrangian_terms, simulate
from snnbreg.admm.variables import Batch


class Task(Protocol):
    """What is asked of the outputs, see ``snnbreg.training.tasks``."""

    @property
    def measure(self) -> str: ...  # noqa: D102
    def score(self, outputs: Tensor, labels: Tensor) -> Any: ...  # noqa: D102


def batch_sums(
    batch: Batch, currents: Sequence[Tensor], weights: Sequence[Tensor], neuron: Neuron, task: Task
) -> Tensor:
    """Sums over the samples of a batch, which ``row`` reads; float64.

    Args:
        batch: its variables.
        currents: W a by layer, (T, N, n).
        weights: of the network.
        neuron: of the network.
        task: scores the simulated network.
    """
    terms = lagrangian_terms(currents, batch.z, batch.a, batch.dual, batch.target, neuron)
    outputs = simulate(weights, currents[0], neuron)[0][-1]
    score = task.score(outputs, batch.labels)
    steps, samples = batch.dual.shape[:2]
    loss = score.loss * score.count if samples else 0.0  # a mean of nothing is NaN
    numbers = [
        loss, score.total, score.count, steps * samples,
        terms.fit, terms.linear, *terms.membranes, *terms.spikes,
    ]  # fmt: skip
    return torch.tensor([float(x) for x in numbers], dtype=torch.float64)


def row(sums: Tensor, sizes: Sequence[int], penalties: Penalties, task: Task) -> dict[str, float]:
    """The columns of an epoch from the sums over all samples.

    Args:
        sums: of ``batch_sums`` over all batches and processes.
        sizes: neurons by layer, the output layer's last.
        penalties: rho by layer, and beta.
        task: names its measure.
    """
    loss, total, count, entries = sums[:4].tolist()
    layers = len(penalties.rho)
    terms = Terms(sums[4], sums[5], list(sums[6 : 6 + layers]), list(sums[6 + layers :]))
    columns = {
        "train_loss": loss / count,
        f"train_{task.measure}": total / count,
        "objective": float(terms.lagrangian(penalties)),
        "rho": penalties.rho[-1],
        "beta": penalties.beta,
    }
    for kind, squares in (("residual", terms.membranes), ("spike_residual", terms.spikes)):
        for layer, (square, size) in enumerate(zip(squares, sizes, strict=False)):
            columns[f"{kind}/{layer}"] = (float(square) / entries / size) ** 0.5
    return columns
