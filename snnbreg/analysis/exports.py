"""Exported networks beside their runs: accuracy at few bits, and what it costs.

``snnbreg export`` leaves exports below the folders of runs. Each is read as one more run of the
same config, with the settings ``export.bits`` and ``export.finetune`` and figures of its own:
``bytes``, ``operations``, ...
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from snnbreg.analysis import canvas
from snnbreg.analysis.groups import Group, group_runs, mean_and_deviation
from snnbreg.analysis.methods import goal, method_names
from snnbreg.analysis.pairs import paired_difference
from snnbreg.analysis.studies import by_dataset, of_dataset
from snnbreg.analysis.tables import Cell, Column, Interval, Measure, Table
from snnbreg.runs import ACCURACY, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

REPORT, COST = "export.json", "cost.json"
FLOATS = 32


@dataclass(frozen=True)
class Exported:
    """One kind of export of runs that differ in seed and fold only.

    Attributes:
        method: as a paper writes it.
        goal: what the runs were told: a density, lambda, or the neurons of a dense network.
        bits: of a weight; 32 are floats.
        finetune: epochs of training with rounded weights.
        group: the exports, as runs.
        trained: the runs they were made of.
    """

    method: str
    goal: str
    bits: int
    finetune: int
    group: Group
    trained: Group

    @property
    def form(self) -> str:
        """The numbers in words."""
        name = "floats" if self.bits == FLOATS else f"{self.bits} bits"
        return f"{name}, {self.finetune} epochs" if self.finetune else name


def exports_of(run: Run) -> list[Run]:
    """The exports below a run's folder, as runs; one that is damaged is named in the log."""
    found = []
    for path in sorted(run.path.rglob(REPORT)):
        try:
            found.append(_read(path, run))
        except (OSError, ValueError, KeyError, TypeError) as error:
            name = f"{type(error).__name__}: {error}"
            log.warning("Left out: %s is no export, or damaged (%s)", path.parent, name)
    return found


def _read(path: Path, run: Run) -> Run:
    report, cost = (json.loads((path.parent / name).read_text()) for name in (REPORT, COST))
    size, bench = cost["bytes"], cost["neurobench"]
    operations = bench["SynapticOperations"]
    figures = {
        "deployed_test_acc": report["acc"]["test"],
        "best_deployed_val_acc": report["acc"]["valid"],
        "nonzero": report["nonzero"],
        "bytes": size["tables"],
        "memory": size["memory"],
        "dense_bytes": size["dense_float32"],
        "operations": cost["operations"]["mean"],
        "operations_deviation": cost["operations"]["deviation"],
        "input_counts": cost["events"]["input_counts"],
        "spikes": sum(cost["events"]["spikes_by_layer"]),
        **{key: value for key, value in bench.items() if key != "SynapticOperations"},
        **operations,
    }
    kind = {key: report["made_of"][key] for key in ("bits", "finetune")}
    return replace(
        run, path=path.parent, config={**run.config, "export": kind}, history={},
        summary={"status": run.status, "measure": run.measure, **figures},
    )  # fmt: skip


def exported(runs: Iterable[Run], dataset: str) -> list[Exported]:
    """All kinds of exports of a data set: by method, goal, bits (more first), fine-tuning."""
    found = []
    ended = [run for run in of_dataset(runs, dataset) if run.measure == ACCURACY]
    names = {run.path: name for run, name in method_names(ended)}
    for trained in group_runs(ended):
        first = trained.runs[0]
        members = [export for run in trained.runs for export in exports_of(run)]
        for group in group_runs(members, by=["export.bits", "export.finetune"]):
            kind = group.settings["export.bits"], group.settings["export.finetune"]
            found.append(Exported(names[first.path], goal(first), *kind, group, trained))
    return sorted(found, key=lambda e: (e.method, e.goal, -e.bits, e.finetune))


BITS_NOTES = (
    "Mean ± standard deviation over runs; the trained networks' own figures are those of their "
    "deployed evaluation. Difference: the export's test accuracy less that of its trained network "
    "in floats, on the same samples, in points, with a 95 % interval: runs and samples are drawn "
    "anew (pigeonhole bootstrap, 10,000 resamples).",
    "Bytes: weights, indices, delays, biases and thresholds; smaller: dense float32 bytes of the "
    "same network / these. Operations: weights that events meet, per test sample.",
)


