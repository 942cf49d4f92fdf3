"""experiment=few_bits: a run that begins with another's weights and trains them rounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnbreg import assembly
from snnbreg.deploy import convert, quantize
from snnbreg.runs import RunFolder, load_checkpoint
from tests_support import assert_equal_states

Small = Callable[..., dict[str, Any]]
Train = Callable[..., dict[str, Any]]
# the rules of tests_support, which set sigma, come before those of the experiment
TUNED = ("experiment=few_bits", "dataset.epochs=3", "model.sigma=0", "optim.lr=0.01")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("start")


@pytest.fixture
def start(place: Path, small: Small, train: Train) -> Path:
    """A run whose network has zeros and delays that are not whole."""
    if not (place / "summary.json").exists():
        train(small("dataset.epochs=1", "optim.init_density=0.4"), RunFolder(place))
    return place


def network_of(config: dict[str, Any], folder: Path, name: str = "last") -> Any:
    checkpoint = load_checkpoint(RunFolder(folder).checkpoint(name))
    return assembly.trained_network(config, checkpoint, checkpoint["sizes"], str(folder))


def test_a_run_trains_whole_numbers_on_the_support_it_was_given(
    start: Path, small: Small, train: Train, tmp_path: Path
) -> None:
    config = small(*TUNED, f"trainer.init_from={start}", "trainer.weight_bits=4")
    summary = train(config, RunFolder(tmp_path))
    before = network_of(config, start, "best").state_dict()
    network = network_of(config, tmp_path)
    for name, value in network.state_dict().items():
        if name.endswith("delay"):
            assert torch.equal(value, before[name].round().clamp(min=0)), name
        elif name.endswith(".weight"):
            assert (value[before[name] == 0] == 0).all()
            assert not torch.equal(value, before[name])
    assert summary["test_acc"] == summary["deployed_test_acc"]  # sigma 0, whole delays
    floats = convert(network, 20, "sum_cross_entropy").network
    wholes = quantize(floats, 4)
    for one, whole in zip(floats.layers, wholes.layers, strict=True):
        unit = 2.0**wholes.fraction / whole.threshold * one.threshold
        for (_, a), (_, b) in zip(one.matrices(), whole.matrices(), strict=True):
            np.testing.assert_allclose(a.dense(), b.dense() * unit[:, None], atol=0.02)


def test_the_weights_before_rounding_are_kept(
    start: Path, small: Small, train: Train, tmp_path: Path
) -> None:
    """With steps too small to reach the next whole number, the rounded weights never move."""
    config = small(*TUNED, f"trainer.init_from={start}", "optim.lr=1e-7")
    train(config, RunFolder(tmp_path))
    states = [load_checkpoint(RunFolder(tmp_path).checkpoint(n)) for n in ("initial", "last")]
    (first, last) = (
        [own for hook in s["hooks"] if "own" in hook for own in hook["own"]] for s in states
    )
    for before, after in zip(first, last, strict=True):
        assert (before != after).any()
        assert torch.allclose(before, after, atol=1e-4)
    for name, value in states[1]["network"].items():
        if name.endswith(".weight"):
            other = states[0]["network"][name]
            assert torch.allclose(value, other, atol=1e-4), name


def test_a_run_that_is_stopped_goes_on_bit_for_bit(
    start: Path, small: Small, train: Train, tmp_path: Path
) -> None:
    config = small(*TUNED, f"trainer.init_from={start}")
    train(config, RunFolder(tmp_path / "whole"))
    whole = load_checkpoint(RunFolder(tmp_path / "whole").last)
    states: list[Any] = []
    run = RunFolder(tmp_path / "part")
    device, splits = assembly.build_device(config), assembly.build_splits(config)
    network = assembly.build_network(config, splits.channels, splits.classes, device)
    assembly.load_start(config, network)
    trainer = assembly.build_trainer(config, network, splits, run, device)
    record = trainer._record

    def recorded(row: dict[str, Any]) -> None:
        record(row)
        states.append(load_checkpoint(run.last))

    trainer._record = recorded  # type: ignore[method-assign]
    trainer.fit()
    again = RunFolder(tmp_path / "again")
    train({**config, "trainer": {**config["trainer"], "init_from": "gone"}}, again, states[0])
    found = load_checkpoint(again.last)
    for key in ("network", "optimizers", "hooks"):
        assert_equal_states(found[key], whole[key])


def test_what_cannot_be_trained_so_is_refused(
    start: Path, small: Small, train: Train, tmp_path: Path
) -> None:
    for changes, message in (
        (["trainer.weight_bits=5"], "weight_bits=5 must be 8, 6, 4"),
        (["optim=adabreg"], "optim=adabreg chooses these itself"),
        (["model.hidden=[9]"], "another network|size mismatch|does not fit"),
    ):
        with pytest.raises(ValueError, match=message):
            train(small(*TUNED, f"trainer.init_from={start}", *changes), RunFolder(tmp_path / "a"))
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(small(*TUNED, f"trainer.init_from={tmp_path}"), RunFolder(tmp_path / "b"))
