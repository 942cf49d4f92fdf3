"""Figures 4 and 5 of Bungert et al. 2021 (arXiv 2105.04319): a network that shapes itself.

Neurons of layers by epoch, and what a reconstruction makes of some test samples.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snnbreg.analysis import canvas
from snnbreg.analysis.bregman import trained_by
from snnbreg.analysis.curves import line_with_band
from snnbreg.analysis.groups import Group, group_runs, mean_and_deviation
from snnbreg.analysis.measures import measure_name
from snnbreg.analysis.studies import datasets, of_dataset, selection_score
from snnbreg.runs import Array, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

ROWS = "rows/"
PANEL = (4.5, 2.7)
MOST = 3  # groups of a data set
WHOLE = 0.95
"""A network that ends with at least this share of its neurons did not shape itself."""
ACROSS = 8  # samples beside each other
KINDS = ("input", "output", "target")


@canvas.styled
def neurons(runs: Sequence[Run]) -> Figure:
    """Neurons with an incoming weight in every layer: by epoch, and before and after training.

    Networks without spikes alone, of two layers or more, which lack a share of their neurons at the
    end; the three best groups of a data set.

    Raises:
        ValueError: there is none.
    """
    found = [
        (name, group) for name in datasets(runs) for group in _shaped(of_dataset(runs, name))[:MOST]
    ]
    if not found:
        raise ValueError("No network without spikes has many neurons without weights (rows)")
    figure, all_axes = canvas.grid(2 * len(found), 1, PANEL)
    for i, (name, group) in enumerate(found):
        by_epoch, profile = all_axes[2 * i : 2 * i + 2]
        start = [before for run in group.runs if (before := initial_neurons(run))]
        _by_epoch(by_epoch, group, start)
        _profile(profile, group, start)
        by_epoch.set_title(f"{name} · {_words(group.runs[0])} · {group.members}", loc="left")
    return figure


def _words(run: Run) -> str:
    lam = run.lam_words if "optim.lam" in run.settings else ""
    return ", ".join(filter(None, (trained_by(run), lam)))


def layers(run: Run) -> list[str]:
    """Its columns of active neurons, the first layer's first."""
    return [column for column in run.history if column.startswith(ROWS)]


def _shaped(runs: Sequence[Run]) -> list[Group]:
    """Groups of networks in which neurons are missing, the best validation score first."""
    kept = [run for run in runs if len(layers(run)) > 1 and "firing_rate" not in run.history]
    shaped = [group for group in group_runs(kept) if group.mean("last/rows") < WHOLE]
    return sorted(shaped, key=selection_score, reverse=True)


def initial_neurons(run: Run) -> list[int]:
    """Active neurons per layer before training; empty where the run did not keep its start."""
    try:
        network = run.checkpoint("initial")["network"]
        weights = [network[column.removeprefix(ROWS)] for column in layers(run)]
    except (OSError, ValueError, KeyError):
        return []
    return [int((weight != 0).any(1).sum()) for weight in weights]


def _by_epoch(axes: Axes, group: Group, start: Sequence[Sequence[int]]) -> None:
    names = layers(group.runs[0])
    colours = canvas.lambda_colours(range(len(names)))
    for i, name in enumerate(names):
        epochs, means, deviations = group.curve(name)
        if start:
            mean, deviation = mean_and_deviation([float(counts[i]) for counts in start])
            epochs, means, deviations = (
                [0.0, *epochs],
                [mean, *means],
                [deviation or 0, *deviations],
            )
        line_with_band(axes, epochs, means, deviations, str(i + 1), colours[i])
    axes.set_ylim(bottom=0)
    canvas.epoch_axis(axes)
    axes.set_ylabel("active neurons")
    canvas.thousands(axes.yaxis)
    axes.legend(title="layer", **canvas.BESIDE)


