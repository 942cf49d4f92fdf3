"""Which classes are taken for which, by the dense and by the sparse network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snnbreg.analysis import canvas
from snnbreg.analysis.groups import Group
from snnbreg.analysis.studies import baseline, datasets, of_dataset, sparsest_within
from snnbreg.analysis.study_tables import optimizer_name
from snnbreg.runs import Array, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRITTEN = 12
"""Most classes for which every share is written into its cell."""


@canvas.styled
def confusion(runs: Sequence[Run]) -> Figure:
    """Test samples by true and predicted class, as deployed: the dense group beside the sparsest.

    The sparsest is that of Table 2; all runs of a group are taken together.

    Raises:
        ValueError: no data set has both with predictions, or a file is damaged.
    """
    found: list[tuple[str, Group]] = []
    for dataset in datasets(runs):
        kept = [run for run in of_dataset(runs, dataset) if run.folder.predictions.is_file()]
        sparse = sparsest_within(kept, dataset)
        dense = baseline(kept, sparse.runs[0], any_schedule=True) if sparse is not None else None
        if sparse is not None and dense is not None:
            density = f"density {sparse.mean('density'):.1%}"
            found.append((f"{dataset} · {optimizer_name(dense.runs[0])}, dense", dense))
            found.append((f"{dataset} · {optimizer_name(sparse.runs[0])}, {density}", sparse))
    if not found:
        raise ValueError("There is no sparse group within a point of a dense one, with predictions")
    figure, all_axes = canvas.grid(len(found) // 2, 2, (3.5, 3.6))
    for axes, (words, group) in zip(all_axes, found, strict=True):
        _panel(axes, confusion_matrix(group))
        axes.set_title(f"{words}\n{group.members}", loc="left", fontsize=9)
    return figure


def confusion_matrix(group: Group, split: str = "test", evaluation: str = "deployed") -> Array:
    """How many samples of a class (row) are taken for which (column), over all runs of a group.

    Raises:
        FileNotFoundError: a run left no predictions.
        ValueError: its file is damaged.
    """
    found = [run.predictions() for run in group.runs]
    labels, predicted = (
        np.concatenate([arrays[f"{split}_{name}"] for arrays in found]).astype(int)
        for name in ("labels", evaluation)
    )
    classes = max(labels.max(), predicted.max()) + 1
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, -1)


def _panel(axes: Axes, counts: Array) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares > 0) if len(shares) <= WRITTEN else ():
        colour = "white" if shares[row, column] > 0.5 else canvas.INK
        text = f"{100 * shares[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    if len(shares) <= WRITTEN:
        axes.set_xticks(range(len(shares)))
        axes.set_yticks(range(len(shares)))
    axes.grid(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
