"""snnbreg export: the files of a run's network, and what it is evaluated to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg import cli
from snnbreg.commands import export as command
from snnbreg.commands.evaluate import evaluate_export, evaluate_run
from snnbreg.training import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def folder(
    run: Path, small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]]
) -> Path:
    if not (run / "summary.json").exists():
        train(small("dataset.epochs=1"), RunFolder(run))
    return run


def test_an_export_is_evaluated_as_the_run_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(folder), "--out", str(tmp_path)]) == 0
    assert "spikes that differ   0 of" in capsys.readouterr().out
    report = json.loads((tmp_path / "export.json").read_text())
    assert report["proof"]["samples"] == 40
    assert report["proof"]["differing_spikes"] == report["proof"]["differing_classes"] == 0
    for split in ("train", "valid", "test"):
        wanted = evaluate_run(str(folder), [f"split={split}", "evaluation=deployed"])
        capsys.readouterr()
        assert cli.main(["evaluate", str(tmp_path), f"split={split}"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["acc"] == wanted["acc"]
        assert found["samples"] == wanted["samples"] == 40
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-5)


def test_a_network_that_differs_is_no_export(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight too many: the proof says so, and nothing is written."""

    def broken(*arguments: Any) -> Any:
        conversion = convert(*arguments)
        conversion.network.layers[1].feedforward.weight[:] *= 1.1
        return conversion

    convert = command.convert
    monkeypatch.setattr(command, "convert", broken)
    with pytest.raises(ValueError, match="does not equal the trained one"):
        command.export(str(folder), str(tmp_path / "out"), command.Choices(), [])
    assert not (tmp_path / "out").exists()


def test_options_of_an_exports_evaluation(folder: Path, tmp_path: Path) -> None:
    choices = command.Choices(bits=8, checkpoint="last")
    command.export(str(folder), str(tmp_path), choices, ["dataset.eval_batch_size=7"])
    given = ["dataset.eval_batch_size=3"]
    found, wanted = evaluate_export(str(tmp_path), given), evaluate_export(str(tmp_path), [])
    assert found == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="evaluation is no option of an export"):
        evaluate_export(str(tmp_path), ["evaluation=published"])
    with pytest.raises(ValueError, match="split=tset must be one of"):
        evaluate_export(str(tmp_path), ["split=tset"])


def test_there_must_be_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        command.export(str(tmp_path / "nothing"), str(tmp_path), command.Choices(), [])
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        command.export(str(tmp_path), str(tmp_path / "out"), command.Choices(), [])
