"""All figures and tables of a study by name, written to files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from snnbreg.analysis import (
    admm,
    autoencoder,
    bregman,
    canvas,
    confusion,
    curves,
    exports,
    methods,
    states,
    steps,
)
from snnbreg.analysis.delays import delays_table
from snnbreg.analysis.measures import measures
from snnbreg.analysis.pairs import paired_table
from snnbreg.analysis.settings import EPOCHS
from snnbreg.analysis.strategies import strategies_table
from snnbreg.analysis.studies import datasets, of_dataset
from snnbreg.analysis.study_tables import lambda_table, table1, table2
from snnbreg.analysis.tables import Table
from snnbreg.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn from runs.

    Attributes:
        draw: runs to a figure, a panel per data set; ValueError or OSError where they lack it.
        title: its heading.
        caption: how to read it.
    """

    draw: Callable[[Sequence[Run]], Figure]
    title: str
    caption: str


BANDS = "Lines: mean over runs; bands: one standard deviation; a wider line behind is an equal one."
BARS = "Points: mean and standard deviation over runs; dots: single runs; grey: dense baseline."

FIGURES = {
    "figure1": Picture(
        curves.figure1, "Figure 1. Validation loss, with schedule",
        f"Validation loss per epoch by λ. {BANDS}"),
    "figure2": Picture(
        curves.figure2, "Figure 2. Non-zero weights, with schedule",
        f"Non-zero entries of all weight matrices after each epoch by λ. {BANDS}"),
    "figure3": Picture(
        curves.figure3, "Figure 3. Best validation accuracy against λ, with schedule",
        f"Best epoch of each run. {BARS}"),
    "figure4": Picture(
        curves.figure4, "Figure 4. Validation loss, without schedule",
        f"As Figure 1 with a constant learning rate. {BANDS}"),
    "figure5": Picture(
        curves.figure5, "Figure 5. Best validation accuracy against λ, without schedule",
        f"As Figure 3 with a constant learning rate. {BARS}"),
    "accuracy_against_density": Picture(
        curves.accuracy_against_density, "Accuracy against density",
        "Test accuracy with whole delays and no spread, at the best checkpoint. A line joins the "
        "λ of one sweep; the λ chosen on the validation split is named. Bars: one standard "
        "deviation."),
    "accuracy_by_method": Picture(
        methods.accuracy_by_method, "Methods at equal density",
        "Deployed test accuracy against the number of non-zero weights, a line per method; dashed: "
        "dense networks of several sizes. Settings chosen on the validation split. Bars: one "
        "standard deviation over runs."),
    "accuracy_against_cost": Picture(
        exports.accuracy_against_cost, "Accuracy against bytes and operations",
        "Exported networks (snnbreg export), dense and sparse together: deployed test accuracy "
        "against the bytes of their tables, and against the weights that events meet in a test "
        "sample. A line joins the networks of a method with weights of the same form. Bars: one "
        "standard deviation over runs."),
    "bregman_figure2": Picture(
        bregman.figure2, "SGD, LinBreg and ProxSGD over λ",
        "As figure 2 of Bungert et al. 2021: validation score (the first tenth of the epochs may "
        f"lie outside), sum of the sizes of all weights, and non-zero weights by epoch. {BANDS}"),
    "bregman_figure3": Picture(
        bregman.figure3, "Methods at one λ: momentum and adaptive steps",
        "As figure 3 of Bungert et al. 2021: the methods at the λ that most of them share, dashed "
        "those that make no zeros; validation score (the first tenth of the epochs may lie "
        f"outside), sum of the sizes of all weights, and non-zero weights by epoch. {BANDS}"),
    "admm": Picture(
        admm.admm, "ADMM over its epochs",
        "What ADMM minimises; the largest root mean square over the layers of the membranes' "
        "residuals and, dashed, of the spikes'; accuracy of the simulated network on training "
        f"samples and, dashed, on validation samples. {BANDS}"),
    "autoencoder_neurons": Picture(
        autoencoder.neurons, "Active neurons per layer",
        "As figure 4 of Bungert et al. 2021: neurons with at least one incoming weight, by epoch "
        "and before and after training. Lines and bars: mean over runs; bands and ticks: one "
        "standard deviation."),
    "autoencoder_digits": Picture(
        autoencoder.digits, "Reconstructed test images",
        "As figure 5 of Bungert et al. 2021: what the network sees, in the grey values of the "
        "target; what it makes of it at its best checkpoint; what is right. The first test samples "
        "of one run."),
    "density_per_layer": Picture(
        states.density_per_layer, "Density per layer",
        "Share of non-zero weights of every matrix at the best checkpoint against λ; bars: one "
        "standard deviation over runs."),
    "firing_rates": Picture(
        curves.firing_rates, "Firing rates",
        f"Spikes per hidden neuron and step on the validation split. {BANDS}"),
    "firing_rates_per_layer": Picture(
        states.firing_rates_per_layer, "Firing rates per layer",
        "Spikes per neuron and step of every hidden layer on the validation split, at the "
        "best checkpoint against λ; bars: one standard deviation over runs."),
    "confusion": Picture(
        confusion.confusion, "Which classes are confused",
        "Of the test samples (or labelled steps) of a class (row) the share that is taken for each "
        "class (column), in per cent, as deployed: dense, and the least density within one point "
        "of it on the validation split, or the best sparse one. All runs of a group together."),
    "steps": Picture(
        steps.steps, "The class at every step",
        "One test recording: its events by channel, the class at each step (white: no label), and "
        "what the deployed networks of one seed take it for; right of them how many of the "
        "labelled steps are right."),
    "delay_histograms": Picture(
        states.delay_histograms, "Delays before and after training",
        "All delays of one network at its best checkpoint. Dashed: at the start; 'expected' where "
        "the run did not keep them: the distribution they were drawn from."),
    "dual_distances": Picture(
        states.dual_distances, "Distance of the dual variable to the threshold",
        "A weight is non-zero where its dual variable v exceeds λ in size. Left of the dotted "
        "line: how far the zero weights are from appearing. Last epoch, one run."),
    "connectivity": Picture(
        states.connectivity, "Connectivity",
        "The weight matrices of one network at its best checkpoint: white is zero, blue negative, "
        "orange positive; a column sends, a row receives."),
}  # fmt: skip
"""The figures in the order of a report."""


