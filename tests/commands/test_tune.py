"""Tuning with Optuna, two trials of it, twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
