"""Figures of what the networks became: density per layer, delays, dual variables, connectivity.

They look into checkpoints: parameters are named ``LAYER.linear.weight``, ``LAYER.neuron.weight``,
``LAYER.neuron.delay``, and a Bregman optimizer keeps ``dual`` and ``rule`` per weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snnbreg.analysis import canvas
from snnbreg.analysis.curves import lambda_axis, main_sweeps, title
from snnbreg.analysis.groups import Group, mean_and_deviation
from snnbreg.analysis.measures import SPIKES
from snnbreg.analysis.studies import Sweep
from snnbreg.analysis.study_tables import weight_shapes
from snnbreg.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 2  # most pictures side by side


def layer_name(parameter: str) -> str:
    """A layer or its weight matrix in words.

    Example:
        >>> [layer_name(f"layers.{rest}") for rest in ("0", "1.neuron.weight", "2.weight")]
        ['layer 1', 'layer 2, recurrent', 'layer 3']
    """
    parts = parameter.split(".")
    if parts[0] == "layers" and parts[1].isdigit():
        kinds = {"linear": "input", "neuron": "recurrent", "weight": ""}
        kind = [kinds.get(part, part) for part in parts[2:3]]
        return ", ".join(filter(None, [f"layer {int(parts[1]) + 1}", *kind]))
    return parts[0]


def example(sweep: Sweep) -> Run:
    """The run whose inside is shown: the chosen lambda's first seed."""
    return sweep.groups[sweep.chosen()].runs[0]


def _words(run: Run) -> str:
    words = f"{run.settings['dataset.name']} · {run.lam_words} · seed {run.seed}"
    return f"{words} · fold {run.fold}" if run.fold else words


@canvas.styled
def density_per_layer(runs: Sequence[Run]) -> Figure:
    """Density of every weight matrix at the best checkpoint, against lambda.

    Raises:
        ValueError: there is no finished sweep with a checkpoint.
        FileNotFoundError: the checkpoint with the sizes of the layers is missing.
    """
    found = main_sweeps(runs, None)
    shapes = [weight_shapes(sweep.first) for sweep in found]
    sizes = [{f"nonzero/{name}": math.prod(s) for name, s in these.items()} for these in shapes]
    figure = _per_layer(found, sizes, "density (% of the weights)")
    for axes in figure.axes:
        canvas.percent(axes.yaxis)
        axes.set_ylim(0, 1.03)
    return figure


@canvas.styled
def firing_rates_per_layer(runs: Sequence[Run]) -> Figure:
    """Spikes per neuron and step of every layer at the best checkpoint, against lambda.

    Raises:
        ValueError: there is no finished sweep that counted spikes by layer.
    """
    sweeps = [(sweep, _columns(sweep, "firing_rate/")) for sweep in main_sweeps(runs, None)]
    sweeps = [(sweep, columns) for sweep, columns in sweeps if columns]
    if not sweeps:
        raise ValueError("No run has firing_rate/LAYER in its metrics")
    found, sizes = zip(*sweeps, strict=True)
    figure = _per_layer(found, sizes, SPIKES)
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    return figure


def _columns(sweep: Sweep, start: str) -> dict[str, int]:
    """The columns of its runs' metrics that start so, of size 1; older runs have fewer."""
    runs = [run for group in sweep.groups.values() for run in group.runs]
    return {column: 1 for run in runs for column in run.history if column.startswith(start)}


def _per_layer(sweeps: Sequence[Sweep], sizes: Sequence[Mapping[str, int]], label: str) -> Figure:
    """A panel per sweep, a line per column of the metrics, each divided by its size."""
    figure, all_axes = canvas.panels(len(sweeps))
    for axes, sweep, columns in zip(all_axes, sweeps, sizes, strict=True):
        lams = list(sweep.groups)
        for i, (column, size) in enumerate(columns.items()):
            values = [_at_best(group, column, size) for group in sweep.groups.values()]
            pairs = [mean_and_deviation(v) if v else (math.nan, None) for v in values]
            axes.errorbar(
                lams, [mean for mean, _ in pairs], yerr=[d or 0.0 for _, d in pairs],
                label=layer_name(column.partition("/")[2]), color=canvas.OKABE_ITO[i % 8],
                capsize=2, marker=canvas.MARKERS[i % 8], markersize=4.5, linewidth=1.2,
            )  # fmt: skip
        lambda_axis(axes, sweep, lams)
        axes.set_ylabel(label)
        title(axes, sweep)
        axes.legend(**canvas.BESIDE)
    return figure


def _at_best(group: Group, column: str, size: int) -> list[float]:
    found = []
    for run in group.runs:
        epochs, values = run.history.get("epoch", []), run.history.get(column)
        best = run.summary.get("best_epoch")
        if values and best in epochs and math.isfinite(value := values[epochs.index(best)]):
            found.append(value / size)
    return found


@canvas.styled
def delay_histograms(runs: Sequence[Run]) -> Figure:
    """Delays before and after training, all layers together.

    Before: ``checkpoints/initial.pt`` where the run kept it, else the distribution that the
    config draws them from (a dashed line). After: the best checkpoint, as it trained (real-valued).

    Raises:
        ValueError: no sweep, or networks without delays.
        FileNotFoundError: the checkpoint is missing.
    """
    found = [(sweep, example(sweep)) for sweep in main_sweeps(runs, None)]
    states = [(run, delays(run.checkpoint()["network"])) for _, run in found]
    states = [(run, after) for run, after in states if len(after)]
    if not states:
        raise ValueError("The networks have no delays")
    figure, all_axes = canvas.panels(len(states))
    for axes, (run, after) in zip(all_axes, states, strict=True):
        low, high = math.floor(min(0.0, float(after.min()))), math.ceil(_longest(run, after))
        width = max(1, round((high - low) / 30))  # whole steps
        bins = [float(edge) for edge in range(low, high + width, width)]
        before = initial_delays(run)
        if before is not None:
            axes.hist(
                before, bins, histtype="step", color=canvas.INK, linestyle="--", label="before"
            )
        else:
            expected = len(after) * np.diff(cumulative(run, np.array(bins)))
            axes.stairs(expected, bins, color=canvas.INK, linestyle="--", label="before (expected)")
        axes.hist(after, bins, color=canvas.OKABE_ITO[0], alpha=0.75, label="after")
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("delay (steps)")
        axes.set_ylabel("delays")
        axes.set_title(_words(run), loc="left")
        axes.legend(loc="best")
    return figure


