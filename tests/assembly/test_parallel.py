"""Many runs at a time, with a stand-in for train.py that only writes what a run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnbreg.assembly import cli
from snnbreg.assembly.parallel import IN_USE, Run, Study
from snnbreg.runs import FolderInUseError
from snnbreg.training import RunFolder

TRAIN = """
import json, os, pathlib, sys, time
values = dict(a.split("=", 1) for a in sys.argv[1:])
folder = pathlib.Path(values["hydra.run.dir"].strip("'"))
with open(folder.parent / "log", "a") as log:
    threads = os.environ["OMP_NUM_THREADS"]
    log.write(f"+ {folder.name} {threads} {values['trainer.resume']}\\n")
    log.flush()
    time.sleep(float(values["sleep"]))
    log.write(f"- {folder.name}\\n")
if folder.name == "busy" and not (folder / "tried").exists():
    (folder / "tried").touch()
    sys.exit(75)
if "bad" in folder.name:
    sys.exit("it broke\\nfor a reason")
(folder / "metrics.csv").write_text("epoch\\n1\\n2\\n")
status = "diverged" if "diverged" in folder.name else "completed"
(folder / "summary.json").write_text(json.dumps({"status": status}))
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "train.py").write_text(TRAIN)
    return [sys.executable, str(tmp_path / "train.py")]


def runs(folder: Path, *names: str, sleep: float = 0.0) -> list[Run]:
    return [Run(name, folder / name, [f"sleep={sleep}"], 2) for name in names]


def log(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_the_missing_runs_are_run_and_a_failure_stops_nobody(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b" / "x").mkdir(parents=True)
    (tmp_path / "b" / "summary.json").write_text('{"status": "completed"}')
    planned = runs(tmp_path, "a", "b", "bad", "diverged", "c")
    failed = Study(planned, command).fit(poll=0.01)
    assert failed == {"bad": "for a reason"}
    assert [entry[1] for entry in log(tmp_path) if entry[0] == "+"] == ["a", "bad", "diverged", "c"]
    threads = str(os.cpu_count())
    assert all(entry[2:] == [threads, "true"] for entry in log(tmp_path) if entry[0] == "+")
    assert "4/5 runs, 8/10 epochs" in capsys.readouterr().err.splitlines()[-1]
    (tmp_path / "log").unlink()
    assert Study(planned, command).fit(poll=0.01) == failed  # once more: the failed one alone
    assert [entry[1] for entry in log(tmp_path)] == ["bad", "bad"]


def test_as_many_at_a_time_as_asked_for(command: list[str], tmp_path: Path) -> None:
    Study(runs(tmp_path, *"abcdef", sleep=0.3), command, jobs=3).fit(poll=0.01)
    active, most = 0, 0
    for sign, *_ in log(tmp_path):
        active += 1 if sign == "+" else -1
        most = max(most, active)
    assert active == 0
    assert most == 3
    assert len(log(tmp_path)) == 12


HOLD = """
import pathlib, sys, time
from filelock import FileLock
folder = pathlib.Path(sys.argv[1])
with FileLock(folder / ".lock"):
    (folder / "held").touch()
    time.sleep(0.5)
    (folder / "summary.json").write_text('{"status": "completed"}')
"""


def test_a_run_that_another_process_has_is_waited_for(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "a")])
    while not (tmp_path / "a" / "held").exists():
        assert other.poll() is None
        time.sleep(0.01)
    assert RunFolder(tmp_path / "a").in_use()
    assert Study(runs(tmp_path, "a", "b"), command).fit(poll=0.01) == {}
    assert other.wait() == 0
    assert [entry[1] for entry in log(tmp_path)] == ["b", "b"]
    assert not RunFolder(tmp_path / "a").in_use()


def test_a_run_that_finds_its_folder_in_use_is_tried_again(
    command: list[str], tmp_path: Path
) -> None:
    assert Study(runs(tmp_path, "busy", "b"), command, jobs=2).fit(poll=0.01) == {}
    assert sorted(entry[1] for entry in log(tmp_path) if entry[0] == "+") == ["b", "busy", "busy"]


def test_stopping_ends_the_runs(command: list[str], tmp_path: Path) -> None:
    planned = runs(tmp_path, "a", sleep=60)

    class Stopped(Study):
        def progress(self) -> str:
            path = tmp_path / "log"
            if path.exists() and path.read_text():  # the file is there before its first line is
                raise KeyboardInterrupt
            return ""

    study = Stopped(planned, command)
    original = sys.stderr.isatty
    sys.stderr.isatty = lambda: True  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            study.fit(poll=0.01)
    finally:
        sys.stderr.isatty = original  # type: ignore[method-assign]
    assert log(tmp_path) == [["+", "a", str(os.cpu_count()), "true"]]
    assert not RunFolder(tmp_path / "a").in_use()


def test_the_time_left_follows_from_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(runs(tmp_path, "a", "b", "c"), [])
    study._start, study._before = 100.0, 2  # two epochs were there before
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + 3600)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("epoch\n1\n2\n")
    (tmp_path / "a" / "summary.json").write_text('{"status": "completed"}')
    assert study.progress() == "1/3 runs, 4/6 epochs, about 1 h 00 min left"


@pytest.mark.parametrize("full", ["0", "1"])
def test_a_folder_in_use_has_its_exit_code_whatever_hydra_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full: str
) -> None:
    """A study's processes inherit HYDRA_FULL_ERROR=1; a traceback and code 1 were a failed run."""

    def train() -> None:
        raise FolderInUseError("Another process is writing here")

    monkeypatch.setenv("HYDRA_FULL_ERROR", full)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.run(train)
    assert ended.value.code == IN_USE == 75
    assert "Another process is writing here" in capsys.readouterr().err
