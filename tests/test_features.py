"""The table of features: each of ours names a test that exists, each number a note."""

from __future__ import annotations

import ast
import re

import pytest

from tests_support import ROOT

TABLE, _, NOTES = (ROOT / "results" / "features.md").read_text().partition("\n\n1. ")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ")
][1:]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_we_have_is_tested(row: list[str]) -> None:
    _, ours, *others, test = row
    assert len(others) == 4
    if ours == "no":
        assert test == "-"
        return
    assert ours == "yes"
    path, name = test.strip("`").split("::")
    tree = ast.parse((ROOT / "tests" / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_number_has_its_note() -> None:
    used = {int(number) for number in re.findall(r"\((\d+)\)", TABLE)}
    notes = [int(number) for number in re.findall(r"^(\d+)\. ", "1. " + NOTES, re.MULTILINE)]
    assert notes == sorted(used) == list(range(1, len(notes) + 1))
