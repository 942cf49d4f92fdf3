"""Classes of the user's own by their dotted path: networks, data sets, optimizers, loggers."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snnbreg import assembly
from snnbreg.assembly.names import own_code
from snnbreg.commands.evaluate import evaluate_run
from snnbreg.runs import load_checkpoint
from snnbreg.training import RunFolder

Train = Callable[..., dict[str, Any]]
Own = Callable[..., dict[str, Any]]

MODULE = """
import torch
from torch import nn
from snnbreg.datasets import FrameSet, Splits

class SmallConv(nn.Module):
    def __init__(self, outputs: int, width: int = 4, act: str = "relu"):
        super().__init__()
        self.conv = nn.Conv1d(1, width, 3)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, outputs)

    def forward(self, frames):  # (T, B, C)
        x = torch.relu(self.norm(self.conv(frames.mean(0).unsqueeze(1))))
        return self.out(x.mean(2)).unsqueeze(0)

class Noise:
    def __init__(self, samples: int = 30, channels: int = 9):
        self.samples, self.channels = samples, channels

    def load(self):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(self.samples) % 3
        rates = 1.0 + 4.0 * labels.view(-1, 1, 1).expand(-1, 4, self.channels)
        split = FrameSet(torch.poisson(rates, generator=generator).to(torch.uint8), labels)
        return Splits("noise", split, split, split, self.channels, 3, 4)

class Signs(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr)

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.sign_()
        super().step()

class Lines:
    def __init__(self, folder, config, title: str):
        self.file = folder / "lines.txt"
        self.file.write_text(title)

    def log_epoch(self, row, network):
        self.file.write_text(self.file.read_text() + f" {row['epoch']}")

    def finish(self, summary):
        self.file.write_text(self.file.read_text() + " end")

broken = 3
"""
CONV = {"name": "own_parts_of_a_user.SmallConv", "width": 5}


@pytest.fixture
def own(
    small: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Own:
    """A checked config in which whole groups are the user's own; their module is in a folder."""
    (tmp_path / "own_parts_of_a_user.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_parts_of_a_user", raising=False)

    def make(*overrides: str, **groups: Any) -> dict[str, Any]:
        return assembly.check({**small(*overrides), **groups})

    return make


def test_a_network_trains_resumes_and_is_evaluated(own: Own, train: Train, tmp_path: Path) -> None:
    config = own("optim.lr=0.01", "optim.init_density=0.5", model=CONV)
    assert config["model"] == {
        **CONV, "act": "relu", "objective": "sum_cross_entropy", "sigma_decay": 0.95
    }  # fmt: skip
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    summary = train(config, whole)
    state = load_checkpoint(whole.last)
    assert state["network"]["conv.weight"].shape == (5, 1, 3)
    weights = [state["network"][name] for name in ("conv.weight", "out.weight")]
    row = state["history"][-1]
    assert row["nonzero"] == sum(int((weight != 0).sum()) for weight in weights)
    assert row["density"] == row["nonzero"] / (5 * 3 + 10 * 5)
    assert {"val_acc", "deployed_val_acc", "nonzero/conv.weight"} <= set(row)
    assert not {"firing_rate", "sigma", "synops"} & set(row)
    figures = evaluate_run(str(whole.path), [])
    assert (figures["acc"], figures["nonzero"]) == (summary["test_acc"], summary["nonzero"])
    train({**config, "trainer": {**config["trainer"], "epochs": 3}}, broken, None)
    early = load_checkpoint(broken.initial)
    train(config, broken, early)
    for name, value in load_checkpoint(broken.last)["network"].items():
        assert torch.equal(value, state["network"][name])


def test_norms_and_biases_carry_no_regulariser(own: Own) -> None:
    config = own(model=CONV)
    network = assembly.build_network(config, 9, 3, torch.device("cpu"))
    groups = assembly.build_optimizers(config, network)["weights"].param_groups
    names = {group["regularizer"]: group["param_names"] for group in groups}
    assert names["l1"] == ["conv.weight", "out.weight"]
    assert set(names["none"]) == {"conv.bias", "norm.weight", "norm.bias", "out.bias"}


def test_a_data_set_an_optimizer_and_a_logger(own: Own, train: Train, tmp_path: Path) -> None:
    sizes = {"batch_size": 10, "eval_batch_size": 10, "epochs": 20}
    config = own(
        "trainer.epochs=20",
        dataset={"name": "own_parts_of_a_user.Noise", "samples": 60, **sizes},
        optim={"name": "own_parts_of_a_user.Signs", "lr": 0.01},
        model=CONV,
        logger={"name": "own_parts_of_a_user.Lines", "title": "epochs"},
    )
    assert config["dataset"]["channels"] == 9
    assert train(config, RunFolder(tmp_path / "run"))["test_acc"] > 0.6  # of three classes
    lines = (tmp_path / "run" / "lines.txt").read_text().split()
    assert lines == ["epochs", *map(str, range(1, 21)), "end"]


@pytest.mark.parametrize(("group", "values", "message"), [
    ("model", {**CONV, "widht": 3}, r"model\.widht is no option .*Did you mean width\?"),
    ("model", {**CONV, "width": "wide"}, r"model\.width=wide has the wrong type"),
    ("model", {"name": "no_such_module.Net"}, "no module no_such_module in the current folder"),
    ("model", {"name": "own_parts_of_a_user.Conv"}, "has no class or function Conv"),
    ("model", {"name": "own_parts_of_a_user.broken"}, "has no class or function broken"),
    ("logger", {"name": "own_parts_of_a_user.Lines"}, r"says nothing about logger\.title"),
    ("dataset", {"name": "own_parts_of_a_user.Noise"}, r"says nothing about dataset\.batch_size"),
    ("optim", {"name": "adabregg"}, r"Did you mean adabreg\?.*dotted path"),
])  # fmt: skip
def test_mistakes_are_explained(own: Own, group: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own(**{group: values})


def test_what_needs_delays_is_refused_without(own: Own, train: Train, tmp_path: Path) -> None:
    config = own("trainer.clamp_delays=true", model=CONV)
    with pytest.raises(ValueError, match=r"clamp_delays=true needs a network with delays"):
        train(config, RunFolder(tmp_path / "run"))


def test_another_version_of_the_file_is_another_run(own: Own, tmp_path: Path) -> None:
    config = own(model=CONV)
    before = own_code(config)
    assert set(before) == {"model"}
    path = tmp_path / "own_parts_of_a_user.py"
    path.write_text(path.read_text() + textwrap.dedent("other = 1\n"))
    assert own_code(config) != before
    assert own_code(own()) == {}
