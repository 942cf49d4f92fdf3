"""Learned delays beside controls: what stands where, at about as many parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnbreg.analysis.groups import Group
from snnbreg.analysis.measures import SPIKES, score_columns
from snnbreg.analysis.pairs import tested_difference
from snnbreg.analysis.studies import best_of, is_dense, neurons, of_dataset
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
    (f"{SPIKES}, deployed", "rate", "deployed_firing_rate"),
    ("synops, deployed", "count", "deployed_synops"),
    ("seconds", "count", "seconds"),
)
NOTE = (
    "Dense runs, mean ± standard deviation at the chosen checkpoint. Difference: deployed test "
    "accuracy less that of the network whose recurrent delays are learned per neuron, with a 95 % "
    "interval over runs, paired by seed and fold, and samples. Seconds: training and validation."
)


def _compared(run: Run) -> bool:
    """Whether a run is dense and its network may have delays."""
    dense = is_dense(run) and not run.settings.get("optim.sparsifier.name")
    return dense and "model.delays" in run.settings


def kind(run: Run) -> tuple[str, str, str]:
    """What a run has of recurrent delays, of feed-forward delays and of spike penalties."""
    settings = run.settings
    loops = np.any(settings.get("model.recurrent", True))  # one value, or one per layer
    recurrent = WORDS.get(str(settings["model.delays"]), "?") if loops else "no recurrence"
    forward = WORDS.get(_first(settings.get("model.feedforward_delays", "none")), "?")
    penalties = ", ".join(
        f"{each['name']} {each['weight']:g}" for each in settings.get("trainer.penalties") or []
    )
    return recurrent, forward, penalties


def _first(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def delays_table(runs: Sequence[Run], dataset: str) -> Table:
    """Every kind of delays with its best settings; empty where there is only one kind."""
    best = best_of(filter(_compared, of_dataset(runs, dataset)), kind)
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
    difference = tested_difference(group, own) if own is not None and own is not group else None
    return [
        *what,
        neurons(group.runs[0]),
        len(group.runs),
        *measures_of(group, FIGURES),
        difference,
    ]
