"""A task of one class per time step: what is heard, what it is, and what networks take it for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snnbreg.analysis import canvas
from snnbreg.analysis.confusion import UNLABELLED, class_names
from snnbreg.analysis.groups import Group
from snnbreg.analysis.studies import datasets, is_dense, shown_groups
from snnbreg.analysis.study_tables import optimizer_name
from snnbreg.runs import Array, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ROW = 9.0, 0.32  # inches


@canvas.styled
def steps(runs: Sequence[Run]) -> Figure:
    """Of every data set with a class per step one test recording: events, classes, predictions.

    The recording is the one of those kept that the networks are nearest to their mean accuracy on.

    Raises:
        ValueError: no run kept the events of such a recording.
    """
    found = [
        (name, groups)
        for name in datasets(runs)
        if (groups := [g for g in shown_groups(runs, name) if _kept_events(g.runs[0])])
    ]
    if not found:
        raise ValueError("No run with a class per time step kept events (test_events)")
    figure, all_axes = canvas.grid(2 * len(found), 1, (WIDTH, 1.5))
    for i, (name, groups) in enumerate(found):
        _recording(all_axes[2 * i], all_axes[2 * i + 1], name, groups)
    return figure


def _kept_events(run: Run) -> bool:
    try:
        return "test_events" in run.predictions()
    except (OSError, ValueError):
        return False


def typical(arrays: Sequence[dict[str, Array]]) -> int:
    """The number of the kept recording whose accuracy is nearest to that of all test steps."""
    distance = 0.0
    for found in arrays:
        labels, predicted = found["test_labels"], found["test_deployed"]
        labelled = labels != UNLABELLED
        right = (labels == predicted) & labelled
        each = right.sum(1) / np.maximum(labelled.sum(1), 1)
        mean = right.sum() / max(labelled.sum(), 1)
        distance = distance + np.abs(each - mean)[: len(found["test_events"])]
    return int(np.argmin(distance))


def _recording(events: Axes, strips: Axes, name: str, groups: Sequence[Group]) -> None:
    arrays = [group.runs[0].predictions() for group in groups]
    which = typical(arrays)
    frames, labels = arrays[0]["test_events"][which], arrays[0]["test_labels"][which].astype(int)
    number = arrays[0]["test_ids"][which]
    time, channel = np.nonzero(frames)
    events.vlines(time, channel - 0.4, channel + 0.4, color=canvas.INK, linewidth=0.5)
    events.set_ylim(-0.6, frames.shape[1] - 0.4)
    if frames.shape[1] <= 12:
        events.set_yticks(range(frames.shape[1]))
    events.set_ylabel("channel")
    events.set_title(f"{name} · test recording {number}", loc="left")
    rows, words, right = [labels], ["class"], [""]
    for group, found in zip(groups, arrays, strict=True):
        predicted = found["test_deployed"][which].astype(int)
        labelled = labels != UNLABELLED
        share = (predicted == labels)[labelled].mean() if labelled.any() else np.nan
        rows.append(predicted)
        words.append(_word(group))
        right.append(f"{share:.1%}")
    _strips(strips, np.stack(rows), words, right, class_names(groups[0]))
    for axes in (events, strips):
        axes.grid(False)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    strips.set_xlabel("time step")


def _word(group: Group) -> str:
    run = group.runs[0]
    density = "dense" if is_dense(run) else f"{group.mean('density'):.0%}"
    return f"{optimizer_name(run)}, {density}"


def _strips(
    axes: Axes, rows: Array, words: Sequence[str], right: Sequence[str], names: Sequence[str]
) -> None:
    """Rows of classes (R, T) as colours, the one above first, with a legend of the classes."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    classes = max(int(rows.max()) + 1, len(names))
    colours = canvas.class_colours(classes)
    shown = np.ma.masked_less(rows, 0)
    axes.imshow(
        shown, cmap=ListedColormap(colours), vmin=-0.5, vmax=classes - 0.5, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    for line in range(1, len(rows)):
        axes.axhline(line - 0.5, color="white", linewidth=3)
    axes.set_yticks(range(len(rows)), words)
    for row, text in enumerate(right):
        axes.annotate(
            text, (1.005, row), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    labels = [names[k] if k < len(names) else str(k) for k in range(classes)]
    pairs = zip(colours, labels, strict=True)
    axes.legend(
        handles=[Patch(color=colour, label=label) for colour, label in pairs],
        loc="upper center", bbox_to_anchor=(0.5, -0.45), ncols=min(classes, 10), handlelength=1,
    )  # fmt: skip
