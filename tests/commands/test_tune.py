"""Tuning with Optuna, two trials of it, twice."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException

from snnbreg import assembly
from snnbreg.assembly.configs import composed
from snnbreg.cli import parse
from snnbreg.commands import tune
from snnbreg.runs import RunFolder
from tests_support import SMALL_DIGITS


def test_trials_are_runs_and_the_front_holds_the_best(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    command = [sys.executable, "-m", "snnbreg", "tune", "--folder", str(tmp_path)]
    options = ["--trials", "2", *SMALL_DIGITS, "dataset.epochs=1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name="snnbreg", storage=f"sqlite:///{tmp_path}/study.db")
    points = []
    for trial in study.trials:
        folder = tmp_path / f"trial-{trial.number:04d}"
        summary = json.loads((folder / "summary.json").read_text())
        points.append((summary["best_val_acc"], summary["density"]))
        assert trial.values == list(points[-1])
        text = (folder / "config.yaml").read_text()
        assert f"lam: {trial.params['optim.lam']}" in text
    assert len(points) == 2
    front = [a for a in points if not any(b != a and b[0] >= a[0] and b[1] <= a[1] for b in points)]
    printed = rows(done.stdout)
    assert len(printed) == len(front)
    assert {tuple(row[:2]) for row in printed} == {(f"{a:.4g}", f"{d:.4g}") for a, d in front}
    assert "Score is the best validation accuracy (higher is better)" in done.stdout
    assert done.stdout.count("\ntrial ") == 2


def rows(text: str) -> list[list[str]]:
    """The cells of the table's rows in what was printed."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def given(folder: Path, *overrides: str, trials: int = 1) -> Namespace:
    return parse("tune", ["--folder", str(folder), "--trials", str(trials), *overrides])


def pretended(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
    """A run of which the summary is all there is: its error is the learning rate."""
    values = dict(entry.split("=", 1) for entry in command if "=" in entry)
    lr, lam = float(values["optim.lr"]), float(values["optim.lam"])
    summary = {"measure": "mse", "best_val_mse": lr, "select": "published", "density": lam / 2}
    folder = RunFolder(values["hydra.run.dir"].strip("'"))
    folder.path.mkdir(parents=True)
    folder.write_summary(summary)
    return subprocess.CompletedProcess(command, 0, "", "")


def test_an_error_is_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    monkeypatch.setattr(tune.subprocess, "run", pretended)
    overrides = ["dataset=mnist", "model=autoencoder", "hydra.job.chdir=false"]
    tune.run(given(tmp_path, *overrides, "--lr", "0.5,0.6", trials=8))
    said = capsys.readouterr().out
    assert "Score is the best validation mean squared error (lower is better)" in said
    assert "| best validation mean squared error |" in said
    study = optuna.load_study(study_name="snnbreg", storage=f"sqlite:///{tmp_path}/study.db")
    points = [trial.values for trial in study.trials]
    front = [a for a in points if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in points)]
    assert all(0.5 <= error <= 0.6 for error, _ in points)
    assert min(points) in front
    assert [float(row[0]) for row in rows(said)] == pytest.approx(
        [error for error, _ in sorted(front, key=lambda point: point[1])], rel=1e-3
    )


def test_a_study_holds_trials_of_the_same_settings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    monkeypatch.setattr(tune.subprocess, "run", pretended)
    digits = ["dataset.limit=40", "seed=3"]
    tune.run(given(tmp_path, *digits))
    tune.run(given(tmp_path, *digits, "--lam", "1,2", "device=cpu", "trainer.progress=false"))
    study = optuna.load_study(study_name="snnbreg", storage=f"sqlite:///{tmp_path}/study.db")

    def refused(match: str, *overrides: str) -> None:
        with pytest.raises(ValueError, match=match):
            tune.run(given(tmp_path, *overrides))
        assert len(study.trials) == 2

    refused(r"dataset\.limit=null \(it was 40\)\. .*another study with --folder", "seed=3")
    refused(r"settings: seed=4 \(it was 3\)\. ", "dataset.limit=40", "seed=4")
    refused(r"trainer\.select=deployed \(it was published\)", *digits, "trainer.select=deployed")
    refused(r"settings: dataset\.name=ssc \(it was spoken_digits\); .* and \d+ more", "dataset=ssc")


def test_a_study_of_an_earlier_version_is_known_by_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    config = assembly.check(composed(["dataset.limit=40"]))
    storage = f"sqlite:///{tmp_path}/study.db"
    old = optuna.create_study(
        study_name="snnbreg", storage=storage, directions=["maximize", "minimize"]
    )
    for values in ((0.1, 0.2), (0.2, 0.3)):
        old.add_trial(optuna.create_trial(values=values))
    folder = RunFolder(tmp_path / "trial-0001")  # the first one left nothing
    folder.path.mkdir()
    folder.config.write_text(json.dumps(config))
    folder.write_summary({"status": "completed"})
    monkeypatch.setattr(tune.subprocess, "run", pretended)
    with pytest.raises(ValueError, match=r"dataset\.limit=null \(it was 40\)"):
        tune.run(given(tmp_path))


@pytest.mark.parametrize(("override", "said"), [
    ("optim.lmm=1", "optim.lmm is no option of optim=adabreg. Did you mean lam?"),
    ("optim.lr=1", "leave optim.lr=1 out, or give its range with --lr LOW,HIGH"),
    ("optim=adam", "optim=adam has no optim.lam"),
])  # fmt: skip
def test_a_wrong_key_is_refused_before_any_trial(override: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises((ValueError, HydraException)) as error:
        tune.run(given(tmp_path / "study", override))
    assert said in assembly.explain(error.value)
    assert not (tmp_path / "study").exists()


def test_why_all_trials_failed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    failed = subprocess.CompletedProcess([], 1, "", "something\nno disk\n")
    monkeypatch.setattr(tune.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ValueError, match=r"No trial in .* has ended yet"):
        tune.run(given(tmp_path))
    assert "trial 0 failed: " in capsys.readouterr().out


def test_help_says_where_is_searched(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("tune", ["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "optim.lr is searched, on a logarithmic scale (1e-3,3e-2)" in said
    assert "optim.lam is searched, likewise (1e-2,2)" in said
    with pytest.raises(SystemExit):
        parse("tune", ["--lr", "3"])
    assert "3 is no range LOW,HIGH" in capsys.readouterr().err


def test_a_sweep_of_its_own_is_no_override(tmp_path: Path) -> None:
    options = Namespace(overrides=["hparams_search=lam"], trials=1, folder=str(tmp_path))
    with pytest.raises(ValueError, match="hparams_search is a sweep of its own"):
        tune.run(options)
