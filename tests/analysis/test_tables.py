from __future__ import annotations

import csv
import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from snnbreg.analysis import Column, Interval, Measure, Table, group_runs, read_runs
from snnbreg.analysis.study_tables import network_table

TABLE = Table(
    "t", "A_title", [Column("name"), Column("accuracy", "percent"), Column("weights", "count")],
    [["a&b", Measure(0.9298, 0.0041, 3), 12345], ["c|d", Measure(0.5, None, 1), None]], ["A note."],
)  # fmt: skip


def test_measure_by_hand(make: Callable[..., Path], tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.90, 0.94, 0.95)):
        make({"seed": seed}, summary={"test_acc": accuracy})
    make({"seed": 3}, summary={"test_acc": None})
    (group,) = group_runs(read_runs(tmp_path))
    measure = Measure.of(group, "test_acc")
    assert measure is not None
    assert measure.mean == pytest.approx(0.93)
    # deviations -0.03, 0.01, 0.02: squares 9 + 1 + 4 = 14, over 2 = 7 (1e-4)
    assert measure.deviation == pytest.approx(0.07**0.5 * 0.1)
    assert measure.n == 3
    assert Measure.of(group, "unknown") is None


def test_markdown() -> None:
    assert TABLE.to_markdown() == (
        "**A_title**\n\n"
        "| name | accuracy (%) | weights |\n"
        "| ---- | -----------: | ------: |\n"
        "| a&b  | 92.98 ± 0.41 |  12,345 |\n"
        "| c\\|d |        50.00 |       - |\n\n"
        "A note.\n"
    )


def test_csv_holds_plain_numbers() -> None:
    assert list(csv.reader(io.StringIO(TABLE.to_csv()))) == [
        ["name", "accuracy", "accuracy std", "weights"],
        ["a&b", "0.9298", "0.0041", "12345"],
        ["c|d", "0.5", "", ""],
    ]


def test_intervals() -> None:
    column = Column("difference", "points")
    table = Table("t", "", [column], [[Interval(-0.0123, -0.02, 0.001)], [None]])
    assert column.write(table.rows[0][0]) == "-1.23 [-2.00, +0.10]"
    assert column.heading == "difference (points)"
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [
        ["difference", "difference low", "difference high"],
        ["-0.0123", "-0.02", "0.001"],
        ["", "", ""],
    ]


def test_latex_is_escaped() -> None:
    lines = TABLE.to_latex().splitlines()
    assert lines[0] == r"% A\_title"
    assert lines[2] == r"\begin{tabular}{lrr}"
    assert r"name & accuracy (\%) & weights \\" in lines
    assert r"a\&b & 92.98 $\pm$ 0.41 & 12,345 \\" in lines


def test_html_cells() -> None:
    cells: list[str] = []

    class Cells(HTMLParser):
        inside = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = tag in ("td", "th")

        def handle_data(self, data: str) -> None:
            if self.inside and data.strip():
                cells.append(data)

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

    Cells().feed(TABLE.to_html())
    assert cells[:3] == ["name", "accuracy (%)", "weights"]
    assert cells[3:] == ["a&b", "92.98 ± 0.41", "12,345", "c|d", "50.00", "-"]


def test_empty_columns_go_and_files_are_written(tmp_path: Path) -> None:
    table = Table("x", "X", [Column("a"), Column("b"), Column("c", "count")], [["", "b", None]])
    kept = table.without_empty()
    assert [column.name for column in kept.columns] == ["b"]
    assert kept.rows == [["b"]]
    paths = TABLE.save(tmp_path / "new")
    assert [p.name for p in paths] == ["t.md", "t.csv", "t.tex"]
    assert paths[0].read_text(encoding="utf-8") == TABLE.to_markdown()


def test_a_network_without_our_layers_is_listed_by_its_weights() -> None:
    shapes = {"body.0.weight": (8, 1, 5, 5), "head.weight": (10, 32)}
    assert network_table([("mnist", shapes, 540)]).rows == [["mnist", 1, "8", 10, 520, 540]]
