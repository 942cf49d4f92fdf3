"""Figures of curves: the paper's figures 1 to 5, firing rates, accuracy against density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from snnbreg.analysis import canvas
from snnbreg.analysis.groups import Group, largest, mean_and_deviation
from snnbreg.analysis.measures import SPIKES
from snnbreg.analysis.settings import EPOCHS
from snnbreg.analysis.studies import (
    POINT,
    Sweep,
    baseline,
    by_dataset,
    datasets,
    dense_groups,
    main_sweep,
    sweeps,
)
from snnbreg.analysis.study_tables import optimizer_name
from snnbreg.runs import ACCURACY, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def main_sweeps(runs: Sequence[Run], scheduled: bool | None) -> list[Sweep]:
    """One sweep per data set; ``scheduled=None`` prefers the one with a schedule.

    Raises:
        ValueError: there is none.
    """
    wanted = [True, False] if scheduled is None else [scheduled]
    found = [
        next((s for w in wanted if (s := main_sweep(runs, name, w)) is not None), None)
        for name in datasets(runs)
    ]
    kept = [sweep for sweep in found if sweep is not None]
    if not kept:
        kind = {None: "", True: " with a schedule", False: " without schedule (scheduler=none)"}
        raise ValueError(f"There is no finished run of a sweep over lambda{kind[scheduled]}")
    return kept


def title(axes: Axes, sweep: Sweep) -> None:
    """Data set, schedule and number of runs of a lambda above a panel."""
    schedule = sweep.scheduler if sweep.scheduled else "no schedule"
    members = largest(sweep.groups.values()).members
    axes.set_title(f"{sweep.dataset} · {schedule} · {members}", loc="left")


def lambda_axis(axes: Axes, sweep: Sweep, lams: Sequence[float]) -> None:
    """An x axis for lambda, which says how long the runs were trained."""
    canvas.lambda_axis(axes, lams)
    axes.set_xlabel(f"λ ({sweep.first.settings.get(EPOCHS, '?')} epochs)")


def by_epoch(
    runs: Sequence[Run], column: str, label: str, scheduled: bool | None
) -> tuple[Figure, list[Axes]]:
    """A column of the metrics against the epoch, a line per lambda, bands of one deviation.

    Raises:
        ValueError: there is no sweep with this column.
    """
    found = [s for s in main_sweeps(runs, scheduled) if column in s.first.history]
    if not found:
        raise ValueError(f"No run has {column} in its metrics")
    figure, all_axes = canvas.panels(len(found))
    for axes, sweep in zip(all_axes, found, strict=True):
        colours = canvas.lambda_colours(list(sweep.groups))
        for i, (lam, group) in enumerate(sweep.groups.items()):
            width = 3.0 - 1.8 * i / max(len(sweep.groups) - 1, 1)  # equal lines show as stripes
            band(axes, group, column, f"{lam:g}", colours[lam], linewidth=width)
        dense = baseline(runs, sweep.first)
        if dense is not None:
            name = optimizer_name(dense.runs[0])
            band(axes, dense, column, name, canvas.BASELINE, linestyle="--")
        canvas.epoch_axis(axes)
        axes.set_ylabel(label)
        title(axes, sweep)
        axes.legend(title="λ", **canvas.BESIDE)
    return figure, all_axes


def band(axes: Axes, group: Group, column: str, label: str, colour: Any, **line: Any) -> None:
    """A group's mean as a line and one standard deviation on both sides as a band."""
    line_with_band(axes, *group.curve(column), label, colour, **line)


def line_with_band(
    axes: Axes,
    epochs: Sequence[float],
    means: Sequence[float],
    deviations: Sequence[float],
    label: str,
    colour: Any,
    **line: Any,
) -> None:
    """Means as a line, and one standard deviation on both sides as a band."""
    axes.plot(epochs, means, label=label, color=colour, **line)
    low = [m - d for m, d in zip(means, deviations, strict=True)]
    high = [m + d for m, d in zip(means, deviations, strict=True)]
    axes.fill_between(epochs, low, high, color=colour, alpha=0.07, linewidth=0)


def _loss(runs: Sequence[Run], scheduled: bool) -> Figure:
    figure, all_axes = by_epoch(runs, "val_loss", "validation loss", scheduled)
    for axes in all_axes:
        values = [v for line in axes.lines for v in np.asarray(line.get_ydata(), float) if v > 0]
        if values and max(values) > 8 * min(values):
            axes.set_yscale("log")
    return figure


@canvas.styled
def figure1(runs: Sequence[Run]) -> Figure:
    """Validation loss per epoch by lambda, with a learning-rate schedule."""
    return _loss(runs, True)


@canvas.styled
def figure2(runs: Sequence[Run]) -> Figure:
    """Non-zero weights per epoch by lambda, with a schedule."""
    figure, all_axes = by_epoch(runs, "nonzero", "non-zero weights", True)
    for axes in all_axes:
        axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
        canvas.thousands(axes.yaxis)
    return figure


@canvas.styled
def figure3(runs: Sequence[Run]) -> Figure:
    """Best validation accuracy against lambda, with a schedule."""
    return by_lambda(runs, True)


@canvas.styled
def figure4(runs: Sequence[Run]) -> Figure:
    """Validation loss per epoch by lambda, without schedule."""
    return _loss(runs, False)


@canvas.styled
def figure5(runs: Sequence[Run]) -> Figure:
    """Best validation accuracy against lambda, without schedule."""
    return by_lambda(runs, False)


