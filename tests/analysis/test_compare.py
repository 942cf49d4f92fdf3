from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from snnbreg.analysis import compare, read_run
from snnbreg.cli import parse
from snnbreg.commands.compare import run

Make = Callable[..., Path]


def command(*arguments: object) -> int:
    return run(parse("compare", [str(argument) for argument in arguments]))


def test_equal_apart_from_the_clock(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make({"dataset.root": "/a"}), make({"dataset.root": "/b"}, summary={"seconds": 99})
    text = (b / "metrics.csv").read_text().replace(",0.1,", ",7.5,")
    assert text != (b / "metrics.csv").read_text()
    (b / "metrics.csv").write_text(text)
    assert command(a, b) == 0
    assert capsys.readouterr().out == (
        "The results are the same.\nConfig:\n  dataset.root: /a | /b\n"
    )


def test_the_first_difference_is_named(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a = make(losses=(3.0, 2.0, 1.0))
    b = make({"seed": 4}, losses=(3.0, 2.5, 0.5), summary={"test_acc": 0.75})
    assert command(a, b) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "The results differ.",
        "First difference in the metrics:",
        "  epoch 2, val_loss: 2.0 | 2.5",
    ]
    assert "  test_acc: 0.8 | 0.75" in lines
    assert "  seed: 0 | 4" in lines
    assert not any("epoch 3" in line for line in lines)


def test_missing_epochs_columns_and_summaries(make: Make) -> None:
    a, b = make(), make(losses=(3.0, 2.0))
    (b / "summary.json").unlink()
    text = (b / "metrics.csv").read_text().replace(",firing_rate,", ",rate,")
    (b / "metrics.csv").write_text(text)
    found = compare(read_run(a), read_run(b))
    assert not found.same
    assert found.metrics == []
    assert found.epochs == ("epochs", 3, 2)
    assert found.columns == ["firing_rate", "rate"]
    assert ("status", "completed", "missing") in found.summary
    assert ("status", "missing", "completed") in compare(read_run(b), read_run(a)).summary
    lines = str(found).splitlines()
    assert lines[:5] == [
        "The results differ.",
        "The metrics agree in all common epochs and columns.",
        "epochs: 3 | 2",
        "Columns that only one has: firing_rate, rate",
        "Summary:",
    ]
    assert "  status: completed | missing" in lines
    (b / "metrics.csv").write_text("")
    assert compare(read_run(a), read_run(b)).metrics == []


def test_not_a_number_equals_itself_and_tolerance(make: Make) -> None:
    nan = read_run(make(losses=(float("nan"),)))
    assert compare(nan, read_run(make(losses=(float("nan"),)))).same
    assert not compare(nan, read_run(make(losses=(1.0,)))).same
    a, b = read_run(make(losses=(1.0,))), read_run(make(losses=(1.0 + 1e-9,)))
    assert not compare(a, b).same
    assert compare(a, b, tolerance=1e-6).same


def test_unreadable_runs(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a = make()
    assert command(a, a / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
