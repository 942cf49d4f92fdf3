"""Which config and checkpoint a run starts from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig

from snnbreg import assembly
from snnbreg.assembly.resume import refuse_changes
from snnbreg.runs import load_checkpoint
from snnbreg.training import RunFolder, Trainer
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


def test_nothing_but_places_and_speed_may_change(small: Callable[..., dict[str, Any]]) -> None:
    config = small()
    free = set()
    for group in ("dataset", "model", "optim", "scheduler"):
        for key in config[group]:
            other = {**config, group: {**config[group], key: "another"}}
            with contextlib.suppress(ValueError):
                refuse_changes(config, other, "it")
                free.add(f"{group}.{key}")
    places = {"dataset.root", "dataset.cache"}
    assert free == {*places, "dataset.eval_batch_size", "model.engine", "model.segments"}
    with pytest.raises(ValueError, match="seed=9"):
        refuse_changes(config, {**config, "seed": 9}, "it")
    with pytest.raises(ValueError, match=r"trainer\.epochs=9"):
        refuse_changes(config, {**config, "trainer": {**config["trainer"], "epochs": 9}}, "it")


def test_another_run_begins_with_its_weights(
    start: Any, finished: Path, train: Train, tmp_path: Path
) -> None:
    """Under the key's former name too, in a config that was saved then."""
    best = load_checkpoint(finished / "checkpoints" / "best.pt")["network"]
    config, _ = start(tmp_path / "new", f"trainer.init_from={finished}", "optim=adam")
    train(config, RunFolder(tmp_path / "new"))
    first = load_checkpoint(RunFolder(tmp_path / "new").initial)
    assert all(torch.equal(value, best[name]) for name, value in first["network"].items())
    path = tmp_path / "new" / "config.yaml"
    assert f"init_from: {finished}" in path.read_text()
    path.write_text(path.read_text().replace("init_from:", "start:"))
    config, _ = start(tmp_path / "new", "trainer.resume=true")
    assert config["trainer"]["init_from"] == str(finished)
    assert "start" not in config["trainer"]
    with pytest.raises(ValueError, match=r"another run: trainer\.init_from=elsewhere"):
        start(tmp_path / "new", "trainer.resume=true", "trainer.init_from=elsewhere")
    with pytest.raises(FileNotFoundError, match=r"init_from=nowhere: .*Give a run folder"):
        start(tmp_path / "newer", "trainer.init_from=nowhere")
    assert not (tmp_path / "newer").exists()


def test_a_choice_whose_checkpoint_was_not_kept_is_refused(
    start: Any, train: Train, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config, _ = start(folder, "dataset.epochs=4")
    train(config, RunFolder(folder))
    run = RunFolder(folder)
    state = load_checkpoint(run.last)
    for row, published, deployed in zip(
        state["history"], (0.1, 0.9, 0.2, 0.3), (0.9, 0.1, 0.2, 0.3), strict=True
    ):
        row.update(val_acc=published, deployed_val_acc=deployed)
    run.save(run.last, state)
    run.save(run.best, {**state, "epoch": 2, "history": state["history"][:2]})
    text = run.config.read_text()
    with pytest.raises(ValueError, match=r"epoch 1, which .* those of epoch 2 and 4.*select=last"):
        start(folder, "trainer.resume=true", "trainer.select=deployed")
    assert run.config.read_text() == text
    assert load_checkpoint(run.best)["epoch"] == 2
    with pytest.raises(ValueError, match="epoch 1, which"):
        start(tmp_path / "new", f"trainer.resume={run.last}", "trainer.select=deployed")
    assert start(folder, "trainer.resume=true")[0]["trainer"]["select"] == "published"
    config, checkpoint = start(folder, "trainer.resume=true", "trainer.select=last")
    assert train(config, run, checkpoint)["best_epoch"] == 4
    assert load_checkpoint(run.best)["epoch"] == 4


@pytest.mark.parametrize("last", [True, False])
def test_a_run_killed_between_its_checkpoints_continues_from_the_later_one(
    start: Any, finished: Path, train: Train, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.pt of an epoch is written before last.pt; Ctrl-C follows at once."""
    run = RunFolder(finished)
    state, metrics = load_checkpoint(run.last), run.metrics.read_text()
    early = {**state, "epoch": 1, "history": state["history"][:1]}
    run.summary.unlink()
    if last:
        run.save(run.last, early)
    else:
        run.last.unlink()
    run.save(run.best, {**state, "epoch": 2, "history": state["history"][:2]})
    config, checkpoint = start(finished, "trainer.resume=true")
    assert checkpoint["epoch"] == load_checkpoint(run.last)["epoch"] == 2
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        summary = train(config, run, checkpoint)
    assert (summary["status"], summary["best_epoch"]) == ("interrupted", 2)
    assert run.metrics.read_text().splitlines() == metrics.splitlines()[:3]


def test_a_damaged_best_checkpoint_is_passed_over_where_it_is_not_needed(
    start: Any, finished: Path, tmp_path: Path
) -> None:
    run = RunFolder(finished)
    state = load_checkpoint(run.last)
    for row, score in zip(state["history"], (0.9, 0.1, 0.2), strict=True):
        row["val_acc"] = score
    run.save(run.last, state)
    run.best.write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"epoch 1, which .* did not keep: it has .* epoch 3"):
        start(finished, "trainer.resume=true")
    _, checkpoint = start(finished, "trainer.resume=true", "trainer.select=last")
    assert checkpoint["epoch"] == 3
    copied = f"trainer.resume={run.last}"
    start(tmp_path / "copy", copied, "trainer.select=last")
    assert load_checkpoint(tmp_path / "copy" / "checkpoints" / "best.pt")["epoch"] == 3


def test_a_foreign_config_is_plain_text(
    start: Any, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "do not tell")
    path = finished / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    saved["dataset"]["cache"] = "${oc.env:SECRET}"
    saved["scheduler"]["delays"] = {"name": "cosine", "per": "${oc.env:SECRET}"}
    path.write_text(yaml.safe_dump(saved))
    saved["scheduler"]["delays"] = None
    with pytest.raises(ValueError, match=r"scheduler\.delays") as error:
        start(finished, "trainer.resume=true", "scheduler.delays=null")
    assert "do not tell" not in str(error.value)
    path.write_text(yaml.safe_dump(saved))
    config, _ = start(finished, "trainer.resume=true")
    assert config["dataset"]["cache"] == "${oc.env:SECRET}"
    assert yaml.safe_load(path.read_text())["dataset"]["cache"] == "${oc.env:SECRET}"
    saved["dataset"]["bin_ms"] = "${oc.env:SECRET}"
    path.write_text(yaml.safe_dump(saved))
    with pytest.raises(ValueError, match=r"dataset\.bin_ms has the wrong type") as error:
        start(finished, "trainer.resume=true")
    assert "do not tell" not in str(error.value)


def test_a_run_keeps_its_number_of_threads(start: Any, finished: Path) -> None:
    """Another number would change the last bits of sums."""
    assert yaml.safe_load((finished / "config.yaml").read_text())["trainer"]["threads"] == 1
    torch.set_num_threads(2)
    assert start(finished, "trainer.resume=true")[0]["trainer"]["threads"] == 1
    assert start(finished, "optim.lam=0.3", sweep=True)[0]["trainer"]["threads"] == 1
    config, _ = start(finished, "trainer.resume=true", "trainer.threads=2")
    assert config["trainer"]["threads"] == 2


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
