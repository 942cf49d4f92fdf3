"""ADMM (Perin et al. 2025, arXiv 2505.05527) beside gradients: by the number of hidden layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from snnbreg.analysis import canvas
from snnbreg.analysis.curves import band
from snnbreg.analysis.groups import Group, largest
from snnbreg.analysis.studies import best_of, by_dataset, neurons, of_dataset
from snnbreg.analysis.study_tables import measures_of, optimizer_name
from snnbreg.analysis.tables import Cell, Column, Table
from snnbreg.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ADMM = "admm"
FIGURES = (
    ("training", "percent", "best/train_{measure}"),
    ("validation", "percent", "best_val_{measure}"),
    ("test", "percent", "test_{measure}"),
    ("density", "percent", "density"),
    ("epochs", "count", "epochs"),
    ("seconds", "count", "seconds"),
)
NOTE = (
    "Mean ± standard deviation over runs, each at its chosen checkpoint. Training: of ADMM "
    "the simulated network, of gradient steps the mean over the epoch's batches. Seconds: training "
    "and validation."
)


def by_network(runs: Sequence[Run], dataset: str) -> dict[tuple[str, str], Group]:
    """ADMM and the other methods by their hidden layers; nothing where there is no ADMM.

    Returns:
        (neurons such as "128-128", method) to the settings with the best validation score.
    """
    found = best_of(of_dataset(runs, dataset), lambda run: (neurons(run), optimizer_name(run)))
    sizes = {hidden for (hidden, _), group in found.items() if _is_admm(group.runs[0])}
    ordered = sorted(found.items(), key=lambda pair: (len(pair[0][0]), *pair[0]))
    return {key: group for key, group in ordered if key[0] in sizes}


def _is_admm(run: Run) -> bool:
    return run.settings.get("optim.name") == ADMM


def admm_table(runs: Sequence[Run], dataset: str) -> Table:
    """ADMM beside the other methods on the same networks; empty where there is no ADMM."""
    found = by_network(runs, dataset)
    rows: list[list[Cell]] = [
        [hidden, method, len(group.runs), *measures_of(group, FIGURES)]
        for (hidden, method), group in found.items()
    ]
    columns = [Column("hidden neurons"), Column("method"), Column("runs", "count"),
               *(Column(name, unit) for name, unit, _ in FIGURES)]  # fmt: skip
    return Table(f"admm_{dataset}", f"ADMM beside gradients on {dataset}", columns, rows, [NOTE])


@canvas.styled
def admm(runs: Sequence[Run]) -> Figure:
    """Objective, residuals and accuracy by epoch, a line per number of hidden layers.

    Raises:
        ValueError: there is no ADMM run.
    """
    found = by_dataset(runs, _of_admm, "There is no run of ADMM")
    figure, all_axes = canvas.grid(3, len(found), (4.5, 2.5))
    for column, (name, groups) in enumerate(found.items()):
        objective, residuals, score = all_axes[column :: len(found)]
        measure = next(iter(groups.values())).runs[0].measure
        for place, (hidden, group) in enumerate(groups.items()):
            colour = canvas.OKABE_ITO[place]
            band(objective, group, "objective", hidden, colour)
            _residuals(residuals, group, hidden, colour)
            band(score, group, f"train_{measure}", f"{hidden}, training", colour)
            band(score, group, f"val_{measure}", f"{hidden}, validation", colour, linestyle="--")
        for axes, label in ((objective, "objective"), (residuals, "largest residual")):
            canvas.epoch_axis(axes)
            axes.set_xlabel("")
            axes.set_ylabel(label)
            canvas.log_where_wide(axes)
        canvas.epoch_axis(score)
        canvas.score_axis(score, "simulated", measure)
        members = largest(groups.values()).members
        objective.set_title(f"{name} · {members}", loc="left")
        score.legend(loc="upper left", bbox_to_anchor=(-0.15, -0.24), ncols=2)
    return figure


def _of_admm(runs: Sequence[Run], dataset: str) -> dict[str, Group]:
    found = by_network(runs, dataset)
    return {hidden: group for (hidden, _), group in found.items() if _is_admm(group.runs[0])}


def _residuals(axes: Axes, group: Group, label: str, colour: str) -> None:
    """The largest residual of membranes, and dashed of spikes, over the layers."""
    history = group.runs[0].history
    for kind, style in (("residual/", "-"), ("spike_residual/", "--")):
        curves = [group.curve(key) for key in history if key.startswith(kind)]
        heights = [max(values) for values in zip(*(means for _, means, _ in curves), strict=True)]
        axes.plot(curves[0][0], heights, color=colour, linestyle=style, label=label)
