"""Learned delays beside controls: what stands where, at about as many parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snnbreg.analysis.groups import Group, group_runs
from snnbreg.analysis.measures import score_columns
from snnbreg.analysis.pairs import tested_difference
from snnbreg.analysis.studies import is_dense, of_dataset, selection_score
from snnbreg.analysis.study_tables import measures_of
from snnbreg.analysis.tables import Cell, Column, Table
from snnbreg.runs import ACCURACY, Run

WORDS = {
    "axonal": "learned, per neuron", "synaptic": "learned, per synapse", "common": "learned, one",
    "fixed": "fixed, per neuron", "none": "none",
}  # fmt: skip
OWN = ("learned, per neuron", "none", "")
FIGURES = (
    ("parameters", "count", "parameters"),
    ("validation, deployed", "score", "best_deployed_val_{measure}"),
    ("test", "score", "test_{measure}"),
    ("test, deployed", "score", "deployed_test_{measure}"),
    ("spikes per 100 neurons and steps", "percent", "deployed_firing_rate"),
    ("synops, deployed", "count", "deployed_synops"),
    ("seconds", "count", "seconds"),
)
NOTE = (
    "Dense runs, mean ± standard deviation at the chosen checkpoint. Difference: deployed test "
    "accuracy less that of the network whose recurrent delays are learned per neuron, with a 95 % "
    "interval over runs, paired by seed and fold, and samples. Seconds: training and validation."
)


def kind(run: Run) -> tuple[str, str, str] | None:
    """What a run has of recurrent delays, of feed-forward delays and of spike penalties.

    Returns:
        None for a run that is not dense, or whose network knows no delays.
    """
    settings = run.settings
    if "model.delays" not in settings or not is_dense(run) or settings.get("optim.sparsifier.name"):
        return None
    loops = _any(settings.get("model.recurrent", True))
    recurrent = WORDS.get(str(settings["model.delays"]), "?") if loops else "no recurrence"
    forward = WORDS.get(_first(settings.get("model.feedforward_delays", "none")), "?")
    penalties = ", ".join(
        f"{each['name']} {each['weight']:g}" for each in settings.get("trainer.penalties") or []
    )
    return recurrent, forward, penalties


def _any(value: Any) -> bool:
    return any(value) if isinstance(value, list) else bool(value)


def _first(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def delays_table(runs: Sequence[Run], dataset: str) -> Table:
    """Every kind of delays with its best settings; empty where there is only one kind."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in of_dataset(runs, dataset):
        what = kind(run)
        if what is not None:
            found.setdefault(what, []).append(run)
    best = {what: max(group_runs(members), key=selection_score) for what, members in found.items()}
    rows = [_row(what, group, best.get(OWN)) for what, group in best.items()]
    measure = next((group.runs[0].measure for group in best.values()), ACCURACY)
    columns = [Column("recurrent delays"), Column("feed-forward delays"), Column("penalty"),
               Column("neurons"), Column("runs", "count"), *score_columns(FIGURES, measure),
               Column("difference", "points")]  # fmt: skip
    return Table(
        f"delays_{dataset}", f"Learned delays and controls on {dataset}", columns,
        rows if len(rows) > 1 else [], [NOTE],
    ).without_empty()  # fmt: skip


def _row(what: tuple[str, str, str], group: Group, own: Group | None) -> list[Cell]:
    hidden = "-".join(str(size) for size in group.runs[0].settings.get("model.hidden", []))
    difference = tested_difference(group, own) if own is not None and own is not group else None
    return [*what, hidden, len(group.runs), *measures_of(group, FIGURES), difference]
