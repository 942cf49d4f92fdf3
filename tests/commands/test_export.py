"""snnbreg export: the files of a run's network, and what it is evaluated to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnbreg import cli
from snnbreg.analysis import report_tables
from snnbreg.commands import export
from snnbreg.commands import exporting as command
from snnbreg.commands.evaluate import evaluate_export, evaluate_run
from snnbreg.runs import read_run
from snnbreg.training import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def folder(
    run: Path, small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]]
) -> Path:
    if not (run / "summary.json").exists():
        config = small("dataset.epochs=1")
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        train(config, RunFolder(run))
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
    words = {name: found.pop(name) for name in ("split", "evaluation")}
    assert words == {name: wanted.pop(name) for name in words}
    assert words == {"split": "test", "evaluation": "deployed"}
    assert found == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="evaluation is no option of an export"):
        evaluate_export(str(tmp_path), ["evaluation=published"])
    with pytest.raises(ValueError, match="split=tset must be one of"):
        evaluate_export(str(tmp_path), ["split=tset"])


def _exports(out: Path) -> dict[str, int]:
    """When the reports below a folder were written, by the exports' names."""
    found = out.glob("*/exports/*/export.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def test_many_exports_lie_where_a_report_finds_them(folder: Path, tmp_path: Path) -> None:
    arguments = ["export", str(folder), "--out", str(tmp_path), "--samples", "1"]
    assert cli.main([*arguments, "--bits", "32,8,4"]) == 0
    assert set(_exports(tmp_path)) == {"32", "8", "4"}
    copy = tmp_path / folder.name
    for name in ("summary.json", "predictions.npz"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
    (bits,) = report_tables(tmp_path, ["bits"])
    floats, eight, _ = (
        dict(zip([c.name for c in bits.columns], r, strict=True)) for r in bits.rows
    )
    wanted = evaluate_run(str(folder), ["evaluation=deployed"])
    assert floats["test"].mean == wanted["acc"]
    assert floats["difference to floats"].value == 0.0
    for row, name in ((floats, "32"), (eight, "8")):
        for split, column in (("valid", "validation"), ("test", "test")):
            found = evaluate_export(str(copy / "exports" / name), [f"split={split}"])
            assert row[column].mean == pytest.approx(found["acc"])
    assert eight["difference to floats"].value == pytest.approx(eight["test"].mean - wanted["acc"])
    assert report_tables(tmp_path, ["cost"])[0].rows


def test_a_copy_keeps_what_own_data_are_called(folder: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    shutil.copytree(folder, tmp_path / "run")
    config["dataset"] |= {"name": "own", "root": "/somewhere/words", "title": None}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    export._copy(tmp_path / "run", tmp_path / "copy")
    copied = read_run(tmp_path / "copy")
    assert (copied.title, copied.config["dataset"]["root"]) == ("words", None)


def test_the_same_command_makes_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    arguments = ["export", str(folder), "--out", str(tmp_path), "--bits"]
    assert cli.main([*arguments, "32,8"]) == 0
    before = _exports(tmp_path)
    home = tmp_path / folder.name / "exports"
    (home / "32" / "export.json").unlink()  # as if killed before its end
    assert cli.main([*arguments, "32,8,4"]) == 0
    after = _exports(tmp_path)
    assert set(after) == {"32", "8", "4"}
    assert after["8"] == before["8"]
    assert after["32"] != before["32"]
    assert cli.main([*arguments, "32,8", "--checkpoint", "last"]) == 0  # another checkpoint: anew
    assert _exports(tmp_path)["8"] != before["8"]
    report = json.loads((home / "8" / "export.json").read_text())
    assert report["made_of"]["checkpoint"] == "last"


def test_a_run_that_cannot_be_exported_stops_no_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for name in ("broken", "whole"):
        shutil.copytree(folder, runs / name)
    (runs / "broken" / "checkpoints" / "best.pt").write_bytes(b"PK")
    assert cli.main(["export", str(runs), "--out", str(tmp_path / "out")]) == 1
    assert [p.parent.parent.name for p in (tmp_path / "out").glob("*/exports/*")] == ["whole"]
    assert "Failed: broken, 32 bits" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "more" / "whole")
    given = [str(runs), str(tmp_path / "more"), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="Several runs have the name whole"):
        export.run(cli.parse("export", given))


def test_runs_must_have_been_completed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "runs" / "run")
    (tmp_path / "runs" / "run" / "summary.json").write_text('{"status": "interrupted"}')
    given = [str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="no completed run"):
        export.run(cli.parse("export", given))


def test_another_run_of_the_same_name_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / folder.name).mkdir()
    (tmp_path / folder.name / "summary.json").write_text("{}")
    assert cli.main(["export", str(folder), "--out", str(tmp_path), "--bits", "8,4"]) == 1
    assert "holds another run of this name" in capsys.readouterr().err
    assert not _exports(tmp_path)


def test_there_must_be_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        command.export(str(tmp_path / "nothing"), str(tmp_path), command.Choices(), [])
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        command.export(str(tmp_path), str(tmp_path / "out"), command.Choices(), [])
