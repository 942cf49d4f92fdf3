"""Tuning with Optuna, two trials of it, twice."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

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
    printed = [tuple(map(float, line.split()[:2])) for line in done.stdout.splitlines()[1:]]
    assert len(printed) == len(front)
    assert set(printed) == {(round(a, 4), round(d, 4)) for a, d in front}


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
    tune.run(Namespace(folder=str(tmp_path), trials=8, overrides=overrides))
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith("mean squared error  density")
    study = optuna.load_study(study_name="snnbreg", storage=f"sqlite:///{tmp_path}/study.db")
    points = [trial.values for trial in study.trials]
    front = [a for a in points if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in points)]
    assert len(lines) == len(front)
    assert min(points) in front
    assert [float(line.split()[0]) for line in lines] == pytest.approx(
        [error for error, _ in sorted(front, key=lambda point: point[1])], rel=1e-3
    )
    with pytest.raises(ValueError, match="holds trials of another measure than acc"):
        tune.run(Namespace(folder=str(tmp_path), trials=1, overrides=[]))