TABLES: dict[str, Callable[[Sequence[Run]], list[Table]]] = {
    "table2": lambda runs: [table2(runs, measure) for measure in measures(runs)],
    "paired": lambda runs: [paired_table(runs, dataset) for dataset in datasets(runs)],
    "methods": lambda runs: [methods.methods_table(runs, name) for name in datasets(runs)],
    "admm": lambda runs: [admm.admm_table(runs, name) for name in datasets(runs)],
    "delays": lambda runs: [delays_table(runs, name) for name in datasets(runs)],
    "strategies": lambda runs: [strategies_table(runs, name) for name in datasets(runs)],
    "bits": lambda runs: [exports.bits_table(runs, name) for name in datasets(runs)],
    "cost": lambda runs: [exports.cost_table(runs, name) for name in datasets(runs)],
    "table1": lambda runs: [table1(runs)],
    "lambda": lambda runs: [lambda_table(runs, dataset) for dataset in datasets(runs)],
}
"""The tables in the order of a report; those of ``paired``, ``methods``, ``admm``, ``delays``,
``strategies``, ``bits``, ``cost`` and ``lambda`` are one per data set."""


def tables(runs: Sequence[Run], names: Sequence[str] = tuple(TABLES)) -> list[Table]:
    """Tables without those that are empty.

    Args:
        runs: finished and other runs; only those that have ended count.
        names: of ``TABLES``.

    Raises:
        ValueError: there is no table of that name.
    """
    for name in names:
        if name not in TABLES:
            raise ValueError(f"There is no table {name!r}; choose from {', '.join(TABLES)}")
    found = [table for name in names for table in TABLES[name](runs) if table.rows]
    return [replace(table, notes=[*table.notes, *_cautions(table, runs)]) for table in found]


def _cautions(table: Table, runs: Sequence[Run]) -> list[str]:
    """What does not compare in a table: parts of the data, and lengths that no column tells."""
    cells = {cell for row in table.rows for cell in row if isinstance(cell, str)}
    said = []
    for name in datasets(runs):
        these = of_dataset(runs, name)
        if not these or not (name in cells or table.name.endswith(f"_{name}")):
            continue
        limit = these[0].settings.get("dataset.limit")
        if limit is not None:
            said.append(f"{name}: a trial, with dataset.limit={limit} samples per split at most; "
                        "it is compared with runs of the same limit alone.")  # fmt: skip
        epochs = sorted({run.settings.get(EPOCHS, 0) for run in these})
        told = any(column.name == "settings" for column in table.columns)
        if len(epochs) > 1 and not told and table.name != "table1":
            lengths = ", ".join(map(str, epochs))
            said.append(f"{name}: its runs were trained for {lengths} epochs, and rows may differ "
                        "in that.")  # fmt: skip
    return said


def draw(name: str, runs: Sequence[Run]) -> Figure | None:
    """One of ``FIGURES``; None, with a line in the log, where the runs do not have what it shows.

    Raises:
        ValueError: there is no figure of that name.
    """
    if name not in FIGURES:
        raise ValueError(f"There is no figure {name!r}; choose from {', '.join(FIGURES)}")
    try:
        return FIGURES[name].draw(runs)
    except (ValueError, KeyError, OSError) as error:
        log.warning("%s is left out: %s", name, error)
        return None


def write_figures(
    runs: Sequence[Run], folder: Path, names: Sequence[str] = tuple(FIGURES)
) -> dict[str, Figure]:
    """Write figures as ``NAME.svg`` and ``NAME.png``.

    Args:
        runs: finished and other runs; only those that have ended are drawn.
        folder: where to; it is made.
        names: of ``FIGURES``.

    Returns:
        Those that could be drawn, by name.
    """
    figures = {name: draw(name, runs) for name in names}
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in drawn.items():
        canvas.save(figure, folder, name)
    return drawn


def write_tables(runs: Sequence[Run], folder: Path) -> list[Table]:
    """Write all tables as ``NAME.md``, ``NAME.csv`` and ``NAME.tex``; returns them."""
    written = tables(runs)
    for table in written:
        table.save(folder)
    return written
