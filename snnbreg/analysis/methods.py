"""Methods beside each other at equal density: Bregman learning, its rivals, small dense networks.

A method is an optimizer with its sparsifier, trained for a number of epochs. Of its runs that aim
at the same density (or, dense, have the same neurons) the settings with the best mean validation
score stand for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snnbreg.analysis import canvas
from snnbreg.analysis.groups import Group, group_runs, largest
from snnbreg.analysis.measures import score_columns
from snnbreg.analysis.pairs import tested_difference
from snnbreg.analysis.settings import settings_column
from snnbreg.analysis.studies import by_dataset, is_dense, neurons, of_dataset, selection_score
from snnbreg.analysis.study_tables import measures_of, optimizer_name
from snnbreg.analysis.tables import Cell, Column, Interval, Measure, Table
from snnbreg.runs import ACCURACY, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPARSIFIERS = {
    "gmp": "GMP", "magnitude": "one-shot pruning", "iterative": "iterative pruning", "set": "SET",
    "rigl": "RigL", "deepr": "DEEP R", "lasso": "Lasso", "str": "STR", "debias": "debiased",
}  # fmt: skip
SAID = ("optim.sparsifier.name", "optim.sparsifier.density", "model.hidden", "scheduler.lam")
"""Settings that a point's method and goal say."""
DENSE = "dense"
OURS = "AdaBreg"


@dataclass(frozen=True)
class Point:
    """A method at one density.

    Attributes:
        kind: the method as a paper writes it.
        method: the same, with the number of epochs where its runs differ in it.
        goal: what it was told: a density, lambda, or the neurons of a dense network.
        group: the runs with the settings that were chosen, seeds and folds.
        tried: how many settings there were to choose from.
    """

    kind: str
    method: str
    goal: str
    group: Group
    tried: int

    @property
    def share(self) -> float | None:
        """The density that was asked for, where one was."""
        return _asked(self.group.runs[0])


def method_name(run: Run) -> str:
    """The optimizer and its sparsifier.

    A run whose optimizer makes no zeros and has no sparsifier is dense, whatever its size.
    """
    sparsifier = run.settings.get("optim.sparsifier.name")
    if sparsifier is not None:
        return f"{optimizer_name(run)}, {SPARSIFIERS.get(str(sparsifier), sparsifier)}"
    return DENSE if is_dense(run) else optimizer_name(run)


def _asked(run: Run) -> float | None:
    for key in ("optim.sparsifier.density", "scheduler.lam.density"):
        if run.settings.get(key) is not None:
            return float(run.settings[key])
    return None


def goal(run: Run) -> str:
    """What a run was told, in words: a density, the neurons of a dense network, or lambda."""
    asked = _asked(run)
    if asked is not None:
        return f"{100 * asked:g} %"
    if is_dense(run):
        return f"{neurons(run)} neurons"
    return run.lam_words


