"""Tables 1 to 3 of Bungert et al. 2021 (arXiv 2105.04319): what methods keep; accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from snnbreg.analysis.bregman import lam_of, trained_by
from snnbreg.analysis.measures import Figure, score_columns
from snnbreg.analysis.methods import SPARSIFIERS
from snnbreg.analysis.studies import best_of, of_dataset
from snnbreg.analysis.study_tables import measures_of
from snnbreg.analysis.tables import Cell, Column, Table
from snnbreg.runs import ACCURACY, Run

FIGURES: tuple[Figure, ...] = (
    ("weights", "percent", "best/density"),
    ("of matrices", "percent", "best/linear"),
    ("kernels", "percent", "best/kernels"),
    ("test", "score", "test_{measure}"),
    ("training", "score", "best/train_{measure}"),
    ("validation", "score", "best_val_{measure}"),
)
NOTES = (
    "Mean ± standard deviation over runs, at the chosen checkpoint. Non-zero weights / all, of all "
    "matrices and convolutions and of the matrices alone; kernels of convolutions with a non-zero "
    "weight / all kernels. Training: mean over the epoch, while the weights move.",
)


def strategy_name(run: Run) -> str:
    """The optimizer, as its lambda makes it, and its sparsifier.

    What debiases from the last step on is a threshold after training.
    """
    name, sparsifier = trained_by(run), run.settings.get("optim.sparsifier.name")
    if sparsifier is None:
        return name
    if sparsifier == "debias" and run.settings.get("optim.sparsifier.begin") == 1:
        return f"{name} + threshold"
    return f"{name}, {SPARSIFIERS.get(str(sparsifier), sparsifier)}"


def strategies_table(runs: Sequence[Run], dataset: str) -> Table:
    """Every method at every lambda and density, with the settings that validate best.

    Networks with spikes are left out: their runs have tables that know delays. Empty where a
    single method is left.
    """
    measured = [
        run
        for run in of_dataset(runs, dataset)
        if "l1" in run.history and run.figure("firing_rate") is None
    ]

    def kind(run: Run) -> tuple[str, str, float | None]:
        return strategy_name(run), lam_of(run), run.settings.get("optim.sparsifier.density")

    rows: list[list[Cell]] = []
    for (name, lam, asked), group in best_of(measured, kind).items():
        goal = lam if asked is None else f"{100 * asked:g} %"
        rows.append([name, goal, len(group.runs), *measures_of(group, FIGURES)])
    if len({row[0] for row in rows}) < 2:
        rows = []
    measure = next((run.measure for run in of_dataset(runs, dataset)), ACCURACY)
    columns = [Column("method"), Column("goal"), Column("runs", "count"),
               *score_columns(FIGURES, measure)]  # fmt: skip
    return Table(
        f"strategies_{dataset}", f"What methods keep of networks without spikes on {dataset}",
        columns, rows, list(NOTES),
    ).without_empty()  # fmt: skip
