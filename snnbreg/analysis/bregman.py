"""Figures 2 and 3 of Bungert et al. 2021 (arXiv 2105.04319): what methods do while they train.

A method is an optimizer, without a sparsifier. Of its runs with the same lambda the settings with
the best mean validation score stand for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnbreg.analysis import canvas
from snnbreg.analysis.curves import band
from snnbreg.analysis.groups import Group, largest
from snnbreg.analysis.studies import best_of, by_dataset, is_dense, of_dataset, selection_score
from snnbreg.analysis.study_tables import optimizer_name
from snnbreg.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

PLAIN = ("SGD", "LinBreg", "ProxSGD")
ORDER = ("SGD", "Adam", "LinBreg", "LinBreg, momentum", "AdaBreg", "ProxSGD", "ProxAdam")
WITHOUT_LAM = {"LinBreg": "SGD", "ProxSGD": "SGD", "AdaBreg": "Adam", "ProxAdam": "Adam"}
PANEL = (4.5, 2.5)
MOST = len(canvas.OKABE_ITO)
"""Most lines of a panel, one for each colour."""


@dataclass(frozen=True)
class Line:
    """One method at one lambda.

    Attributes:
        method: as a paper writes it.
        lam: its lambda in words, empty where nothing makes zeros.
        group: the runs, which differ in their seeds and folds.
    """

    method: str
    lam: str
    group: Group

    @property
    def label(self) -> str:
        """For the legend."""
        return ", ".join(filter(None, (self.method, self.lam)))

    @property
    def size(self) -> float:
        """Lambda where it is a number, to sort by."""
        return float(self.group.runs[0].settings.get("optim.lam") or 0.0)


def trained_by(run: Run) -> str:
    """The method of a run; with lambda 0 LinBreg and ProxSGD are SGD, AdaBreg is Adam."""
    method = optimizer_name(run)
    if not lam_of(run):
        method = WITHOUT_LAM.get(method, method)
    return f"{method}, momentum" if run.settings.get("optim.momentum") else method


def lam_of(run: Run) -> str:
    """Lambda in words, empty where it is zero throughout or there is none."""
    if is_dense(run) or not (run.settings["optim.lam"] or run.lam_course):
        return ""
    return run.lam_words


def lines(runs: Sequence[Run], dataset: str) -> list[Line]:
    """Every method at every lambda on a data set, by method, then by lambda.

    Runs without an l1 norm in their metrics do not count.
    """
    measured = [
        run
        for run in of_dataset(runs, dataset)
        if "l1" in run.history and "optim.sparsifier.name" not in run.settings
    ]
    found = best_of(measured, lambda run: (trained_by(run), lam_of(run)))
    best = [Line(method, lam, group) for (method, lam), group in found.items()]
    order = {name: place for place, name in enumerate(ORDER)}
    return sorted(best, key=lambda x: (order.get(x.method, len(order)), x.method, x.size))


def plain(found: Sequence[Line]) -> list[Line]:
    """SGD, LinBreg and ProxSGD at every lambda; nothing where there is not one of the latter two.

    Where there are more lines than colours, those with the best validation scores.
    """
    kept = [line for line in found if line.method in PLAIN]
    if len(kept) < 2 or not any(line.lam for line in kept):
        return []
    for line in sorted(kept, key=lambda x: selection_score(x.group), reverse=True)[MOST:]:
        log.warning("%s is left out: there are %d lines at most", line.label, MOST)
        kept.remove(line)
    return kept


def accelerated(found: Sequence[Line]) -> list[Line]:
    """The methods at the lambda that most of them share, and those that make no zeros.

    Nothing where no two share one. Of lambdas with equally many the one with the best score.
    """
    shared: dict[str, list[Line]] = {}
    for line in found:
        shared.setdefault(line.lam, []).append(line)
    dense = shared.pop("", [])

    def merit(these: Sequence[Line]) -> tuple[int, float]:
        return len(these), max(selection_score(line.group) for line in these)

    chosen = max(shared.values(), key=merit, default=[])
    return [*dense, *chosen][:MOST] if len(chosen) > 1 else []


@canvas.styled
def figure2(runs: Sequence[Run]) -> Figure:
    """SGD, LinBreg and ProxSGD over lambda: score, l1 norm and non-zero weights by epoch.

    Raises:
        ValueError: there is no LinBreg or ProxSGD run beside another, with its l1 norm.
    """
    return _training(runs, plain, "There is no LinBreg or ProxSGD beside another, with l1 norms")


@canvas.styled
def figure3(runs: Sequence[Run]) -> Figure:
    """The same of methods at one lambda: what momentum and adaptive steps change.

    Raises:
        ValueError: no two methods share a lambda, with their l1 norms.
    """
    return _training(runs, accelerated, "No two methods share a lambda, with l1 norms")


def _training(
    runs: Sequence[Run], choose: Callable[[Sequence[Line]], list[Line]], missing: str
) -> Figure:
    """Three panels below each other for every data set, so that they are legible on a phone."""
    found = by_dataset(runs, lambda runs, name: choose(lines(runs, name)), missing)
    figure, all_axes = canvas.grid(3, len(found), PANEL)
    for column, (name, these) in enumerate(found.items()):
        score, norm, density = all_axes[column :: len(found)]
        measure = these[0].group.runs[0].measure
        for axes, key in ((score, f"val_{measure}"), (norm, "l1"), (density, "density")):
            for place, line in enumerate(these):
                band(axes, line.group, key, line.label, **_style(line, place, len(these)))
            canvas.epoch_axis(axes)
        canvas.score_axis(score, "validation", measure)
        _leave_out_start(score, these[0].group.runs[0].higher_is_better)
        norm.set_ylabel("l1 norm of the weights")
        density.set_ylabel("non-zero weights (%)")
        canvas.percent(density.yaxis)
        for axes in (norm, density):
            canvas.log_where_wide(axes)
        for axes in (score, norm):
            axes.set_xlabel("")
        members = largest(x.group for x in these).members
        score.set_title(f"{name} · {members}", loc="left")
        density.legend(loc="upper left", bbox_to_anchor=(-0.15, -0.24), ncols=2)
    return figure


def _style(line: Line, place: int, count: int) -> dict[str, Any]:
    dashes = "--" if not line.lam else "-." if line.method.startswith("Prox") else "-"
    width = 2.6 - 1.4 * place / max(count - 1, 1)  # equal lines show as stripes
    return {
        "colour": canvas.OKABE_ITO[place],
        "linestyle": dashes,
        "linewidth": width,
    }


def _leave_out_start(axes: Axes, higher_is_better: bool) -> None:
    """Give the room to what all methods do after the first tenth of the epochs."""
    values = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    values = [y[np.isfinite(y)] for y in values if np.isfinite(y).any()]
    if not values:
        return
    best, worst = (1.0, 0.1) if higher_is_better else (0.0, 0.9)
    ends = [np.quantile(y, share) for y in values for share in (best, worst)]
    low, high = float(min(ends)), float(max(ends))
    if high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
