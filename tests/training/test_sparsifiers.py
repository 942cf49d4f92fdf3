"""Sparsifiers in whole small runs: named in the config, stopped at every epoch, measured."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from snnbreg import assembly
from snnbreg.optim import SPARSIFIERS
from snnbreg.runs import load_checkpoint
from snnbreg.training import GradientSteps, RunFolder, Trainer
from tests_support import assert_equal_states

Small = Callable[..., dict[str, Any]]
Train = Callable[..., dict[str, Any]]

SETTINGS = {  # all that happens in a method happens within five epochs of three steps
    "gmp": "every: 2",
    "magnitude": "retrain: 0.4",
    "iterative": "rounds: 2, rewind: 1",
    "set": "fraction: 0.5",
    "rigl": "every: 2, end: 1.0, second_moment: gradient",
    "deepr": "l1: 1.0, temperature: 1.0e-4",
    "lasso": "lam: 0.1, end: 0.8",
    "str": "end: 0.6",
    "debias": "begin: 0.6",
}
assert set(SETTINGS) == set(SPARSIFIERS)
EVERY = pytest.mark.parametrize("name", SETTINGS)
FIRING = ("optim=adam", "optim.lr=0.02", "trainer.epochs=5", "optim.init_density=1")


def sparsified(name: str, density: float = 0.3) -> str:
    return f"optim.sparsifier={{name: {name}, density: {density}, {SETTINGS[name]}}}"


class Images(nn.Module):
    """A network that is not ours: frames (T, B, C) -> (1, B, K)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 5)
        self.norm = nn.BatchNorm1d(3)
        self.out = nn.Linear(3 * (inputs - 4), outputs)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(frames.mean(0).unsqueeze(1))))
        out: torch.Tensor = self.out(x.flatten(1)).unsqueeze(0)
        return out


def make_trainer(
    config: dict[str, Any], run: RunFolder, spiking: bool = True, splits: Any = None
) -> Trainer:
    device = assembly.build_device(config)
    splits = splits or assembly.build_splits(config)
    network = assembly.build_network(config, splits.channels, splits.classes, device)
    if not spiking:
        torch.manual_seed(0)
        network = Images(splits.channels, splits.classes)
    return assembly.build_trainer(config, network, splits, run, device)


def rows(run: RunFolder) -> list[dict[str, str]]:
    with open(run.metrics) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("name", "spiking", "per"),
    [
        *((name, False, "step") for name in SETTINGS),
        ("iterative", True, "epoch"),
        ("deepr", True, "step"),
    ],
)
def test_a_run_that_is_stopped_at_any_epoch_goes_on_bit_for_bit(
    small: Small, tmp_path: Path, name: str, spiking: bool, per: str
) -> None:
    config = small(*FIRING, sparsified(name), "scheduler=onecycle", f"scheduler.per={per}")
    run = RunFolder(tmp_path)
    splits = assembly.build_splits(config)
    trainer = make_trainer(config, run, spiking, splits)
    states = {}
    record = trainer._record

    def recorded(row: dict[str, Any]) -> None:
        record(row)
        states[row["epoch"]] = load_checkpoint(run.last)  # by way of the file

    trainer._record = recorded  # type: ignore[method-assign]
    assert trainer.fit() == "completed"
    whole = rows(run)
    assert len({row["train_loss"] for row in whole}) == 5
    for epoch in (0, 1, 2, 3, 4):
        again = make_trainer(config, run, spiking, splits)
        again.load_state_dict(load_checkpoint(run.initial) if epoch == 0 else states[epoch])
        assert again.fit() == "completed"
        assert rows(run) == whole
        assert_equal_states(load_checkpoint(run.last), states[5])


@EVERY
@pytest.mark.parametrize("optim", ["adam", "sgd"])
def test_every_method_ends_at_its_density(
    small: Small, tmp_path: Path, name: str, optim: str
) -> None:
    run = RunFolder(tmp_path)
    make_trainer(small(*FIRING, f"optim={optim}", "optim.lr=0.01", sparsified(name)), run).fit()
    row = rows(run)[-1]
    total = 28 * 12 + 12 * 12 + 12 * 10 + 10 * 10 + 10 * 10
    assert int(row["kept"]) == round(0.3 * total)
    assert float(row["density"]) == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(
    ("name", "threshold"), [*((name, 1000.0) for name in SETTINGS), ("set", 6.0), ("rigl", 6.0)]
)
def test_silent_neurons_change_no_density(
    small: Small, tmp_path: Path, name: str, threshold: float
) -> None:
    """All neurons are silent, or some: new weights without a gradient stay zero."""
    run = RunFolder(tmp_path)
    make_trainer(small(*FIRING, f"model.threshold={threshold}", sparsified(name)), run).fit()
    row = rows(run)[-1]
    assert (float(row["firing_rate/layers.0"]) > 0) == (threshold < 10)
    assert float(row["density"]) == pytest.approx(0.3, rel=0.01)


@EVERY
def test_any_network_can_be_sparsified(small: Small, tmp_path: Path, name: str) -> None:
    config = small(*FIRING, sparsified(name))
    trainer = make_trainer(config, RunFolder(tmp_path), spiking=False)
    network: Any = trainer.network
    assert trainer.fit() == "completed"
    total = network.conv.weight.numel() + network.out.weight.numel()
    assert trainer.history[-1]["kept"] == round(0.3 * total)
    assert trainer.history[-1]["density"] == pytest.approx(0.3, rel=0.01)


