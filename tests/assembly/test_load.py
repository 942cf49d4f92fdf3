"""Runs read back, with their networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import snnbreg
from snnbreg import assembly
from snnbreg.commands.evaluate import evaluate_run
from snnbreg.runs import RunFolder, load_checkpoint
from snnbreg.training import evaluate

Small = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(small: Small, train: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """A run whose best checkpoint is not the last one: its network is trained further."""
    config = small("dataset.epochs=2", "model.norm=batch")
    train(config, RunFolder(tmp_path))
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    shutil.copy(tmp_path / "checkpoints" / "initial.pt", tmp_path / "checkpoints" / "best.pt")
    return tmp_path


@pytest.mark.parametrize("evaluation", ["published", "deployed"])
def test_a_loaded_network_answers_as_the_evaluation_does(
    small: Small, folder: Path, evaluation: str
) -> None:
    before = torch.get_rng_state()
    run = snnbreg.load_run(folder)
    network = run.network
    assert torch.equal(torch.get_rng_state(), before)
    assert run.network is network
    assert not network.training
    config = small()
    splits = assembly.build_splits(config)
    loader = assembly.build_loader(config, splits, "test", torch.device("cpu"))
    found = evaluate(network, loader, assembly.build_task(config), evaluation)
    expected = evaluate_run(str(folder), [f"evaluation={evaluation}"])
    assert {key: expected[key] for key in found} == found
    best = load_checkpoint(folder / "checkpoints" / "best.pt")["network"]
    assert all(torch.equal(best[name], value) for name, value in network.state_dict().items())


def test_history_and_summary_are_what_the_files_say(folder: Path) -> None:
    run = snnbreg.load_run(folder)
    assert run.config == {"seed": 0}
    assert run.history["epoch"] == [1.0, 2.0]
    assert run.history["lr"] == [row["lr"] for row in run.checkpoint("last")["history"]]
    assert run.summary["epochs"] == 2
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*best\.pt"):
        _ = snnbreg.load_run(folder).network


def test_a_network_is_built_for_the_sizes_of_its_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data set is asked; an older checkpoint's are read off its weights, or of the data set."""
    best = folder / "checkpoints" / "best.pt"
    state = load_checkpoint(best)
    assert state["sizes"] == (28, 10, None)
    with monkeypatch.context() as patch:
        patch.setattr("snnbreg.assembly.load.build_splits", None)
        patch.setattr("snnbreg.assembly.load._sizes", None)
        assert snnbreg.load_run(folder).network.layers[0].linear.in_features == 28
    del state["sizes"]
    torch.save(state, best)
    with monkeypatch.context() as patch:
        patch.setattr("snnbreg.assembly.load.build_splits", None)
        assert snnbreg.load_run(folder).network.layers[0].linear.in_features == 28
    monkeypatch.setattr("snnbreg.assembly.load._sizes", lambda state: None)
    assert snnbreg.load_run(folder).network.layers[0].linear.in_features == 28


def test_a_run_of_a_gpus_engine_is_loaded_for_the_cpu(folder: Path) -> None:
    best = folder / "checkpoints" / "best.pt"
    state = load_checkpoint(best)
    state["config"]["model"]["engine"] = "triton"
    torch.save(state, best)
    with torch.no_grad():
        assert snnbreg.load_run(folder).network(torch.zeros(3, 1, 28)).shape == (3, 1, 10)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no .*config\.yaml"):
        snnbreg.load_run(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        _ = snnbreg.load_runs
