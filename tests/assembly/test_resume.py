"""Which config and checkpoint a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from snnbreg import assembly
from snnbreg.training import RunFolder
from tests_support import SMALL_DIGITS

Compose = Callable[..., DictConfig]
Train = Callable[..., dict[str, Any]]


@pytest.fixture
def start(composed: Compose) -> Callable[..., Any]:
    """Settle a run as the command line would: with overrides, in a folder."""

    def make(folder: Path, *overrides: str, sweep: bool = False) -> Any:
        return assembly.settle(composed(*SMALL_DIGITS, *overrides), folder, overrides, sweep)

    return make


@pytest.fixture
def finished(start: Callable[..., Any], train: Train, tmp_path: Path) -> Path:
    """The folder of a small run with a lambda of its own."""
    folder = tmp_path / "finished"
    config, checkpoint = start(folder, "optim.lam=0.3")
    assert checkpoint is None
    train(config, RunFolder(folder))
    return folder


def test_a_folder_with_a_run_is_not_overwritten(start: Any, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"already holds a run.*trainer\.resume=true"):
        start(finished)
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


def test_resuming_takes_the_folders_own_config(start: Any, finished: Path) -> None:
    config, checkpoint = start(finished, "trainer.resume=true")
    assert config["optim"]["lam"] == 0.3
    assert checkpoint["epoch"] == 3
    assert config["trainer"]["resume"] is False


def test_an_option_added_with_two_pluses_is_left_to_those_that_have_it(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    adam, _ = start(tmp_path / "adam", "optim=adam", "++optim.lam=0.7")
    assert adam == start(tmp_path / "same", "optim=adam")[0]
    assert "++optim.lam=0.7 is left out: optim=adam has none" in caplog.text
    adabreg, _ = start(tmp_path / "adabreg", "++optim.lam=0.7", "++trainer.grad_clip=2.0")
    assert (adabreg["optim"]["lam"], adabreg["trainer"]["grad_clip"]) == (0.7, 2.0)
    for wrong in ("++optim.lamm=0.7", "+optim.lam=0.7"):  # nobody's option; meant for Adam
        with pytest.raises(ValueError, match=f"{wrong.strip('+')[:-4]} is no option of optim=adam"):
            start(tmp_path / "wrong", "optim=adam", wrong)


def test_resuming_an_empty_folder_starts_a_run(start: Any, tmp_path: Path) -> None:
    config, checkpoint = start(tmp_path / "new", "trainer.resume=true", "optim.lam=0.7")
    assert checkpoint is None
    assert config["optim"]["lam"] == 0.7


def test_overrides_apply_on_top_and_are_printed(
    start: Any, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config, _ = start(finished, "trainer.resume=true", "trainer.select=deployed", "logger=wandb")
    assert config["trainer"]["select"] == "deployed"
    assert config["logger"]["name"] == "wandb"
    assert config["optim"]["lam"] == 0.3
    assert "trainer.select=deployed (it was published)" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        "model.hidden=[12,11]",
        "dataset.bin_ms=100",
        "optim.lam=0.4",
        "optim=linbreg",
        "scheduler=none",
        "seed=1",
        "trainer.epochs=4",
    ],
)
def test_another_run_is_refused(start: Any, finished: Path, change: str) -> None:
    config = (finished / "config.yaml").read_text()
    with pytest.raises(ValueError, match="holds another run"):
        start(finished, "trainer.resume=true", change)
    assert (finished / "config.yaml").read_text() == config


def test_the_same_group_again_is_no_change(start: Any, finished: Path) -> None:
    config, _ = start(finished, "optim=adabreg", "trainer.resume=true")
    assert config["optim"]["lam"] == 0.3


def test_a_checkpoint_is_continued_in_a_new_folder(
    start: Any, finished: Path, tmp_path: Path, train: Train
) -> None:
    new = tmp_path / "new"
    config, checkpoint = start(new, f"trainer.resume={finished / 'checkpoints' / 'last.pt'}")
    assert config["optim"]["lam"] == 0.3
    train(config, RunFolder(new), checkpoint)
    assert RunFolder(new).metrics.read_text() == RunFolder(finished).metrics.read_text()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        start(tmp_path / "newer", "trainer.resume=/nowhere/last.pt")


def test_a_sweep_continues_its_own_jobs_only(start: Any, finished: Path) -> None:
    _, checkpoint = start(finished, "optim.lam=0.3", sweep=True)
    assert checkpoint["epoch"] == 3
    with pytest.raises(ValueError, match=r"optim\.lam=0\.4 \(it was 0\.3\)"):
        start(finished, "optim.lam=0.4", sweep=True)


def test_a_run_older_than_a_key_is_continued(start: Any, finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    (finished / "config.yaml").write_text(text.replace("  fold: 0\n", ""))
    assert "fold" in text
    config, checkpoint = start(finished, "trainer.resume=true")
    assert config["dataset"]["fold"] == 0
    assert checkpoint["epoch"] == 3


@pytest.mark.parametrize("text", ["optim: [", "seed: 0\n"])
def test_a_damaged_config_is_named(start: Any, finished: Path, text: str) -> None:
    (finished / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml is not readable|says nothing about"):
        start(finished, "trainer.resume=true")