@canvas.styled
def firing_rates(runs: Sequence[Run]) -> Figure:
    """Spikes per neuron and step on the validation split, per epoch by lambda."""
    figure, all_axes = by_epoch(runs, "firing_rate", SPIKES, None)
    for axes in all_axes:
        axes.set_ylim(bottom=0)
    return figure


def by_lambda(runs: Sequence[Run], scheduled: bool) -> Figure:
    """Best validation score against lambda: mean, deviation and every run."""
    found = main_sweeps(runs, scheduled)
    figure, all_axes = canvas.panels(len(found))
    for axes, sweep in zip(all_axes, found, strict=True):
        colour = canvas.OKABE_ITO[0]
        points = [
            (lam, *_summary(group, "best_val_{measure}")) for lam, group in sweep.groups.items()
        ]
        points = [point for point in points if math.isfinite(point[1])]
        lams, means, deviations = (list(column) for column in zip(*points, strict=True))
        for lam, group in sweep.groups.items():
            single = group.values("best_val_{measure}")
            axes.scatter([lam] * len(single), single, s=14, color=colour, alpha=0.35, linewidth=0)
        axes.errorbar(
            lams, means, yerr=deviations, color=colour, marker="o", markersize=5, capsize=2.5,
            linewidth=1.5, label=optimizer_name(sweep.first),
        )  # fmt: skip
        dense_line(axes, runs, sweep, "best_val_{measure}")
        lambda_axis(axes, sweep, lams)
        canvas.score_axis(axes, "best validation", sweep.first.measure)
        title(axes, sweep)
        axes.legend(loc="best")
    return figure


def dense_line(
    axes: Axes, runs: Sequence[Run], sweep: Sweep, key: str, any_schedule: bool = False
) -> float | None:
    """The dense baseline as a horizontal line with a band; returns its mean."""
    dense = baseline(runs, sweep.first, any_schedule)
    if dense is None or not dense.values(key):
        return None
    mean, deviation = _summary(dense, key)
    axes.axhline(
        mean, color=canvas.BASELINE, linestyle="--", label=f"{optimizer_name(dense.runs[0])}, dense"
    )
    axes.axhspan(mean - deviation, mean + deviation, color=canvas.BASELINE, alpha=0.08, linewidth=0)
    return mean


def _summary(group: Group, key: str) -> tuple[float, float]:
    values = group.values(key)
    if not values:
        return math.nan, 0.0
    mean, deviation = mean_and_deviation(values)
    return mean, deviation or 0.0


@canvas.styled
def accuracy_against_density(runs: Sequence[Run]) -> Figure:
    """Deployed test accuracy against density: each sweep a line, the dense baseline, a point below.

    The eight largest sweeps of a data set are drawn; the lambda chosen on validation is named.

    Raises:
        ValueError: there is no finished sweep.
    """
    found = by_dataset(runs, sweeps, "There is no finished run of a sweep over lambda")
    figure, all_axes = canvas.panels(len(found), (4.6, 4.0))
    for axes, (name, these) in zip(all_axes, found.items(), strict=True):
        for i, sweep in enumerate(these[: len(canvas.MARKERS)]):
            _trade_off(axes, sweep, canvas.OKABE_ITO[i], canvas.MARKERS[i])
        measure = these[0].first.measure
        mean = dense_line(axes, runs, these[0], "deployed_test_{measure}", any_schedule=True)
        if mean is not None and measure == ACCURACY:
            axes.axhline(
                mean - POINT,
                color=canvas.BASELINE,
                linestyle=":",
                linewidth=1,
                label="one point below",
            )
        axes.set_xscale("log")
        _density_ticks(axes)
        axes.set_xlabel("density (% of the weights, logarithmic)")
        canvas.score_axis(axes, "deployed test", measure)
        axes.set_title(
            f"{name} · {len(dense_groups(runs, name))} dense, {len(these)} sweeps", loc="left"
        )
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.14), ncols=2, borderaxespad=0.0)
    return figure


def _trade_off(axes: Axes, sweep: Sweep, colour: str, marker: str) -> None:
    points = []
    for group in sweep.groups.values():
        density, accuracy = _summary(group, "density"), _summary(group, "deployed_test_{measure}")
        if density[0] > 0 and math.isfinite(accuracy[0]):
            points.append((*density, *accuracy))
    if not points:
        return
    x, dx, y, dy = (list(column) for column in zip(*points, strict=True))
    schedule = sweep.scheduler if sweep.scheduled else "no schedule"
    label = f"{optimizer_name(sweep.first)}, {schedule}"
    if sweep.label:
        label += f"\n{sweep.label}"
    axes.errorbar(
        x, y, xerr=dx, yerr=dy, color=colour, marker=marker, markersize=5, linewidth=1.0,
        elinewidth=0.8, alpha=0.9, label=label,
    )  # fmt: skip
    chosen = sweep.groups[sweep.chosen()]
    axes.annotate(
        chosen.runs[0].lam_words, (chosen.mean("density"), chosen.mean("deployed_test_{measure}")),
        xytext=(7, -11), textcoords="offset points", color=colour, fontsize=8.5, zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
    )  # fmt: skip


def _density_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    if high < 2 * low:  # one density: room for ticks on both sides
        low, high = axes.set_xlim(low / 1.5, min(1.5 * high, 1.05))
    steps = [a * 10.0**b for b in range(-4, 1) for a in (1, 2, 5)]
    ticks = [t for t in steps if low <= t <= high]
    for step in (0.05, 0.02, 0.01):
        if len(ticks) < 3:
            ticks = [step * i for i in range(1, 101) if low <= step * i <= high]
    if len(ticks) > 7:
        ticks = ticks[::2]
    axes.set_xticks(ticks, [f"{100 * t:g}" for t in ticks])
    axes.minorticks_off()