def delays(network: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """All delays of a network's state, steps, in one row."""
    found = [v.double().flatten() for name, v in network.items() if name.endswith(".delay")]
    return torch.cat(found).numpy() if found else np.empty(0)


def initial_delays(run: Run) -> np.ndarray[Any, Any] | None:
    """The delays before training, None where the run did not keep them."""
    try:
        return delays(run.checkpoint("initial")["network"])
    except (OSError, ValueError, KeyError):
        return None


def cumulative(run: Run, delay: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Share of the delays that the run's config draws below each of the given ones.

    ``half_normal``: P(d) = erf(d / (sqrt(2) delay_scale)); ``uniform``: linear in delay_range.
    """
    model = run.config["model"]
    if model.get("delay_init", "half_normal") == "uniform":
        low, high = model["delay_range"]
        return np.clip((delay - low) / (high - low), 0.0, 1.0)
    scaled = np.maximum(delay, 0.0) / (math.sqrt(2) * model["delay_scale"])
    return np.array([math.erf(x) for x in scaled])


def _longest(run: Run, after: np.ndarray[Any, Any]) -> float:
    model = run.config["model"]
    uniform = model.get("delay_init") == "uniform"
    start = model["delay_range"][1] if uniform else 3.0 * model["delay_scale"]
    return max(float(after.max()), float(start))


@canvas.styled
def dual_distances(runs: Sequence[Run]) -> Figure:
    """How far the dual variables are from the threshold: |v| - lambda of the last epoch.

    Zero weights are left of zero (lambda away at most), the others right of it.

    Raises:
        ValueError: no sweep, or none with a dual variable per weight.
        FileNotFoundError: the checkpoint is missing.
    """
    found = []
    for sweep in main_sweeps(runs, None):
        run = example(sweep)
        distances = duals(run.checkpoint("last"))
        if distances:
            found.append((run, distances))
    if not found:
        raise ValueError("No run has a dual variable per weight (an l1 regulariser with λ > 0)")
    figure, all_axes = canvas.panels(len(found))
    for axes, (run, distances) in zip(all_axes, found, strict=True):
        both = np.concatenate(list(distances.values()))
        low, high = float(both.min()), float(np.quantile(both, 0.999))
        low = max(low, -3.0 * high) if high > 0 else low
        bins = [float(edge) for edge in np.linspace(low, high, 61)]
        for i, (name, values) in enumerate(distances.items()):
            kept = np.clip(values, low, high)
            axes.hist(
                kept, bins, histtype="step", color=canvas.OKABE_ITO[i % 8], linewidth=1.3,
                label=layer_name(name), weights=np.full(len(kept), 1.0 / len(kept)),
            )  # fmt: skip
        axes.axvline(0.0, color=canvas.INK, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.set_xlabel("|v| - λ   (left of 0: zero weights)")
        axes.set_ylabel("share of the matrix")
        axes.set_title(_words(run), loc="left")
        axes.legend(**canvas.BESIDE)
    return figure


def duals(checkpoint: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """``|v| - lambda`` per weight matrix with an l1 regulariser, by parameter name."""
    distances = {}
    for optimizer in checkpoint["optimizers"].values():
        for group in optimizer["param_groups"]:
            names = group.get("param_names", group["params"])
            for name, key in zip(names, group["params"], strict=True):
                state = optimizer["state"].get(key, {})
                if state.get("rule", ("",))[0] == "l1":
                    v = state["dual"] + state.get("drift", 0)  # a sum in older runs
                    distances[str(name)] = (v.abs() - state["rule"][1]).flatten().numpy()
    return distances


@canvas.styled
def connectivity(runs: Sequence[Run]) -> Figure:
    """The weight matrices of the best checkpoint as pictures: blue negative, orange positive.

    One data set: the first of the runs'. Rows receive, columns send.

    Raises:
        ValueError: there is no sweep.
        FileNotFoundError: the checkpoint is missing.
    """
    sweep = main_sweeps(runs, None)[0]
    run = example(sweep)
    names = list(weight_shapes(run))
    network = run.checkpoint()["network"]
    rows = math.ceil(len(names) / COLUMNS)
    figure, grid = canvas.grid(rows, COLUMNS, (2.3, 2.45))
    for axes, name in zip(grid, names, strict=False):
        weight = network[name].float().flatten(1).numpy()  # of a convolution: its kernels in a row
        limit = float(np.quantile(np.abs(weight[weight != 0]), 0.98)) if weight.any() else 1.0
        axes.imshow(
            weight, cmap=canvas.signs(), vmin=-limit, vmax=limit, interpolation="nearest",
            aspect="auto",
        )  # fmt: skip
        density = np.count_nonzero(weight) / weight.size
        axes.set_title(f"{layer_name(name)}\n{density:.1%} of {weight.size:,}", fontsize=9)
        axes.grid(False)
        axes.tick_params(labelsize=7.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.suptitle(_words(run), fontsize=10.5)
    figure.supxlabel("sender", fontsize=9.5)
    figure.supylabel("receiver", fontsize=9.5)
    return figure
