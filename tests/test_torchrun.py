"""The command line in several processes, with the environment that torchrun gives to each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from snnbreg.assembly import objects, torchrun
from snnbreg.runs import RunFolder
from tests_support import ROOT, SMALL_DIGITS


def started(folder: Path, *overrides: str) -> list[subprocess.Popen[str]]:
    """Two processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    together |= {"LOCAL_WORLD_SIZE": "2", "SNNBREG_CACHE": str(folder / "cache")}
    command = [sys.executable, "train.py", *overrides, f"hydra.run.dir={folder}/run"]
    return [
        subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **together, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]  # fmt: skip


def summary(folder: Path) -> dict[str, Any]:
    found = RunFolder(folder).read_summary()
    assert found is not None
    return found


def test_a_lost_process_ends_the_run_and_one_alone_continues_it(tmp_path: Path) -> None:
    processes = started(tmp_path, *SMALL_DIGITS, "dataset.epochs=60")
    run = RunFolder(tmp_path / "run")
    while not run.last.exists() and processes[0].poll() is None:
        time.sleep(0.01)
    processes[1].kill()
    first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert processes[0].returncode == 74, first
    assert "does not answer" in first
    assert "of 60 epochs. Continue with: " in first
    assert "epoch" not in second  # the first one speaks
    assert run.read_summary() is None
    alone = ["train.py", f"hydra.run.dir={run.path}", "trainer.resume=true"]
    subprocess.run([sys.executable, *alone], cwd=ROOT, check=True, capture_output=True)
    assert summary(run.path)["status"] == "completed"
    assert summary(run.path)["processes"] == 1
    history = run.read_metrics()
    assert history is not None
    assert history["epoch"] == [float(epoch) for epoch in range(1, 61)]
    options = [*SMALL_DIGITS, "dataset.epochs=60", f"hydra.run.dir={tmp_path}/one"]
    other = subprocess.Popen([sys.executable, "train.py", *options], cwd=ROOT)
    while not RunFolder(tmp_path / "one").last.exists() and other.poll() is None:
        time.sleep(0.01)
    other.send_signal(signal.SIGINT)
    other.wait()
    expected = RunFolder(tmp_path / "one").read_metrics()
    assert expected is not None
    for name in ("train_loss", "val_loss", "val_acc", "density", "synops", "grad_norm"):
        assert history[name][0] == pytest.approx(expected[name][0], rel=1e-5), name


def test_a_signal_at_one_process_stops_both(tmp_path: Path) -> None:
    processes = started(tmp_path, *SMALL_DIGITS, "dataset.epochs=5000")
    run = RunFolder(tmp_path / "run")
    while not run.last.exists() and processes[0].poll() is None:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    first, _ = (process.communicate(timeout=300)[0] for process in processes)
    assert [process.returncode for process in processes] == [130, 130], first
    found = summary(run.path)
    assert (found["status"], found["processes"]) == ("interrupted", 2)
    assert found["test_acc"] is not None
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "run"}
    assert json.loads((run.path / "summary.json").read_text()) == found


def test_what_one_process_refuses_all_of_them_leave(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("epoch\n1\n")
    processes = started(tmp_path, *SMALL_DIGITS)
    first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert "already holds a run" in first
    assert "already holds a run" not in second
    assert [process.returncode for process in processes] == [1, 1]


def test_no_sweep_and_no_wrong_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with torchrun.joined(["seed=1"]) as given:
        assert given == ["seed=1"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="A sweep cannot run"), torchrun.joined(["-m", "seed=0,1"]):
        pass
    monkeypatch.setenv(torchrun.TIMEOUT, "soon")
    with pytest.raises(ValueError, match="SNNBREG_TIMEOUT=soon must be"), torchrun.joined([]):
        pass


def test_a_machine_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and GPUs, by the process's number on its machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert torchrun.most_threads() == 8
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert torchrun.on_this_machine() == (2, 3)
    assert torchrun.most_threads() == 2
    asked: list[str] = []
    nowhere = torch.device("meta")

    def device(name: str) -> torch.device:
        asked.append(name)
        return nowhere

    monkeypatch.setattr(objects.torch, "device", device)
    objects.build_device({"device": "cuda"})
    assert asked == ["cuda:2"]