def bits_table(runs: Sequence[Run], dataset: str) -> Table:
    """Accuracy, bytes and operations of every kind of export; empty where there is none."""
    rows: list[list[Cell]] = []
    for entry in exported(runs, dataset):
        group = entry.group
        rows.append([
            entry.method, entry.goal, entry.form, len(group.runs),
            Measure.of(group, "best_deployed_val_acc"), Measure.of(group, "deployed_test_acc"),
            _difference(entry), group.mean("bytes"),
            group.mean("dense_bytes") / group.mean("bytes"), Measure.of(group, "operations"),
        ])  # fmt: skip
    columns = [
        Column("method"), Column("goal"), Column("weights"), Column("runs", "count"),
        Column("validation", "percent"), Column("test", "percent"),
        Column("difference to floats", "points"), Column("bytes", "count"),
        Column("smaller", "number"), Column("operations", "count"),
    ]  # fmt: skip
    return Table(f"bits_{dataset}", f"Exported networks of {dataset}", columns, rows, BITS_NOTES)


def _difference(entry: Exported) -> Interval | None:
    try:
        found = paired_difference(entry.group, entry.trained, splits=("test",))
    except ValueError as error:
        log.warning("A comparison is left out: %s", error)
        return None
    return Interval(found.difference, found.low, found.high)


COSTS = (
    "bytes", "memory", "Footprint", "ParameterCount", "ConnectionSparsity", "ActivationSparsity",
    "Dense", "Effective_MACs", "Effective_ACs", "MembraneUpdates", "operations",
    "operations_deviation", "input_counts", "spikes",
)  # fmt: skip
COST_NOTES = (
    "Means over runs, per test sample. Bytes: of the compressed tables; memory: membranes, "
    "currents and what waits to arrive. From Footprint to MembraneUpdates NeuroBench's names and "
    "definitions (version 2.3), Dense to Effective_ACs its SynapticOperations; Footprint is that "
    "of the dense trained network in floats. Operations_deviation: over the samples.",
)


def cost_table(runs: Sequence[Run], dataset: str) -> Table:
    """NeuroBench's figures and those it leaves out; empty where there is no export."""
    rows: list[list[Cell]] = [
        [e.method, e.goal, e.form, *(e.group.mean(key) for key in COSTS)]
        for e in exported(runs, dataset)
    ]
    shares = {"ConnectionSparsity", "ActivationSparsity"}
    names = [Column(key, "number" if key in shares else "count") for key in COSTS]
    columns = [Column("method"), Column("goal"), Column("weights"), *names]
    title = f"What the exported networks of {dataset} cost"
    return Table(f"cost_{dataset}", title, columns, rows, COST_NOTES)


@canvas.styled
def accuracy_against_cost(runs: Sequence[Run]) -> Figure:
    """Test accuracy against bytes and against operations: a colour per method, a mark per bits.

    Raises:
        ValueError: no run has an export.
    """
    missing = "No run has an export below its folder (snnbreg export FOLDER --out DIR)"
    found = by_dataset(runs, exported, missing)
    figure, all_axes = canvas.grid(len(found), 2, (4.6, 4.0))
    for i, (name, these) in enumerate(found.items()):
        bytes_, operations = all_axes[2 * i : 2 * i + 2]
        for axes, key, label in (
            (bytes_, "bytes", "bytes of weights, indices, delays, biases"),
            (operations, "operations", "operations per sample"),
        ):
            _lines(axes, these, key)
            canvas.log_counts(axes, label)
            canvas.score_axis(axes, "deployed test", ACCURACY)
            axes.set_title(f"{name} · {these[0].group.members}", loc="left")
        operations.legend(**canvas.BESIDE)
    return figure


def _lines(axes: Axes, these: Sequence[Exported], key: str) -> None:
    """A line joins the networks of a method with the same numbers, by cost."""
    methods = list(dict.fromkeys(entry.method for entry in these))
    forms = list(dict.fromkeys(e.form for e in sorted(these, key=lambda e: (e.finetune, -e.bits))))
    colour = dict(zip(methods, itertools.cycle(canvas.OKABE_ITO), strict=False))
    marker = dict(zip(forms, itertools.cycle(canvas.MARKERS), strict=False))
    for method, form in dict.fromkeys((entry.method, entry.form) for entry in these):
        groups = [e.group for e in these if (e.method, e.form) == (method, form)]
        groups.sort(key=lambda group: group.mean(key))
        curve = [mean_and_deviation(group.values("deployed_test_acc")) for group in groups]
        axes.errorbar(
            [group.mean(key) for group in groups], [mean for mean, _ in curve],
            yerr=[deviation or 0.0 for _, deviation in curve], color=colour[method],
            marker=marker[form], markersize=5, linewidth=1.0, elinewidth=0.8,
        )  # fmt: skip
    for method in methods:
        axes.plot([], [], color=colour[method], label=method)
    for form in forms:
        axes.plot([], [], color=canvas.INK, marker=marker[form], linestyle="", label=form)
