"""Runs that differ in their seeds (and folds) only, and what they have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snnbreg.runs import Run

NEUTRAL = (
    "seed", "dataset.fold", "device", "logger", "dataset.root", "dataset.cache",
    "dataset.eval_batch_size", "dataset.epochs",
    "trainer.name", "trainer.resume", "trainer.threads", "trainer.progress", "model.engine",
    "model.name",
)  # fmt: skip
"""Settings (or groups of them) that leave the outcome as it is, apart from chance: the seed's,
and which samples a fold tests."""


def newest(runs: Iterable[Run]) -> list[Run]:
    """The runs without repetitions: of several with the same settings, seed and fold, the newest.

    One that has ended is preferred to one that has not.
    """
    chosen: dict[Any, Run] = {}
    for run in runs:
        key = (run.seed, run.fold, *outcome_settings(run).items())
        other = chosen.get(key)
        if other is None or (run.ended, run.written) > (other.ended, other.written):
            chosen[key] = run
    return list(chosen.values())


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds and folds only.

    Attributes:
        settings: what they share and others do not (or the settings asked for), dotted names.
        runs: sorted by seed and fold.
    """

    settings: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def members(self) -> str:
        """How many runs, in words: seeds, or runs where the folds differ too."""
        count, folds = len(self.runs), {run.fold for run in self.runs}
        return f"{count} {'runs' if len(folds) > 1 else 'seeds' if count > 1 else 'seed'}"

    def values(self, key: str) -> list[float]:
        """A figure of all runs that have it (see ``Run.figure``)."""
        return [value for run in self.runs if (value := run.figure(key)) is not None]

    def mean(self, key: str) -> float:
        """The mean of a figure over the runs that have it; NaN where none has."""
        values = self.values(key)
        return math.fsum(values) / len(values) if values else math.nan

    def curve(self, column: str) -> tuple[list[float], list[float], list[float]]:
        """A column of the metrics over all runs.

        Returns:
            Epochs, mean and standard deviation (0 for a single run), each over the runs that
            reached the epoch with a finite value.
        """
        by_epoch: dict[float, list[float]] = {}
        for run in self.runs:
            values = run.history.get(column, [])
            for epoch, value in zip(run.history.get("epoch", []), values, strict=False):
                if math.isfinite(value):
                    by_epoch.setdefault(epoch, []).append(value)
        epochs = sorted(by_epoch)
        pairs = [mean_and_deviation(by_epoch[epoch]) for epoch in epochs]
        return epochs, [mean for mean, _ in pairs], [deviation or 0.0 for _, deviation in pairs]


def largest(groups: Iterable[Group]) -> Group:
    """The group with most runs, the first among equals: its ``members`` stand for all."""
    return max(groups, key=lambda group: len(group.runs))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1), None for a single value.

    Example:
        >>> mean_and_deviation([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1))


def outcome_settings(run: Run) -> dict[str, str]:
    """All settings that an outcome depends on except seed and fold, as comparable text.

    A null is left out: it says what an older run says that lacks the key.
    """
    return {
        key: json.dumps(value, default=str)
        for key, value in sorted(run.settings.items())
        if value is not None and not is_neutral(key)
    }


def is_neutral(key: str) -> bool:
    """Whether a setting leaves the outcome as it is, apart from chance (``NEUTRAL``)."""
    return any(key == name or key.startswith(f"{name}.") for name in NEUTRAL)


def group_runs(runs: Iterable[Run], by: Sequence[str] | None = None) -> list[Group]:
    """Group runs that differ in seed and fold only.

    Args:
        runs: any runs.
        by: dotted settings; runs that agree in these are one group. None: runs that agree in
            every setting but those of ``NEUTRAL``.

    Returns:
        Groups in the order of their first run. ``settings`` holds those of ``by``, or those in
        which the groups differ.
    """
    members: dict[tuple[str, ...], list[Run]] = {}
    runs = list(runs)
    texts = {id(run): outcome_settings(run) for run in runs}
    names = list(by) if by is not None else differing(texts.values())
    for run in runs:
        key = tuple(json.dumps(run.settings.get(name), default=str) for name in names)
        members.setdefault(key, []).append(run)
    return [
        Group(
            {name: group[0].settings[name] for name in names if name in group[0].settings},
            tuple(sorted(group, key=lambda run: (run.seed, run.fold, str(run.path)))),
        )
        for group in members.values()
    ]


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same everywhere, sorted.

    Example:
        >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}])
        ['b', 'c']
    """
    rows = list(settings)
    names = sorted({name for row in rows for name in row})
    missing = object()
    return [n for n in names if any(r.get(n, missing) != rows[0].get(n, missing) for r in rows)]


def select(runs: Iterable[Run], settings: Mapping[str, Any]) -> list[Run]:
    """The runs whose dotted settings have the given values; ``{}`` selects all."""
    return [run for run in runs if all(run.settings.get(k) == v for k, v in settings.items())]
