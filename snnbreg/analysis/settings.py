"""How the settings of runs differ, in a few words: for legends and the columns of tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from snnbreg.analysis.groups import differing, outcome_settings
from snnbreg.runs import Run

EPOCHS, SPARSIFIER = "trainer.epochs", "optim.sparsifier.name"
KIND = ("optim.name", "scheduler.name")
ELSEWHERE = (
    "dataset.name", "dataset.limit", "optim.name", "optim.lam", "scheduler.name", "scheduler.lam",
    "scheduler.lam.name", "scheduler.lam.density",
)  # fmt: skip
"""Settings that the data set's name, the method, the schedule, lambda and its course say."""
MOST = 4
"""Settings that are named."""
LONG = 24
"""Characters of a value that is written out; a longer one is numbered."""


def labels(
    rows: Sequence[Mapping[str, str]], everything: bool = False, said: Collection[str] = ELSEWHERE
) -> list[str]:
    """How each of these settings differs from the others, in short words.

    Told apart are those of the same optimizer, sparsifier and schedule, and the number of epochs
    of all.

    Args:
        rows: as :func:`outcome_settings` gives them.
        everything: tell apart those of different optimizers too, by what all of them have (but
            not by long values, such as rules for parameters).
        said: settings that are left out, because they are said elsewhere.

    Example:
        >>> rows = [{"optim.name": "sgd", "optim.lr": "1", "trainer.epochs": e} for e in "23"]
        >>> labels([*rows, {**rows[0], "optim.lr": "2"}])
        ['epochs 2, lr 1', 'epochs 3, lr 1', 'epochs 2, lr 2']
    """

    def alike(row: Mapping[str, str], other: Mapping[str, str], names: Sequence[str]) -> bool:
        return all(row.get(name) == other.get(name) for name in names)

    common = [n for n in differing(rows) if n == EPOCHS or everything]
    common = [n for n in common if all(len(row.get(n, " " * LONG)) < LONG for row in rows)]
    found = []
    for row in rows:
        near = [other for other in rows if alike(row, other, KIND)]
        within = differing(other for other in near if alike(row, other, [SPARSIFIER]))
        apart = {*within, *common} | ({SPARSIFIER} & {*differing(near)})
        names = sorted(apart & {*row} - {*said}, key=lambda n: (n != EPOCHS, n != SPARSIFIER, n))
        parts = [f"{name.split('.', 1)[-1]} {_value(name, row, rows)}" for name in names]
        more = f", {len(parts) - MOST} more" if len(parts) > MOST else ""
        found.append(", ".join(parts[:MOST]) + more)
    return found


def _value(name: str, row: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    """The value, or where it is too long which of the different ones it is: ``#2``."""
    value = row[name].strip('"')
    if len(value) <= LONG:
        return value
    return f"#{list(dict.fromkeys(r[name] for r in rows if name in r)).index(row[name]) + 1}"


def settings_column(runs: Sequence[Run], said: Collection[str] = ()) -> Callable[[Run], str]:
    """What tells each run apart from the others of a table, beside chance, method and lambda.

    Args:
        runs: all that are in the table.
        said: settings that other columns say, beside method, schedule and lambda.

    Returns:
        A function that describes one of them, with how its lambda moves; empty where nothing
        differs.
    """
    rows = {tuple(outcome_settings(run).items()): None for run in runs}
    found = labels([dict(row) for row in rows], True, (*ELSEWHERE, *said))
    words = dict(zip(rows, found, strict=True))

    def describe(run: Run) -> str:
        text = words[tuple(outcome_settings(run).items())]
        course = "" if "scheduler.lam" in said else run.lam_course
        return ", ".join(filter(None, (course, text)))

    return describe
