"""Methods of training under a name of the group optim: ADMM, and one of a user's own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snnbreg import assembly
from snnbreg.admm import ADMM
from snnbreg.commands.evaluate import evaluate_run
from snnbreg.runs import RunFolder, load_checkpoint
from snnbreg.training import GradientSteps
from tests_support import assert_equal_states

Small = Callable[..., dict[str, Any]]
Train = Callable[..., dict[str, Any]]

CPU = torch.device("cpu")
SMALL = [
    "dataset.limit=40", "dataset.batch_size=16", "dataset.epochs=4", "dataset.bin_ms=50",
    "dataset.channels=28", "model.hidden=[16]", "device=cpu",
]  # fmt: skip

MODULE = """
import torch

class Noise:
    def __init__(self, network, seed, epochs, size: float, times: int = 1):
        self.network, self.generator = network, torch.Generator().manual_seed(seed)
        self.size, self.times, self.drawn = size / epochs, times, 0

    def epoch(self, number, batches, done):
        for frames, labels in batches:
            done()
        for p in self.network.parameters():
            step = torch.randn(p.shape, generator=self.generator)
            p.data += self.size * self.times * step
        self.drawn += 1
        return {"train_loss": 0.5, "train_acc": 0.25}

    def state_dict(self):
        return {"noise": {"drawn": self.drawn, "random": self.generator.get_state()}}

    def load_state_dict(self, state, source):
        self.drawn = state["noise"]["drawn"]
        self.generator.set_state(state["noise"]["random"])
"""


@pytest.fixture
def config_of(composed: Callable[..., Any]) -> Small:
    """A checked config of a small ADMM run, with further overrides."""
    return lambda *more: assembly.check(composed("optim=admm", *SMALL, *more))


def test_a_run_leaves_what_every_run_leaves(
    config_of: Small, train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = RunFolder(tmp_path)
    summary = train(config_of("optim.lam=0.01"), run)
    assert summary["status"] == "completed"
    assert "makes no gradient steps: scheduler=onecycle is not used" in caplog.text
    state = load_checkpoint(run.last)
    row = state["history"][-1]
    columns = {
        "train_loss", "train_acc", "val_loss", "val_acc", "deployed_val_acc", "objective", "lam",
        "rho", "beta", "residual/0", "residual/1", "spike_residual/0", "density", "firing_rate",
    }  # fmt: skip
    assert columns <= set(row)
    assert "spike_residual/1" not in row
    assert row["density"] < 1
    assert row["objective"] < state["history"][0]["objective"]
    figures = evaluate_run(str(run.path), [])
    assert (figures["acc"], figures["nonzero"]) == (summary["test_acc"], summary["nonzero"])


AS_PUBLISHED = ["optim.init=uniform", "optim.readout=admm", "optim.restart=0", "optim.warmup=0.5"]


@pytest.mark.parametrize(("overrides", "batches"), [
    ([], 0), (["optim.restart=3"], 3), (AS_PUBLISHED, 3),
    ([*AS_PUBLISHED, "optim.form=published"], 3),
])  # fmt: skip
def test_a_run_stopped_in_every_epoch_equals_an_unbroken_one(
    config_of: Small,
    train: Train,
    tmp_path: Path,
    overrides: list[str],
    batches: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three batches, each with states of its own that belong to their samples."""
    config = config_of(*overrides)
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    train(config, whole)
    epoch = ADMM.epoch

    def stop(self: ADMM, *arguments: Any) -> Any:
        if self.variables.batches:  # the second epoch of this process
            raise KeyboardInterrupt
        return epoch(self, *arguments)

    monkeypatch.setattr(ADMM, "epoch", stop)
    checkpoint = None
    for epochs in (1, 2, 3, 4):
        train(config, broken, checkpoint)
        checkpoint = load_checkpoint(broken.last)
        assert checkpoint["epoch"] == epochs
    assert len(checkpoint["admm"]["batches"]) == batches
    assert_equal_states(checkpoint, load_checkpoint(whole.last))


def test_every_epoch_has_the_batches_of_the_first(config_of: Small, tmp_path: Path) -> None:
    config = config_of()
    splits = assembly.build_splits(config)
    network = assembly.build_network(config, splits.channels, splits.classes, CPU)
    trainer = assembly.build_trainer(config, network, splits, RunFolder(tmp_path), CPU)
    assert isinstance(trainer.method, ADMM)
    assert torch.equal(trainer.train.ids, splits.train.ids)
    first, second = (list(trainer.train.epoch(number)) for number in (0, 1))
    assert [len(labels) for _, labels in first] == [16, 16, 8]
    assert_equal_states(first, second)
    assert torch.equal(torch.cat([labels for _, labels in first]), splits.train.targets)


@pytest.mark.parametrize(("overrides", "message"), [
    (["optim.lr=0.1"], r"lr"),
    (["+optim.init_density=0.1"], r"optim\.init_density is no option of optim=admm"),
    (["optim.form=slow"], r"optim: form='slow' is unknown"),
    (["optim.beta=few"], r"optim\.beta=few has the wrong type"),
    (["model.bias=true"], r"optim: .*needs bias=false"),
    (["trainer.grad_clip=1", "trainer.clamp_delays=true"],
     r"makes no gradient steps: leave out trainer\.grad_clip, trainer\.clamp_delays"),
    (["scheduler.lam={name: linear, per: epoch}"], r"leave out scheduler\.lam"),
])  # fmt: skip
def test_mistakes_are_explained(
    config_of: Small, train: Train, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        train(config_of(*overrides), RunFolder(tmp_path))


def test_a_checkpoint_of_another_method_is_refused(
    config_of: Small, small: Small, train: Train, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    train(config_of("trainer.epochs=1"), run)
    config = small("optim=adam", "model=lif", "model.hidden=[16]", *SMALL[:5])
    splits = assembly.build_splits(config)
    network = assembly.build_network(config, splits.channels, splits.classes, CPU)
    trainer = assembly.build_trainer(config, network, splits, run, CPU)
    assert isinstance(trainer.method, GradientSteps)
    with pytest.raises(ValueError, match="run was made with other optimizers: none"):
        trainer.load_state_dict(load_checkpoint(run.last), "run")


def test_gradients_train_the_same_network(small: Small, train: Train, tmp_path: Path) -> None:
    config = small("model=lif", "model.hidden=[16]", "optim.lr=0.02", *SMALL[:5])
    summary = train(config, RunFolder(tmp_path))
    history = load_checkpoint(RunFolder(tmp_path).last)["history"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert summary["status"] == "completed"


def test_a_method_of_the_users_own(
    small: Small, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the seed and the epochs that its constructor asks for."""
    (tmp_path / "own_method.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_method", raising=False)
    own = {"name": "own_method.Noise", "size": 0.1}
    config = assembly.check({**small("dataset.epochs=2"), "optim": own})
    assert config["optim"] == {**own, "times": 1}
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    train(config, whole)
    assert load_checkpoint(whole.last)["history"][1]["train_acc"] == 0.25
    train({**config, "trainer": {**config["trainer"], "epochs": 2}}, broken)
    state = load_checkpoint(whole.last)
    assert state["noise"]["drawn"] == 2
    assert_equal_states(state["network"], load_checkpoint(broken.last)["network"])
    with pytest.raises(ValueError, match=r"optim\.sise is no option .*Did you mean size\?"):
        assembly.check({**config, "optim": {"name": "own_method.Noise", "sise": 1.0}})
