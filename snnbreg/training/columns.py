"""The columns of ``metrics.csv``: their order and their meaning, in one place.

``*`` stands for the name of a weight matrix or layer, ``{measure}`` for the task's measure
(``acc``, a fraction, in classification). ``deployed_``: the same of the deployed evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

COLUMNS: dict[str, str] = {
    "epoch": "counted from 1",
    "train_loss": "mean over the epoch's samples, with penalties left out",
    "train_{measure}": "mean over the epoch's samples, while the weights move",
    "grad_norm": "mean over the batches, before clipping",
    "val_loss": "published evaluation: whole delays, the current sigma",
    "val_{measure}": "likewise",
    "deployed_val_loss": "deployed evaluation: whole delays, sigma 0, what a chip runs",
    "deployed_val_{measure}": "likewise",
    "nonzero": "weights that are not zero",
    "density": "nonzero / all weights",
    "l1": "sum of the sizes of all weights",
    "linear": "likewise of the matrices alone, where there are convolutions too",
    "kernels": "kernels of convolutions with a non-zero weight / all kernels",
    "rows": "rows of matrices with a non-zero weight / all rows",
    "born": "weights that are non-zero and were zero an epoch ago",
    "died": "weights that are zero and were not an epoch ago",
    "overlap": "non-zero now and an epoch ago / non-zero now or then",
    "ever_alive": "weights that were non-zero at the start or the end of an epoch so far",
    "kept": "weights that a sparsifier lets be non-zero; the others are masked",
    "firing_rate": "spikes per hidden neuron and step, a fraction, published evaluation",
    "silent": "hidden neurons without a single spike",
    "synops": "synaptic operations per sample: events and spikes times non-zero outgoing weights",
    "deployed_firing_rate": "the same of the deployed evaluation",
    "deployed_silent": "likewise",
    "deployed_synops": "likewise",
    "lr": "of the weights, when the epoch starts",
    "lam": "likewise; 0 without a regulariser",
    "objective": "ADMM: the augmented Lagrangian, of all training samples",
    "rho": "ADMM: weight of the output layer's residuals, in the next epoch",
    "beta": "ADMM: weight of the spikes' residuals, in the next epoch",
    "sigma": "spread of the delay kernels in steps, in this epoch",
    "seconds": "training and evaluation",
    "nonzero/*": "of one weight matrix",
    "rows/*": "rows of one weight matrix with a non-zero weight",
    "kernels/*": "kernels of one convolution with a non-zero weight",
    "firing_rate/*": "of one hidden layer",
    "residual/*": "ADMM: root mean square of the membranes' residuals, of layer 0, 1, ...",
    "spike_residual/*": "ADMM: the same of spikes minus those of the membranes",
}


def ordered(row: Mapping[str, Any], measure: str) -> dict[str, Any]:
    """The row with its columns in the order of ``COLUMNS``.

    Args:
        row: one epoch.
        measure: of the task.

    Raises:
        KeyError: a column that ``COLUMNS`` does not describe.

    Example:
        >>> ordered({"val_acc": 0.5, "nonzero/a": 3, "epoch": 1}, "acc")
        {'epoch': 1, 'val_acc': 0.5, 'nonzero/a': 3}
    """
    names = [column.replace("{measure}", measure) for column in COLUMNS]

    def place(column: str) -> int:
        for index, name in enumerate(names):
            if fnmatchcase(column, name):
                return index
        raise KeyError(f"{column} is no column of metrics.csv")

    return {column: row[column] for column in sorted(row, key=place)}