def _profile(axes: Axes, group: Group, start: Sequence[Sequence[int]]) -> None:
    """Bars of the start (or the first epoch) and of the last epoch."""
    names = layers(group.runs[0])
    first, word = list(start), "start"
    if not first:
        first, word = [[int(run.history[n][0]) for n in names] for run in group.runs], "epoch 1"
    last = [[int(run.history[name][-1]) for name in names] for run in group.runs]
    for side, counts, label, colour in (
        (-0.2, first, word, canvas.OKABE_ITO[7]),
        (0.2, last, "end", canvas.OKABE_ITO[0]),
    ):
        pairs = [mean_and_deviation(list(map(float, own))) for own in zip(*counts, strict=True)]
        places = [i + 1 + side for i in range(len(names))]
        drawn = axes.bar(
            places, [mean for mean, _ in pairs], 0.4, color=colour, label=label,
            yerr=[deviation or 0.0 for _, deviation in pairs],
            error_kw={"elinewidth": 0.8, "ecolor": canvas.INK},
        )  # fmt: skip
        axes.bar_label(drawn, [f"{mean:,.0f}" for mean, _ in pairs], fontsize=7.5, padding=1)
    axes.margins(y=0.14)
    axes.set_xticks(range(1, len(names) + 1))
    axes.set_xlabel("layer, from the input to the output")
    axes.set_ylabel("active neurons")
    canvas.thousands(axes.yaxis)
    axes.legend(**canvas.BESIDE)


@canvas.styled
def digits(runs: Sequence[Run]) -> Figure:
    """Test samples as pictures: what the network sees, what it makes of it, what is right.

    Of every data set one run of the best group that kept images, at its best checkpoint.

    Raises:
        ValueError: no run kept images.
    """
    found: list[tuple[str, Run, dict[str, Array]]] = []
    for name in datasets(runs):
        groups = group_runs(run for run in of_dataset(runs, name) if _kept_images(run))
        for group in sorted(groups, key=selection_score, reverse=True)[:1]:
            found.append((name, group.runs[0], group.runs[0].predictions()))
    if not found:
        raise ValueError("No run kept images (test_targets in predictions.npz)")
    blocks = [
        (name, run, arrays, first)
        for name, run, arrays in found
        for first in range(0, len(arrays["test_targets"]), ACROSS)
    ]
    figure, all_axes = canvas.grid(len(blocks), 1, (5.2, 2.3))
    for axes, (name, run, arrays, first) in zip(all_axes, blocks, strict=True):
        picture, height = tiles(arrays, first)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_yticks([height * (i + 0.5) for i in range(len(KINDS))], KINDS)
        axes.set_xticks([])
        axes.grid(False)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(length=0)
        if first == 0:
            score = run.figure("deployed_test_{measure}")
            words = f"{name} · {_words(run)} · seed {run.seed}"
            words += f"\ntest {measure_name(run.measure)} {score:.3g}" if score is not None else ""
            axes.set_title(words, loc="left")
    return figure


def _kept_images(run: Run) -> bool:
    try:
        arrays = run.predictions()
        inputs, targets = (arrays[f"test_{name}"].shape for name in ("inputs", "targets"))
        return len(targets) == 4 and inputs == targets
    except (OSError, ValueError, KeyError):
        return False


def tiles(arrays: dict[str, Array], first: int) -> tuple[Array, int]:
    """One picture of samples beside each other: inputs above outputs above targets.

    Args:
        arrays: ``test_inputs``, ``test_outputs`` and ``test_targets``, (n, colours, H, W).
        first: number of the first sample.

    Returns:
        The picture in [0, 1] with white gaps of one pixel, (3 (H + 1), 8 (W + 1)) or
        (..., 3) of coloured images, and H + 1.
    """
    targets = arrays["test_targets"].astype(float)
    kinds = [as_pixels(arrays["test_inputs"].astype(float), targets),
             arrays["test_outputs"].astype(float), targets]  # fmt: skip
    rows = []
    for images in kinds:
        images = np.clip(images[first : first + ACROSS], 0.0, 1.0)
        gap = [(0, ACROSS - len(images)), (0, 0), (0, 1), (0, 1)]
        framed = np.pad(images, gap, constant_values=1.0)
        rows.append(np.concatenate(framed.transpose(0, 2, 3, 1), axis=1))
    picture = np.concatenate(rows)
    return picture[..., 0] if picture.shape[2] == 1 else picture, targets.shape[2] + 1


def as_pixels(inputs: Array, targets: Array) -> Array:
    """Inputs in the units of the targets, which undoes a normalisation: black is 0, white 1.

    Inputs are about ``a * targets + b`` with noise; a and b by least squares over all pixels. Where
    a is not positive, inputs are shown from their least to their largest value.
    """
    spread = targets - targets.mean()
    slope = float((spread * inputs).sum() / max((spread**2).sum(), 1e-12))
    black = inputs.mean() - slope * targets.mean()
    if slope <= 0:
        black, slope = inputs.min(), max(np.ptp(inputs), 1e-12)
    return (inputs - black) / slope
