"""What runs are scored by: names, units and directions of accuracy and other measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snnbreg.analysis.tables import Column
from snnbreg.runs import ACCURACY, Run

NAMES = {ACCURACY: "accuracy", "mse": "mean squared error"}

SPIKES = "spikes per neuron and step"
"""A firing rate, by the unit of all firing rates, a fraction: its axis and its column."""

Figure = tuple[str, str, str]
"""A column of a table: its name, its unit (or ``score``) and the key of its figure."""


def measure_name(measure: str) -> str:
    """A measure in words, itself where it has none."""
    return NAMES.get(measure, measure)


def measures(runs: Iterable[Run]) -> list[str]:
    """The measures of the runs that have ended, accuracy first."""
    names = {run.measure for run in runs if run.ended}
    return sorted(names, key=lambda name: (name != ACCURACY, name))


def score_columns(figures: Sequence[Figure], measure: str) -> list[Column]:
    """Columns of figures; those of the unit ``score`` in the unit of the measure.

    Example:
        >>> [c.heading for c in score_columns([("test", "score", "test_{measure}")], "acc")]
        ['test (%)']
        >>> [c.heading for c in score_columns([("test", "score", "test_{measure}")], "mse")]
        ['test, mse']
    """
    return [_column(name, unit, measure) for name, unit, _ in figures]


def _column(name: str, unit: str, measure: str) -> Column:
    if unit != "score":
        return Column(name, unit)
    return (
        Column(name, "percent") if measure == ACCURACY else Column(f"{name}, {measure}", "number")
    )
