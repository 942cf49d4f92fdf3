"""The study's tables: networks (Table 1), test accuracy (Table 2) and every lambda."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from snnbreg.analysis.groups import Group, group_runs
from snnbreg.analysis.measures import SPIKES, Figure, measure_name, score_columns
from snnbreg.analysis.settings import EPOCHS, settings_column
from snnbreg.analysis.studies import (
    Sweep,
    baseline,
    datasets,
    dense_groups,
    main_sweep,
    of_dataset,
    selection_score,
    sparsest_within,
    sweeps,
)
from snnbreg.analysis.tables import Cell, Column, Measure, Table
from snnbreg.runs import ACCURACY, Run, chosen_key

PAPER = {
    "shd": ("93.39", "92.98", "92.28"),
    "ssc": ("82.58", "81.86", "80.67"),
    "psmnist": ("96.21", "95.59", "95.11"),
}
"""Test accuracy in per cent, Windhager et al. 2026, Table 2: Adam, AdaBreg with schedule, without.
The row of Adam is quoted there from Queant et al. 2025."""

MEANS = (
    "Mean ± standard deviation over runs, at the chosen checkpoint (by default the one with the "
    "best validation score)."
)
FIGURES: tuple[Figure, ...] = (
    ("validation", "score", "best_val_{measure}"),
    ("test", "score", "test_{measure}"),
    ("test, deployed", "score", "deployed_test_{measure}"),
    ("density", "percent", "density"),
    ("non-zero", "count", "nonzero"),
)


def measures_of(group: Group, figures: Sequence[Figure] = FIGURES) -> list[Cell]:
    """The cells of a group: one for each figure."""
    return [Measure.of(group, key) for _, _, key in figures]


Shapes = dict[str, tuple[int, ...]]


def table1(runs: Sequence[Run]) -> Table:
    """The networks of the runs: neurons per layer (Table 1 of the paper)."""
    networks = []
    for dataset in datasets(runs):
        for group in group_runs(of_dataset(runs, dataset), by=["model.hidden", "model.recurrent"]):
            run = group.runs[0]
            try:
                networks.append((dataset, weight_shapes(run), run.summary["parameters"]))
            except (OSError, ValueError, KeyError):
                continue
    return network_table(networks)


def network_table(networks: Sequence[tuple[str, Shapes, int]]) -> Table:
    """Neurons per layer; † marks recurrent layers.

    Args:
        networks: data set, shapes (receivers, senders, ...) of the weights by parameter name,
            number of parameters.

    Example:
        >>> shapes = {"layers.0.linear.weight": (5, 7), "readout.linear.weight": (2, 5)}
        >>> network_table([("shd", shapes, 52)]).rows
        [['shd', 7, '5', 2, 45, 52]]
    """
    rows: list[list[Cell]] = []
    for dataset, shapes, parameters in networks:
        # of a network that is not ours, every matrix or convolution is a layer
        layers = [name for name in shapes if name.endswith("linear.weight")] or list(shapes)
        recurrent = [
            name.endswith("linear.weight") and name.replace("linear", "neuron") in shapes
            for name in layers
        ]
        hidden = ", ".join(
            f"{shapes[name][0]}{'†' if loop else ''}"
            for name, loop in zip(layers[:-1], recurrent, strict=False)
        )
        weights = sum(math.prod(shape) for shape in shapes.values())
        ends = shapes[layers[0]][1], shapes[layers[-1]][0]
        rows.append([dataset, ends[0], hidden, ends[1], weights, parameters])
    counts = ("outputs", "weights", "parameters")
    columns = [
        Column("data set"),
        Column("inputs", "count"),
        Column("hidden layers"),
        *(Column(name, "count") for name in counts),
    ]
    notes = ["† recurrent layer, with learned delays unless its data set's model has none."]
    return Table("table1", "Neurons per layer of the networks", columns, rows, notes)


def weight_shapes(run: Run) -> Shapes:
    """Shapes (receivers, senders, ...) of the weights in the best checkpoint, by name."""
    network = run.checkpoint()["network"]
    counted = [name[len("nonzero/") :] for name in run.history if name.startswith("nonzero/")]
    return {name: tuple(network[name].shape) for name in counted}


def table2(runs: Sequence[Run], measure: str = ACCURACY) -> Table:
    """Test accuracy beside the re-run dense baseline (Table 2 of the paper).

    Lambda is chosen by mean validation accuracy; test accuracy and density are those of the
    checkpoints with the best validation accuracy.

    Args:
        runs: any runs; those that are scored by another measure do not count.
        measure: in place of accuracy.
    """
    runs = [run for run in runs if run.measure == measure]
    rows: list[list[Cell]] = []
    reasons = []
    for dataset in datasets(runs):
        words = settings_column(of_dataset(runs, dataset))
        paper = PAPER.get(dataset, (None, None, None))
        for scheduled in (True, False):
            groups = [g for g in dense_groups(runs, dataset) if _scheduled(g) == scheduled]
            if groups:
                best = max(groups, key=selection_score)
                rows.append(_row(dataset, best, None, words, paper[0] if scheduled else None))
        for scheduled, quoted in ((True, paper[1]), (False, paper[2])):
            sweep = main_sweep(runs, dataset, scheduled)
            if sweep is not None:
                lam = sweep.chosen()
                rows.append(_row(dataset, sweep.groups[lam], lam, words, quoted))
                reasons.append(f"{dataset}, {sweep.scheduler}: {why(runs, sweep)}.")
        sparse = sparsest_within(runs, dataset)
        if sparse is not None:
            row = _row(dataset, sparse, float(sparse.runs[0].settings["optim.lam"]), words, None)
            row[1] = f"{row[1]}, sparsest*"
            rows.append(row)
    columns = [Column("data set"), Column("method"), Column("schedule"), Column("λ", "number"),
               Column("settings"), Column("runs", "count"), *score_columns(FIGURES, measure),
               Column("paper", "text")]  # fmt: skip
    name = "table2" if measure == ACCURACY else f"table2_{measure}"
    notes = [f"{MEANS} Deployed: whole delays, no spread. Of several dense settings the one with "
             "the best mean validation score is shown."]  # fmt: skip
    if measure == ACCURACY:
        if PAPER.keys() & set(datasets(runs)):
            notes[0] += " Paper: test accuracy in %, where quoted."
        notes.append("* the least density whose deployed validation accuracy is within one point "
                     "of the best dense one's, as long trained if there is one.")  # fmt: skip
    notes += reasons
    return Table(
        name, f"Test {measure_name(measure)} and density, λ chosen on the validation split",
        columns, rows, notes,
    ).without_empty()  # fmt: skip


NAMES = {"adabreg": "AdaBreg", "linbreg": "LinBreg", "adam": "Adam", "adamw": "AdamW",
         "sgd": "SGD", "proxsgd": "ProxSGD", "proxadam": "ProxAdam", "admm": "ADMM"}  # fmt: skip


def optimizer_name(run: Run) -> str:
    """The optimizer as a paper writes it."""
    name = str(run.settings.get("optim.name", "?"))
    return NAMES.get(name, name)


def _scheduled(group: Group) -> bool:
    return group.runs[0].scheduler != "none"


def why(runs: Sequence[Run], sweep: Sweep) -> str:
    """Why a sweep's lambda is shown: what it was ranked by, over how many runs, and the next.

    Args:
        runs: the sweep is the largest of theirs.
        sweep: the one that is shown.
    """
    lam, first = sweep.chosen(), sweep.groups[sweep.chosen()]
    others = {value: group for value, group in sweep.groups.items() if value not in (0, lam)}
    text = f"{optimizer_name(sweep.first)} is shown at {first.runs[0].lam_words}"
    count = sum(other.scheduled == sweep.scheduled for other in sweeps(runs, sweep.dataset))
    if count > 1:
        text += f", from the largest of {count} sweeps (most values of λ, then most runs)"
    if not others:
        return f"{text}, the only one there ({first.members})"
    value = max(others, key=lambda value: selection_score(others[value]))
    key = chosen_key(sweep.first.summary)
    best, next_best = (_mean(group, key) for group in (first, others[value]))
    what = "deployed validation" if "deployed" in key else "validation"
    equal = selection_score(first) == selection_score(others[value])
    tie = " (equal, so the sparser one counts)" if equal else ""
    return (
        f"{text}: of {len(others) + 1} values of λ it has the best mean {what} "
        f"{measure_name(sweep.first.measure)}, {best} over {first.members}; next is λ = {value:g} "
        f"with {next_best} over {others[value].members}{tie}"
    )


def _mean(group: Group, key: str) -> str:
    mean = group.mean(key)
    return f"{100 * mean:.2f} %" if group.runs[0].measure == ACCURACY else f"{mean:.4g}"


def _row(
    dataset: str,
    group: Group,
    lam: float | None,
    words: Callable[[Run], str],
    quoted: str | None,
) -> list[Cell]:
    run = group.runs[0]
    return [
        dataset,
        optimizer_name(run),
        run.scheduler,
        lam,
        words(run),
        len(group.runs),
        *measures_of(group),
        quoted,
    ]


LAMBDA_FIGURES: tuple[Figure, ...] = (
    *FIGURES,
    ("density of all", "percent", "all_density"),
    ("last validation", "score", "last/val_{measure}"),
    ("last density", "percent", "last/density"),
    (SPIKES, "rate", "firing_rate"),
    ("synops", "count", "synops"),
    (f"{SPIKES}, deployed", "rate", "deployed_firing_rate"),
    ("synops, deployed", "count", "deployed_synops"),
)


def lambda_table(runs: Sequence[Run], dataset: str) -> Table:
    """Every group of runs on a data set: the baselines, then each sweep by lambda."""
    rows: list[list[Cell]] = []
    words = settings_column(of_dataset(runs, dataset))
    for group in dense_groups(runs, dataset):
        rows.append(_lambda_row(group, None, words))
    for sweep in sweeps(runs, dataset):
        for lam, group in sweep.groups.items():
            rows.append(_lambda_row(group, lam, words))
    measure = next((run.measure for run in of_dataset(runs, dataset)), ACCURACY)
    columns = [Column("λ", "number"), Column("method"), Column("schedule"), Column("settings"),
               Column("runs", "count"), *score_columns(LAMBDA_FIGURES, measure),
               Column("diverged", "count")]  # fmt: skip
    return Table(
        f"lambda_{dataset}", f"All groups of runs on {dataset}", columns, rows,
        [f"{MEANS} 'last': in the last epoch. Density counts weight matrices, 'of all' every "
         "parameter. Spikes: of the hidden layers; synops: per sample; both of the published "
         "evaluation unless said."],
    ).without_empty()  # fmt: skip


def _lambda_row(group: Group, lam: float | None, words: Callable[[Run], str]) -> list[Cell]:
    run = group.runs[0]
    diverged = sum(r.status == "diverged" for r in group.runs)
    start: list[Cell] = [lam, optimizer_name(run), run.scheduler, words(run), len(group.runs)]
    return [*start, *measures_of(group, LAMBDA_FIGURES), diverged or None]


def summary_sentence(runs: Sequence[Run]) -> str:
    """What the study found, one sentence per data set."""
    sentences = []
    for dataset in datasets(runs):
        found = [
            s for s in (main_sweep(runs, dataset, True), main_sweep(runs, dataset, False)) if s
        ]
        if not found:
            continue
        sweep = max(found, key=lambda s: selection_score(s.groups[s.chosen()]))
        group, dense = sweep.groups[sweep.chosen()], baseline(runs, sweep.first, any_schedule=True)
        text = (
            f"On {dataset}, {optimizer_name(sweep.first)} at {group.runs[0].lam_words} keeps "
            f"{_percent(group, 'density')} of the weights and {_scored(group)}"
        )
        if dense is not None:
            text += f"; dense {optimizer_name(dense.runs[0])} {_scored(dense, 'reaches')}"
            lengths = [run.settings.get(EPOCHS) for run in (dense.runs[0], sweep.first)]
            if lengths[0] != lengths[1]:
                text += f", trained for {lengths[0]} epochs instead of {lengths[1]}"
        sentences.append(f"{text}. {why(runs, sweep)}.")
    return " ".join(sentences)


def _scored(group: Group, verb: str = "") -> str:
    """What a group does on the test split; short where a verb takes its place."""
    measure = group.runs[0].measure
    if measure != ACCURACY:
        found = Measure.of(group, f"test_{measure}")
        value = "an unknown" if found is None else f"{found.mean:.4g}"
        return f"has {value} {measure_name(measure)} on the test samples ({group.members})"
    share, deployed = (_percent(group, f"{key}_acc") for key in ("test", "deployed_test"))
    correct = f"{verb} {share}" if verb else f"classifies {share} of the test recordings correctly"
    return f"{correct} ({deployed} as deployed; {group.members})"


def _percent(group: Group, key: str) -> str:
    measure = Measure.of(group, key)
    if measure is None:
        return "an unknown share"
    spread = (
        f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{100 * measure.deviation:.1f}"
        if measure.deviation is not None
        else ""
    )
    return f"{100 * measure.mean:.1f}{spread}\N{NO-BREAK SPACE}%"