def method_names(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """Every run with its method, and the epochs where the method's runs differ in them."""
    lengths: dict[str, set[Any]] = {}
    for run in runs:
        lengths.setdefault(method_name(run), set()).add(run.settings.get("trainer.epochs"))
    return [
        (run, f"{name}, {run.settings.get('trainer.epochs')} epochs" if several else name)
        for run in runs
        for name in [method_name(run)]
        for several in [len(lengths[name]) > 1]
    ]


def points(runs: Sequence[Run], dataset: str) -> list[Point]:
    """Every method of a data set at every density, by method and then by density.

    Returns:
        Nothing where there is a single method, or where no run was asked for a density.
    """
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run, name in method_names(of_dataset(runs, dataset)):
        found.setdefault((method_name(run), name, goal(run)), []).append(run)
    chosen = []
    for key, members in found.items():
        groups = group_runs(members)
        chosen.append(Point(*key, max(groups, key=selection_score), len(groups)))
    order = {name: place for place, name in enumerate(dict.fromkeys(p.method for p in chosen))}
    if len(order) < 2 or all(point.share is None for point in chosen):
        return []
    return sorted(chosen, key=lambda p: (order[p.method], p.group.mean("nonzero")))


FIGURES = (
    ("validation, deployed", "score", "best_deployed_val_{measure}"),
    ("test, deployed", "score", "deployed_test_{measure}"),
    ("density", "percent", "density"),
    ("non-zero", "count", "nonzero"),
    ("parameters", "count", "parameters"),
    ("synops, deployed", "count", "deployed_synops"),
    ("seconds", "count", "seconds"),
)
NOTES = (
    "Mean ± standard deviation over runs. Of each method and density the settings with the best "
    "mean validation score; 'tried': from how many. Seconds: training and validation, on "
    "machines that may differ.",
    f"Difference to {OURS}: the row's deployed test accuracy less that of {OURS} at the same asked "
    "density (a small dense network: at the nearest number of non-zero weights), with a 95 % "
    "interval: runs, paired by seed and fold, and samples are drawn anew (pigeonhole bootstrap).",
)


def methods_table(runs: Sequence[Run], dataset: str) -> Table:
    """All methods of a data set at all densities; empty where there is nothing to compare."""
    found = points(runs, dataset)
    words = settings_column([run for point in found for run in point.group.runs], SAID)
    rows: list[list[Cell]] = []
    for point in found:
        run, measures = point.group.runs[0], measures_of(point.group, FIGURES)
        start: list[Cell] = [
            point.method, point.goal, words(run), len(point.group.runs), point.tried,
        ]  # fmt: skip
        rows.append([*start, *measures, _difference(point, found)])
    measure = found[0].group.runs[0].measure if found else ACCURACY
    columns = [Column("method"), Column("goal"), Column("settings"), Column("runs", "count"),
               Column("tried", "count"), *score_columns(FIGURES, measure),
               Column(f"difference to {OURS}", "points")]  # fmt: skip
    return Table(
        f"methods_{dataset}", f"Methods at equal density on {dataset}", columns, rows, list(NOTES)
    ).without_empty()


def _difference(point: Point, found: Sequence[Point]) -> Interval | None:
    """The accuracy of a point less that of our method at the same density."""
    ours = [p for p in found if p.kind == OURS and point.kind != OURS]
    same = [p for p in ours if p.share is not None and p.share == point.share]
    if point.kind == DENSE and ours:
        size = math.log(point.group.mean("nonzero"))
        same = [min(ours, key=lambda p: abs(math.log(p.group.mean("nonzero")) - size))]
    differences = (tested_difference(point.group, other.group) for other in same)
    return next((difference for difference in differences if difference is not None), None)


@canvas.styled
def accuracy_by_method(runs: Sequence[Run]) -> Figure:
    """Deployed test accuracy against non-zero weights: a line per method.

    Raises:
        ValueError: there is nothing to compare.
    """
    missing = "There are no two methods on one data set, asked for densities"
    found = by_dataset(runs, points, missing)
    figure, all_axes = canvas.panels(len(found), (5.6, 4.2))
    for axes, (name, these) in zip(all_axes, found.items(), strict=True):
        for place, method in enumerate(dict.fromkeys(p.method for p in these)):
            _line(axes, [p for p in these if p.method == method], method, place)
        canvas.log_counts(axes, "non-zero weights")
        canvas.score_axis(axes, "deployed test", these[0].group.runs[0].measure)
        members = largest(p.group for p in these).members
        axes.set_title(f"{name} · {members}", loc="left")
        axes.legend(**canvas.BESIDE)
    return figure


def _line(axes: Axes, these: Sequence[Point], method: str, place: int) -> None:
    x, y, spread = [], [], []
    for point in these:
        accuracy = Measure.of(point.group, "deployed_test_{measure}")
        if accuracy is not None:
            x.append(point.group.mean("nonzero"))
            y.append(accuracy.mean)
            spread.append(accuracy.deviation or 0.0)
    again = place // len(canvas.OKABE_ITO)  # colours come again with other markers
    style: dict[str, Any] = {
        "color": canvas.OKABE_ITO[place % len(canvas.OKABE_ITO)],
        "marker": canvas.MARKERS[(place + 3 * again) % len(canvas.MARKERS)],
        "markerfacecolor": "white" if again else None,
        "linestyle": "--" if these[0].kind == DENSE else ":" if again else "-",
        "linewidth": 2.2 if these[0].kind == OURS else 1.2,
    }
    axes.errorbar(x, y, yerr=spread, markersize=5, elinewidth=0.8, label=method, **style)