def test_the_spread_and_the_delays_start_again_with_the_weights(
    small: Small, tmp_path: Path
) -> None:
    config = small(*FIRING, sparsified("iterative"), "model.sigma=8")  # 3 + 2, rewound by 2... of 5
    trainer = make_trainer(config, RunFolder(tmp_path))
    method = trainer.method
    assert isinstance(method, GradientSteps)
    sparsifier: Any = method.hooks[0]
    assert sparsifier.length == 2
    assert [sparsifier.place(epoch) for epoch in range(5)] == [0, 1, 1, 1, 1]
    delays = {}

    class Watch(assembly.methods.Hook):
        def before_epoch(self, epoch: int) -> None:
            delays[epoch] = {n: d.clone() for n, d in trainer.network.delays().items()}

    method.hooks.append(Watch())
    trainer.fit()
    sigmas = [row["sigma"] for row in trainer.history]
    assert sigmas == pytest.approx([8, *[8 * 0.95**50] * 4])
    for name, delay in delays[1].items():
        assert torch.equal(delays[2][name], delay)
        assert torch.equal(delays[3][name], delay)
        assert not torch.equal(delays[4][name], delay)  # the last epoch is left over
        assert not torch.equal(delays[0][name], delay)


def test_the_schedules_of_weights_and_delays_are_rewound(small: Small, tmp_path: Path) -> None:
    config = small(*FIRING, sparsified("magnitude"), "scheduler=linear", "trainer.epochs=10")
    trainer = make_trainer(config, RunFolder(tmp_path))
    method = trainer.method
    assert isinstance(method, GradientSteps)
    trainer.fit()
    rates = [row["lr"] for row in trainer.history]
    expected = [1 - t / 6 for t in (0, 1, 2, 3, 4, 5, 2, 3, 4, 5)]
    assert rates == pytest.approx([0.02 * rate for rate in expected])
    assert method.optimizers["delays"].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("sparsifier", "message"),
    [
        ("{name: gmp, dencity: 0.1}", r"optim\.sparsifier\.dencity is no option .*mean density\?"),
        ("{name: gmp, alpha: 1}", "Valid names: name, density, allocation, begin, end, every"),
        ("{name: rigle}", r"name=rigle is no option of a sparsifier\. Did you mean rigl\?"),
        ("{density: 0.1}", "is a mapping such as {name: gmp, density: 0.1}, or null"),
        ("{name: gmp, every: often}", r"optim\.sparsifier\.every=often has the wrong type"),
        ("[gmp]", "is a mapping such as"),
    ],
)
def test_mistakes_are_explained(small: Small, sparsifier: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small("optim=adam", f"optim.sparsifier={sparsifier}")


def test_a_name_alone_takes_the_defaults_which_the_config_then_says(small: Small) -> None:
    config = small("optim=adam", "optim.sparsifier=gmp")
    assert config["optim"]["sparsifier"] == {
        "name": "gmp", "density": 0.1, "allocation": "global", "begin": 0.0, "end": 0.75,
        "every": 100,
    }  # fmt: skip
    assert assembly.check(config, saved=True) == config


def test_a_value_out_of_range_is_named(small: Small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Config group optim: Invalid density: 2\.0"):
        make_trainer(small("optim=adam", sparsified("gmp", 2.0)), RunFolder(tmp_path))


def test_a_run_from_before_there_were_sparsifiers_goes_on(
    small: Small, train: Train, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    config = small("optim=adam")
    train(config, run)
    last, whole = load_checkpoint(run.last), rows(run)
    saved = {**config, "optim": {k: v for k, v in config["optim"].items() if k != "sparsifier"}}
    assert assembly.check(saved, saved=True) == config
    new = {"hooks", "ever_alive"}
    old = {k: v for k, v in load_checkpoint(run.initial).items() if k not in new}
    train(config, run, old)
    assert rows(run) == whole
    assert_equal_states(load_checkpoint(run.last), last)


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("density", [0.3, 0.05])
@pytest.mark.parametrize("optim", ["adabreg", "linbreg", "proxsgd", "proxadam"])
def test_regularised_methods_end_at_the_density_they_are_steered_to(
    small: Small, tmp_path: Path, optim: str, density: float, debias: bool
) -> None:
    """From a dense start, by lambda alone or with a last part of training on the support."""
    lam = {"adabreg": 0.1, "linbreg": 0.1, "proxsgd": 1e-3, "proxadam": 1e-3}[optim]
    lr = 0.1 if optim in ("linbreg", "proxsgd") else 0.02
    config = small(
        f"optim={optim}", f"optim.lr={lr}", f"optim.lam={lam}", "trainer.epochs=20",
        f"scheduler.lam={{name: target, density: {density}, step: 4.0}}",
        "optim.init_density=1", "dataset.batch_size=8",
        f"optim.sparsifier={{name: debias, density: {density}, begin: 0.8}}" if debias else
        "optim.sparsifier=null",
    )  # fmt: skip
    trainer = make_trainer(config, RunFolder(tmp_path), spiking=False)
    trainer.fit()
    row = trainer.history[-1]
    total = row["nonzero"] / row["density"]
    assert abs(row["nonzero"] - round(density * total)) <= 0.01 * density * total
    assert row["lam"] == 0 if debias else row["lam"] > lam
    if debias:
        assert row["born"] == row["died"] == 0
