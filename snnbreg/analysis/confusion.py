"""Which classes are taken for which, by the dense and by the sparse network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snnbreg.analysis import canvas
from snnbreg.analysis.groups import Group
from snnbreg.analysis.studies import datasets, is_dense, shown_groups
from snnbreg.analysis.study_tables import optimizer_name
from snnbreg.runs import Array, Run

UNLABELLED = -1  # the class of a step that has none, as in snnbreg.training.tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 12
"""Most classes for which every share is written into its cell, and panels stand side by side."""
WRITTEN = 0.05
"""Of more classes only shares from this one on are written."""
CELL, MARGIN = 0.17, 1.3  # inches: of a class among many, and beside them for their names


@canvas.styled
def confusion(runs: Sequence[Run]) -> Figure:
    """Test samples by true and predicted class, as deployed: the dense group beside the sparse one.

    Which groups: see :func:`~snnbreg.analysis.studies.shown_groups`. All runs of a group are taken
    together; of a task of one class per time step, the labelled steps of all samples.

    Raises:
        ValueError: no run has left predictions of classes, or a file is damaged.
    """
    found = [[(group_title(name, group), confusion_matrix(group), class_names(group))
              for group in shown_groups(runs, name)] for name in datasets(runs)]  # fmt: skip
    found = [groups for groups in found if groups]
    if not found:
        raise ValueError("There is no run with predictions of classes")
    most = max(len(counts) for groups in found for _, counts, _ in groups)
    across = max(map(len, found)) if most <= FEW else 1
    size = (3.5, 3.6) if most <= FEW else (CELL * most + MARGIN, CELL * most + MARGIN + 0.3)
    figure, all_axes = canvas.grid(
        len(found) if most <= FEW else sum(map(len, found)), across, size
    )
    places = iter(all_axes)
    for groups in found:
        for title, counts, names in groups:
            axes = next(places)
            _panel(axes, counts, names)
            axes.set_title(title, loc="left", fontsize=9)
        for _ in range(across - len(groups) if most <= FEW else 0):
            next(places).set_visible(False)
    return figure


def group_title(dataset: str, group: Group) -> str:
    """Data set, optimizer, density and number of runs, in two lines."""
    run = group.runs[0]
    density = "dense" if is_dense(run) else f"density {group.mean('density'):.1%}"
    return f"{dataset} · {optimizer_name(run)}, {density}\n{group.members}"


def class_names(group: Group) -> list[str]:
    """The words of the classes; empty where its first run kept none."""
    return [str(name) for name in group.runs[0].predictions().get("class_names", ())]


def confusion_matrix(group: Group, split: str = "test", evaluation: str = "deployed") -> Array:
    """How many samples of a class (row) are taken for which (column), over all runs of a group.

    Steps instead of samples where a class belongs to each step; those without a label do not count.

    Raises:
        FileNotFoundError: a run left no predictions.
        ValueError: its file is damaged.
    """
    found = [run.predictions() for run in group.runs]
    labels, predicted = (
        np.concatenate([arrays[f"{split}_{name}"].reshape(-1) for arrays in found]).astype(int)
        for name in ("labels", evaluation)
    )
    labels, predicted = labels[labels != UNLABELLED], predicted[labels != UNLABELLED]
    classes = max(labels.max(), predicted.max()) + 1
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, -1)


def _panel(axes: Axes, counts: Array, names: Sequence[str]) -> None:
    """One matrix: shares of the rows, with the words where they are known."""
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares > (0 if classes <= FEW else WRITTEN)):
        colour = "white" if shares[row, column] > 0.5 else canvas.INK
        text = f"{100 * shares[row, column]:.0f}"
        axes.text(
            column, row, text, ha="center", va="center", color=colour,
            fontsize=7 if classes <= FEW else 5,
        )  # fmt: skip
    words = names if len(names) >= classes else [str(number) for number in range(classes)]
    places = range(classes)
    size = 9 if classes <= FEW else 7
    turned = 90 if max(map(len, words)) > 2 and classes > FEW else 0
    axes.set_xticks(places, words[:classes], fontsize=size, rotation=turned)
    axes.set_yticks(places, words[:classes], fontsize=size)
    axes.grid(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
