"""Are two runs the same, and where do they first differ?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from snnbreg.runs import Run

CLOCK = ("seconds",)
"""Columns and figures that depend on the machine."""


class Difference(NamedTuple):
    """One value that is not the same.

    Attributes:
        where: a setting, a figure of the summary, or ``epoch N, COLUMN``.
        first: the value in the first run.
        second: the value in the second run.
    """

    where: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.first} | {self.second}"


@dataclass(frozen=True)
class Comparison:
    """What two runs do not share.

    Attributes:
        config: settings that differ; they alone do not make results different.
        columns: columns of the metrics that only one has.
        metrics: the values that differ in the first epoch that is not the same.
        epochs: numbers of epochs, where they are not equal.
        summary: figures of the summary that differ.
    """

    config: Sequence[Difference]
    columns: Sequence[str]
    metrics: Sequence[Difference]
    epochs: Difference | None
    summary: Sequence[Difference]

    @property
    def same(self) -> bool:
        """Whether the results are the same."""
        return not (self.columns or self.metrics or self.epochs or self.summary)

    def __str__(self) -> str:
        lines = ["The results are the same." if self.same else "The results differ."]
        if self.metrics:
            lines += ["First difference in the metrics:", *(f"  {d}" for d in self.metrics)]
        elif not self.same:
            lines.append("The metrics agree in all common epochs and columns.")
        if self.epochs:
            lines.append(str(self.epochs))
        if self.columns:
            lines.append(f"Columns that only one has: {', '.join(self.columns)}")
        for name, found in (("Summary", self.summary), ("Config", self.config)):
            if found:
                lines += [f"{name}:", *(f"  {d}" for d in found)]
        return "\n".join(lines)


def compare(a: Run, b: Run, tolerance: float = 0.0) -> Comparison:
    """Compare configs, metrics and summaries, apart from the wall clock.

    Args:
        a: first run.
        b: second run.
        tolerance: numbers are the same up to this relative difference; 0 asks for equal ones.
    """

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, (int, float)) and isinstance(y, (int, float)):
            both_nan = math.isnan(x) and math.isnan(y)
            return x == y or both_nan or math.isclose(x, y, rel_tol=tolerance)
        return bool(x == y)

    def differences(x: dict[str, Any], y: dict[str, Any]) -> list[Difference]:
        names = [*x, *(name for name in y if name not in x)]
        pairs = [Difference(n, x.get(n, "missing"), y.get(n, "missing")) for n in names]
        return [d for d in pairs if not same(d.first, d.second)]

    lengths = [len(run.history.get("epoch", [])) for run in (a, b)]
    common = [name for name in a.history if name in b.history and name not in CLOCK]
    metrics: list[Difference] = []
    for row in range(min(lengths)):
        values = [(n, a.history[n][row], b.history[n][row]) for n in common]
        epoch = f"epoch {a.history['epoch'][row]:.0f}"
        metrics = [Difference(f"{epoch}, {n}", x, y) for n, x, y in values if not same(x, y)]
        if metrics:
            break
    return Comparison(
        config=differences(a.settings, b.settings),
        columns=sorted((set(a.history) ^ set(b.history)) - set(CLOCK)),
        metrics=metrics,
        epochs=None if lengths[0] == lengths[1] else Difference("epochs", *lengths),
        summary=[d for d in differences(a.summary, b.summary) if d.where not in CLOCK],
    )
