"""Tables of plain values that are written as Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snnbreg.analysis.groups import Group, mean_and_deviation


@dataclass(frozen=True)
class Measure:
    """Mean and sample standard deviation over ``n`` runs.

    Attributes:
        mean: over the runs.
        deviation: None for a single run.
        n: runs.
    """

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, group: Group, key: str) -> Measure | None:
        """A figure of the group's summaries; None where no run has it."""
        values = group.values(key)
        return cls(*mean_and_deviation(values), len(values)) if values else None


@dataclass(frozen=True)
class Interval:
    """A figure and the interval that it lies in.

    Attributes:
        value: the figure.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


Cell = str | int | float | Measure | Interval | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        unit: how values are written: ``percent`` (of a fraction), ``points`` (a difference of
            fractions in per cent), ``rate`` (a small fraction), ``count``, ``number``, ``text``.
    """

    name: str
    unit: str = "text"

    def write(self, cell: Cell, between: str = " ± ") -> str:
        """A cell for people.

        Example:
            >>> Column("test", "percent").write(Measure(0.9298, 0.0041, 3))
            '92.98 ± 0.41'
        """
        if cell is None:
            return "-"
        if isinstance(cell, Measure):
            mean = self._number(cell.mean)
            return mean if cell.deviation is None else mean + between + self._number(cell.deviation)
        if isinstance(cell, Interval):
            value, low, high = map(self._number, (cell.value, cell.low, cell.high))
            return f"{value} [{low}, {high}]"
        return cell if isinstance(cell, str) else self._number(cell)

    def _number(self, value: float) -> str:
        if self.unit == "percent":
            return f"{100 * value:.2f}"
        if self.unit == "points":
            return f"{100 * value:+.2f}"
        if self.unit == "rate":
            return f"{value:.4f}"
        if self.unit == "count":
            return f"{value:,.0f}"
        return f"{value:.4g}"

    @property
    def heading(self) -> str:
        """The name with its unit."""
        return self.name + {"percent": " (%)", "points": " (points)"}.get(self.unit, "")


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns.

    Attributes:
        name: of the files it is written to.
        title: what it shows, a sentence.
        columns: see ``Column``.
        rows: a cell per column.
        notes: sentences below it.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def without_empty(self) -> Table:
        """The table without columns that say nothing in any row."""
        said = [
            any(row[i] not in (None, "") for row in self.rows) for i in range(len(self.columns))
        ]
        rows = [[c for c, kept in zip(row, said, strict=True) if kept] for row in self.rows]
        columns = [c for c, kept in zip(self.columns, said, strict=True) if kept]
        return replace(self, columns=columns, rows=rows)

    def _text(self, between: str = " ± ") -> list[list[str]]:
        return [
            [column.write(cell, between) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def to_markdown(self) -> str:
        """A table for a README, with aligned columns."""
        rows = [[c.heading for c in self.columns], *self._text()]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.columns))]
        left = [column.unit == "text" for column in self.columns]
        rule = [
            "-" * w if is_left else "-" * (w - 1) + ":"
            for w, is_left in zip(widths, left, strict=True)
        ]
        lines = [
            [
                c.ljust(w) if is_left else c.rjust(w)
                for c, w, is_left in zip(r, widths, left, strict=True)
            ]
            for r in rows
        ]
        lines.insert(1, rule)
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"**{self.title}**", body, *self.notes]) + "\n"

    def to_csv(self) -> str:
        """Plain numbers (fractions, not per cent).

        A measure fills ``NAME`` and ``NAME std``, an interval ``NAME``, ``NAME low`` and
        ``NAME high``.
        """
        widths = [max((len(_plain(row[i])) for row in self.rows), default=1)
                  for i in range(len(self.columns))]  # fmt: skip
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([c.name + ending for c, width in zip(self.columns, widths, strict=True)
                         for ending in ENDINGS[width]])  # fmt: skip
        for row in self.rows:
            plain = [(_plain(cell), width) for cell, width in zip(row, widths, strict=True)]
            writer.writerow(
                [v for values, n in plain for v in [*values, *[None] * (n - len(values))]]
            )
        return text.getvalue()

    def to_latex(self) -> str:
        """A booktabs tabular."""
        layout = "".join("l" if column.unit == "text" else "r" for column in self.columns)
        head = " & ".join(_latex(column.heading) for column in self.columns)
        body = [" & ".join(map(_latex, row)) for row in self._text()]
        notes = [f"% {_latex(note)}" for note in (self.title, *self.notes)]
        return "\n".join([
            *notes, rf"\begin{{tabular}}{{{layout}}}", r"\toprule", rf"{head} \\", r"\midrule",
            *(rf"{line} \\" for line in body), r"\bottomrule", r"\end{tabular}", "",
        ])  # fmt: skip

    def to_html(self) -> str:
        """A table element inside one that scrolls sideways where the screen is narrow."""
        kinds = [' class="number"' if c.unit != "text" else "" for c in self.columns]
        head = "".join(
            f'<th scope="col"{kind}>{html.escape(column.heading)}</th>'
            for column, kind in zip(self.columns, kinds, strict=True)
        )
        body = "\n".join(
            "<tr>"
            + "".join(f"<td{k}>{html.escape(c)}</td>" for c, k in zip(row, kinds, strict=True))
            + "</tr>"
            for row in self._text()
        )
        notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in self.notes)
        first = " named" if self.columns and self.columns[0].unit != "text" else ""
        return (
            f'<figure class="table{first}" id="{self.name}"><figcaption>{html.escape(self.title)}'
            f'</figcaption><div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
            f"<tbody>{body}</tbody></table></div>{notes}</figure>"
        )

    def save(self, folder: Path) -> list[Path]:
        """Write ``NAME.md``, ``NAME.csv`` and ``NAME.tex`` into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"md": self.to_markdown(), "csv": self.to_csv(), "tex": self.to_latex()}
        paths = [folder / f"{self.name}.{ending}" for ending in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths


ENDINGS = {1: ("",), 2: ("", " std"), 3: ("", " low", " high")}


def _plain(cell: Cell) -> list[Cell]:
    if isinstance(cell, Measure):
        return [cell.mean, cell.deviation]
    if isinstance(cell, Interval):
        return [cell.value, cell.low, cell.high]
    return [cell]


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "λ": r"$\lambda$", "≤": r"$\le$",
         "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
         "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "†": r"$\dagger$"}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
