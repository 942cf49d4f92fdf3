"""What a sweep ends with: a row for each of the settings it varies, over their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from snnbreg.analysis.commands import order
from snnbreg.analysis.groups import Group, group_runs, is_neutral, newest
from snnbreg.analysis.measures import Figure, measures, score_columns
from snnbreg.analysis.settings import settings_column
from snnbreg.analysis.study_tables import FIGURES, measures_of
from snnbreg.analysis.tables import Cell, Column, Table
from snnbreg.runs import Run, read_run

SHOWN: tuple[Figure, ...] = tuple(figure for figure in FIGURES if figure[0] != "non-zero")


def sweep_tables(folders: Sequence[Path]) -> list[Table]:
    """A table per measure: what varies, and the mean and deviation over seeds of what came out.

    Args:
        folders: of the sweep's jobs; those that have not ended are counted in a note alone.
    """
    runs = []
    for folder in folders:
        with suppress(OSError, ValueError):  # it failed before its first epoch
            runs.append(read_run(folder))
    runs = [run for run in runs if run.ended]
    left = len(folders) - len(runs)
    notes = [f"{left} of {len(folders)} jobs failed or were stopped: left out."] if left else []
    title = f"{len(folders)} jobs in {folders[0].parent}, mean ± standard deviation over seeds"
    typed: dict[str, set[str]] = {}
    for folder in folders:
        for key, value in _typed(folder).items():
            typed.setdefault(key, set()).add(value)
    varied = [key for key, values in typed.items() if len(values) > 1 and not is_neutral(key)]
    found = []
    for measure in measures(runs):
        groups = group_runs(newest(run for run in runs if run.measure == measure))
        columns = {key: [_value(group.runs[0], key) for group in groups]
                   for key in varied}  # fmt: skip
        if not columns and len(groups) > 1:
            first = [group.runs[0] for group in groups]
            columns = {"settings": list(map(settings_column(first), first))}
        rows = [
            [*cells, *_row(group)] for *cells, group in zip(*columns.values(), groups, strict=True)
        ]
        rows.sort(key=lambda row: [order(str(cell)) for cell in row[: len(columns)]])
        heads = [*map(Column, columns), Column("runs", "count"), *score_columns(SHOWN, measure)]
        table = Table("sweep", title, [*heads, Column("diverged", "count")], rows, notes)
        found.append(table.without_empty())
    return found


def _typed(folder: Path) -> dict[str, str]:
    """The options that a job's command line set; empty where it is unknown."""
    pairs = (option.partition("=") for option in Run(folder, {}, {}, {}).overrides)
    return {key.lstrip("+~"): value for key, _, value in pairs}


def _value(run: Run, key: str) -> str:
    """An option as the run's config has it; as it was typed, if that has no such single value."""
    found: Any = run.settings.get(key, run.settings.get(f"{key}.name"))
    if found is None and "." not in key:
        found = _typed(run.path).get(key)  # an experiment
    if found is None:
        return "-"
    return f"{found:g}" if isinstance(found, float) else str(found)


def _row(group: Group) -> list[Cell]:
    diverged = sum(run.status == "diverged" for run in group.runs)
    return [len(group.runs), *measures_of(group, SHOWN), diverged or None]
