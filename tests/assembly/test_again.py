"""The commands that continue a run or a sweep: a shell and Hydra read them as they were meant."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from snnbreg.assembly import again, cli
from tests_support import ROOT


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run inside Hydra, with two overrides of the config and one of Hydra."""
    words = ["optim.lam=3", "hydra.verbose=true", "trainer.resume=true", "hydra.run.dir=old"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "--config-dir", "my configs"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", *sys.argv])
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("config", words, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    yield
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    ("argv", "original", "program"),
    [
        (["train.py"], ["python", "train.py"], ["python", "train.py"]),
        (["a b/train.py"], ["/bin/python3", "-u", "x"], ["/bin/python3", "a b/train.py"]),
        (["/v/bin/snnbreg"], ["/v/bin/python", "/v/bin/snnbreg", "train"], ["snnbreg", "train"]),
        (["/v/snnbreg/__main__.py"], ["python", "-m"], ["python", "-m", "snnbreg", "train"]),
    ],
)
def test_the_command_begins_as_it_was_typed(
    argv: list[str], original: list[str], program: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", "seed=0,1", "scheduler.lam={name: target, density: 0.1}", "a='b c'"]
    monkeypatch.setattr(sys, "argv", [*argv, *words])
    monkeypatch.setattr(sys, "orig_argv", original)
    assert shlex.split(again.same()) == [*program, *words]


def test_a_run_is_continued_by_its_folder_and_by_hydras_options(started: None) -> None:
    assert again.to_continue(Path("/runs/one")) == (
        "python3 train.py --config-dir 'my configs' hydra.verbose=true "
        "hydra.run.dir=/runs/one trainer.resume=true"
    )


@pytest.mark.parametrize("folder", ["/runs/a=1,b", "/a b/it's", '/x"y', "/runs/2026-01-01_12"])
def test_any_folder_survives_shell_and_hydra(started: None, folder: str) -> None:
    words = shlex.split(again.to_continue(Path(folder)))
    override = next(word for word in words if word.startswith("hydra.run.dir"))
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("config", [override], return_hydra_config=True)
    assert config.hydra.run.dir == folder


def test_a_sweep_that_is_stopped_is_continued_by_its_own_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["/v/bin/snnbreg", "-m", "seed=0,1", "model.hidden=[8]"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    handler = signal.getsignal(signal.SIGTERM)
    for sweep, said in (
        (None, ""),
        (tmp_path, "Continue the sweep with:\n  snnbreg train -m seed=0,1 'model.hidden=[8]'\n"),
    ):
        monkeypatch.setattr(cli.FailedJobs, "sweep", sweep)
        with pytest.raises(SystemExit) as stop:
            cli.run(main)
        assert stop.value.code == 130
        found = capsys.readouterr().err
        assert found.endswith(said)
        assert bool(found) == bool(said)
    signal.signal(signal.SIGTERM, handler)


def test_processes_of_one_machine_are_started_by_torchrun(
    started: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again.dist, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert again.to_continue(Path("/r")).startswith("torchrun --nproc-per-node=2 train.py ")
    monkeypatch.setenv("WORLD_SIZE", "4")  # and another machine
    assert again.to_continue(Path("/r")).startswith("python3 train.py ")
