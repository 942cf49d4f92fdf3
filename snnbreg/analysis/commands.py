"""The command lines that a study's runs came from."""

from __future__ import annotations

import functools
import math
import shlex
from collections.abc import Sequence

from snnbreg.runs import Run


def sweep_commands(runs: Sequence[Run]) -> list[str]:
    """Command lines of ``snnbreg train`` that train these runs again.

    Runs that set the same options make one sweep where they are all combinations of the values
    they set, else as few sweeps as splitting by single options gives.

    Returns:
        Nothing for runs whose command line is unknown.
    """
    by_options: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for run in runs:
        pairs = [override.partition("=") for override in run.overrides]
        if pairs:
            values = tuple(value for _, _, value in pairs)
            by_options.setdefault(tuple(name for name, _, _ in pairs), set()).add(values)
    return [
        command
        for names, rows in by_options.items()
        for command in map(functools.partial(_command, names), _products(rows))
    ]


Rows = set[tuple[str, ...]]
Product = tuple[tuple[str, ...], ...]  # the values of each option


def _products(rows: Rows) -> list[Product]:
    """Few sets of all combinations that together are the rows."""
    columns = [tuple(sorted(set(column), key=order)) for column in zip(*rows, strict=True)]
    if math.prod(map(len, columns)) == len(rows):
        return [tuple(columns)]
    ways = (_split(rows, i) for i, values in enumerate(columns) if len(values) > 1)
    return min(ways, key=len)


def _split(rows: Rows, i: int) -> list[Product]:
    """Split by option ``i``; values with the same combinations of the others stay together."""
    rests: dict[str, Rows] = {}
    for row in rows:
        rests.setdefault(row[i], set()).add(row[:i] + row[i + 1 :])
    values: dict[frozenset[tuple[str, ...]], list[str]] = {}
    for value in sorted(rests, key=order):
        values.setdefault(frozenset(rests[value]), []).append(value)
    return [
        (*product[:i], tuple(these), *product[i:])
        for rest, these in values.items()
        for product in _products(set(rest))
    ]


def _command(names: Sequence[str], product: Product) -> str:
    many = "-m " if any(len(values) > 1 for values in product) else ""
    pairs = zip(names, product, strict=True)
    return f"snnbreg train {many}" + " ".join(
        shlex.quote(f"{name}={','.join(values)}") for name, values in pairs
    )


def order(value: str) -> tuple[float, str]:
    """What to sort values by: numbers by size, then words."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value
