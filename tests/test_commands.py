"""The commands as a user types them, in processes of their own."""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests_support import ROOT, SMALL_DIGITS

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    hidden = {"WANDB_API_KEY", "WANDB_MODE", "HYDRA_FULL_ERROR"}
    own = {k: v for k, v in os.environ.items() if k not in hidden}
    return own | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "SNNBREG_CACHE": str(tmp_path)}


@pytest.fixture
def command(environment: dict[str, str]) -> Run:
    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / script), *arguments],
            capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300,
        )  # fmt: skip

    return run


def metrics(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_train_and_evaluate(command: Run, tmp_path: Path) -> None:
    done = command("train.py", *SMALL_DIGITS, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert "non-zero weights" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (tmp_path / "run" / ".hydra").is_dir()
    for options, key in (([], "test_acc"), (["evaluation=deployed"], "deployed_test_acc")):
        figures = json.loads(command("scripts/evaluate.py", f"{tmp_path}/run", *options).stdout)
        assert figures["acc"] == summary[key]
        assert figures["samples"] == 40
        assert figures["nonzero"] == summary["nonzero"]
    valid = command("scripts/evaluate.py", f"{tmp_path}/run", "split=valid", "checkpoint=last")
    assert json.loads(valid.stdout)["loss"] == float(metrics(tmp_path / "run")[-1]["val_loss"])


def test_a_killed_run_continues_as_if_nothing_had_happened(
    command: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    options = [*SMALL_DIGITS, "dataset.epochs=40"]
    assert command("train.py", *options, f"hydra.run.dir={tmp_path}/whole").returncode == 0
    arguments = [str(ROOT / "train.py"), *options, f"hydra.run.dir={tmp_path}/killed"]
    process = subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT)
    last = tmp_path / "killed" / "checkpoints" / "last.pt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(metrics(tmp_path / "killed")) < 40
    done = command("train.py", f"hydra.run.dir={tmp_path}/killed", "trainer.resume=true")
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert f"\nRun folder: {tmp_path}/killed\n" in done.stdout
    again = command("train.py", f"hydra.run.dir={tmp_path}/killed", "trainer.resume=true")
    assert f"\nAlready finished: {tmp_path}/killed\n" in again.stdout


def test_a_folder_in_use_is_refused_and_a_signal_leaves_it_usable(
    environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["train.py", *SMALL_DIGITS, "dataset.epochs=5000", f"hydra.run.dir={tmp_path}/run"]
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    files = [*(tmp_path / "run" / ".hydra").iterdir(), tmp_path / "run" / "config.yaml"]
    assert len(files) == 4
    before = [path.read_bytes() for path in files]
    second = ["train.py", f"hydra.run.dir={tmp_path}/run", "trainer.resume=true", "optim=adam"]
    refused = subprocess.run(
        [sys.executable, *second], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert refused.returncode == 75
    assert "Another process is writing" in " ".join((refused.stdout + refused.stderr).split())
    assert [path.read_bytes() for path in files] == before
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in output
    again = f"python train.py hydra.run.dir={tmp_path}/run trainer.resume=true"
    assert f"Continue with:\n  {again.replace('python', sys.executable)}\n" in output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["test_acc"] is not None


def test_multirun_and_its_continuation(command: Run, tmp_path: Path) -> None:
    sweep = ["-m", *SMALL_DIGITS, f"hydra.sweep.dir={tmp_path}/sweep"]
    grid = ["optim.lam=0.1,1,10", "seed=0,1"]
    done = command("train.py", *sweep, *grid)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.parent for path in (tmp_path / "sweep").rglob("summary.json"))
    assert len(folders) == 6
    times = {folder: (folder / "summary.json").stat().st_mtime_ns for folder in folders}
    (folders[2] / "summary.json").unlink()  # as if killed in the middle
    again = command("train.py", *sweep, *grid)
    assert again.returncode == 0
    assert again.stdout.count("Already finished: ") == 5
    assert again.stdout.partition("6 jobs in")[2] == done.stdout.partition("6 jobs in")[2] != ""
    redone = [f for f in folders if (f / "summary.json").stat().st_mtime_ns != times[f]]
    assert redone == [folders[2]]


def test_a_failed_job_does_not_stop_a_sweep(command: Run, tmp_path: Path) -> None:
    sweep = ["-m", *SMALL_DIGITS, f"hydra.sweep.dir={tmp_path}/sweep", "optim.lr=-1,0.001"]
    done = command("train.py", *sweep)
    assert done.returncode == 1
    assert "Invalid lr: -1.0" in done.stdout + done.stderr
    assert len(list((tmp_path / "sweep").rglob("summary.json"))) == 1


def test_wandb_runs_offline_without_a_key(command: Run, tmp_path: Path) -> None:
    sweep = ["-m", *SMALL_DIGITS, f"hydra.sweep.dir={tmp_path}/sweep", "seed=0,1", "logger=wandb"]
    done = command("train.py", *sweep)
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "sweep").rglob("run-*.wandb"))
    assert len({path.name for path in runs}) == 2
    assert all(path.parent.name.startswith("offline-run") for path in runs)
    for path in runs:
        assert f"\n  wandb sync {path.parent}\n" in done.stdout + done.stderr
    for seed, path in enumerate(runs, 0):
        read = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        text = subprocess.run(read, capture_output=True, text=True, timeout=60).stdout
        records = [json.loads(line) for line in text.splitlines()]
        kinds = {kind: [r[kind] for r in records if kind in r] for kind in ("run", "history")}
        (start,) = kinds["run"]
        assert start["config"]["update"]["seed"] == seed
        assert start["run_group"] == "sweep"
        rows = [history["item"] for history in kinds["history"]]
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        own = metrics(path.parents[2])[-1]
        assert str(rows[-1]["val_loss"]) == own["val_loss"]
        assert rows[-1]["delay/layers.0._type"] == "histogram"
        assert 0 < rows[-1]["density/readout.linear.weight"] <= 1
        logged = {*(name.removesuffix("._type") for name in rows[-1])}
        logged |= json.loads((path.parents[2] / "summary.json").read_text()).keys()
        dashboard = yaml.safe_load((ROOT / "configs" / "wandb_dashboard.yaml").read_text())
        for panel in dashboard["panels"]:
            shown = [*panel["y"], panel.get("x", dashboard["x_axis"])]
            for name in shown:
                assert name.startswith("config.") or fnmatch.filter(logged, name), panel


BAD: list[tuple[str, Any]] = [
    ("optim=adabregg", "Available options"),
    ("optim.lrr=0.1", "optim.lrr is no option of optim=adabreg. Did you mean lr?"),
    (
        "optim.momentum=0",
        "optim=linbreg, sgd, admm take it; ++optim.momentum=... gives it to those",
    ),
    ("sed=1", "sed is no option of the config. Did you mean seed?"),
    ("optim.lr=fast", "optim.lr=fast has the wrong type"),
    ("optim.lr=-0.1", "optim.lr=-0.1: Invalid lr: -0.1"),
    ("optim.init_density=0", "density"),
    ("optim.regularizer=l3", "l1_nonneg"),
    ("dataset.root=/nowhere", "lacks train.h5"),
    ("model.tau=0.5", "tau=0.5 must be at least 1"),
    ("device=warp", "device=warp cannot be used here"),
    ("hydra.run.dir=/dev/null/run", "Check the path"),
    ("trainer.resume=/nowhere/last.pt", "no checkpoint"),
    ("trainer.start=run", "trainer.start is now called trainer.init_from"),
    ("optim.delay_lr=-1", "optim.delay_lr=-1.0 must be at least 0"),
]


@pytest.mark.parametrize(("option", "message"), BAD)
def test_a_mistake_gets_one_clear_paragraph(
    command: Run, tmp_path: Path, option: str, message: str
) -> None:
    folder = [] if "hydra" in option else [f"hydra.run.dir={tmp_path}/run"]
    done = command("train.py", *SMALL_DIGITS, *folder, option)
    assert done.returncode == 1
    text = " ".join((done.stdout + done.stderr).split())
    assert message in text
    assert "Traceback" not in text
    assert not list(tmp_path.rglob("summary.json"))
