"""Whole small runs: the same again, stopped and continued, diverged, interrupted."""

from __future__ import annotations

import csv
import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnbreg import assembly
from snnbreg.runs import load_checkpoint
from snnbreg.training import (
    EVALUATIONS,
    TASKS,
    GradientSteps,
    RunFolder,
    Score,
    Trainer,
    evaluate,
    summarise,
)
from snnbreg.training.hooks import resync_delays
from snnbreg.training.tasks import Classification
from tests_support import assert_equal_states

Small = Callable[..., dict[str, Any]]
Train = Callable[..., dict[str, Any]]

COLUMNS = [
    "epoch",
    "train_loss",
    "train_acc",
    "val_loss",
    "val_acc",
    "deployed_val_acc",
    "nonzero",
    "density",
    "lr",
    "sigma",
    "firing_rate",
    "firing_rate/layers.0",
    "synops",
    "seconds",
]
SUMMARY = [
    "test_acc",
    "test_loss",
    "deployed_test_acc",
    "best_epoch",
    "best_val_acc",
    "nonzero",
    "density",
    "parameters",
    "seconds",
    "status",
]


def rows(run: RunFolder) -> list[dict[str, str]]:
    """The rows of metrics.csv without the times."""
    with open(run.metrics) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def make_trainer(config: dict[str, Any], run: RunFolder) -> Trainer:
    device = assembly.build_device(config)
    splits = assembly.build_splits(config)
    network = assembly.build_network(config, splits.channels, splits.classes, device)
    return assembly.build_trainer(config, network, splits, run, device)


def steps_of(trainer: Trainer) -> GradientSteps:
    assert isinstance(trainer.method, GradientSteps)
    return trainer.method


def loader_of_test(config: dict[str, Any]) -> Any:
    splits = assembly.build_splits(config)
    return assembly.build_loader(config, splits, "test", assembly.build_device(config))


@pytest.mark.parametrize("optim", ["adabreg", "linbreg", "adam"])
def test_a_run_leaves_what_the_contract_names(
    small: Small, train: Train, tmp_path: Path, optim: str
) -> None:
    run = RunFolder(tmp_path)
    summary = train(small(f"optim={optim}"), run)
    assert set(COLUMNS) <= set(rows(run)[0]) | {"seconds"}
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]
    assert summary == json.loads(run.summary.read_text())
    assert set(SUMMARY) <= set(summary)
    assert summary["status"] == "completed"
    best = load_checkpoint(run.best)
    assert best["epoch"] == summary["best_epoch"]
    initial = load_checkpoint(run.initial)
    assert initial["epoch"] == 0
    assert not torch.equal(
        initial["network"]["layers.0.linear.weight"], best["network"]["layers.0.linear.weight"]
    )
    weights = [
        value
        for name, value in best["network"].items()
        if name.endswith("weight") and "norm" not in name
    ]
    nonzero = sum(int((weight != 0).sum()) for weight in weights)
    assert summary["nonzero"] == nonzero
    assert summary["density"] == nonzero / sum(weight.numel() for weight in weights)


def test_predictions_are_those_of_the_best_checkpoint(
    small: Small, train: Train, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    config = small("optim=adam", "optim.lr=0.02", "model.sigma=3.5", "seed=3")
    summary = train(config, run)
    assert summary["best_epoch"] < summary["epochs"]
    with np.load(run.predictions) as file:
        found = dict(file)
    trainer = make_trainer(config, run)
    trainer.load_state_dict(load_checkpoint(run.best))
    loaders = {"valid": trainer.valid, "test": loader_of_test(config)}
    names = {f"{s}_{k}" for s in loaders for k in ("ids", "labels", *EVALUATIONS)}
    assert set(found) == names
    assert {a.dtype for n, a in found.items() if "ids" not in n} == {np.dtype(np.uint8)}
    for split, loader in loaders.items():
        assert found[f"{split}_ids"].tolist() == loader.ids.tolist()
        labels = torch.cat([labels for _, labels in loader.epoch(0)])
        assert found[f"{split}_labels"].tolist() == labels.tolist()
        for evaluation in EVALUATIONS:
            sigma = 0.0 if evaluation == "deployed" else None
            network = trainer.network.eval()
            with torch.no_grad(), network.hard_delays(sigma):
                scores = torch.cat([network(frames).sum(0) for frames, _ in loader.epoch(0)])
            assert found[f"{split}_{evaluation}"].tolist() == scores.argmax(1).tolist()
    right = {n: (found[n] == found[f"{n.split('_')[0]}_labels"]).mean() for n in names}
    assert right["test_published"] == summary["test_acc"]
    assert right["test_deployed"] == summary["deployed_test_acc"]
    assert right["valid_published"] == summary["best_val_acc"]
    assert right["valid_deployed"] == summary["best_deployed_val_acc"]
    assert not set(found["valid_ids"]) & set(found["test_ids"])


def test_a_run_can_end_without_a_test(small: Small, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    trainer = make_trainer(small("trainer.epochs=1"), run)
    summary = summarise(trainer, trainer.fit(), None)
    assert summary["test_acc"] is summary["deployed_test_loss"] is None
    with np.load(run.predictions) as file:
        assert {name.split("_")[0] for name in file} == {"valid"}


def test_an_old_history_can_be_continued(small: Small, train: Train, tmp_path: Path) -> None:
    """Rows of a checkpoint from before a column was written have an empty cell there."""
    run = RunFolder(tmp_path)
    config = small()
    train(config, run)
    state = load_checkpoint(run.last)
    history = [{k: v for k, v in r.items() if "firing_rate/" not in k} for r in state["history"]]
    train(config, run, {**state, "epoch": 2, "history": history[:2]})
    assert [row["firing_rate/layers.0"] == "" for row in rows(run)] == [True, True, False]


def test_a_finished_run_can_be_summed_up_at_its_last_epoch(
    small: Small, train: Train, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    settings = ("optim=adam", "optim.lr=0.02", "model.sigma=3.5", "seed=3")
    summary = train(small(*settings), run)
    assert summary["best_epoch"] < summary["epochs"]
    last = load_checkpoint(run.last)
    summary = train(small(*settings, "trainer.select=last"), run, last)
    assert summary["best_epoch"] == summary["epochs"] == load_checkpoint(run.best)["epoch"]
    assert summary["best_val_acc"] == last["history"][-1]["val_acc"]


def test_the_same_seed_gives_the_same_run_and_another_seed_does_not(
    small: Small, train: Train, tmp_path: Path
) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("one", "same", "other")]
    for run, seed in zip(runs, (3, 3, 4), strict=True):
        torch.rand(7)  # what happened before does not matter
        train(small(f"seed={seed}"), run)
    assert rows(runs[0]) == rows(runs[1])
    assert rows(runs[0]) != rows(runs[2])


@pytest.mark.parametrize(
    "overrides",
    [
        ("optim.lr=0.02", "scheduler.lam={name: linear, per: step, start: 0.05, end: 0.01}"),
        ("optim.lam=10", "optim.init_density=0.3"),
        ("optim=linbreg", "optim.momentum=0.9", "model.dropout=0.2", "model.norm=batch"),
        ("optim=adam", "scheduler=plateau", "trainer.round_delays_in_place=true"),
        ("dataset=mnist", "dataset.root=${oc.env:IDX}", "dataset.steps=4", "model.hidden=[8]"),
    ],
)
def test_a_stopped_and_continued_run_equals_an_unbroken_one(
    small: Small,
    train: Train,
    tmp_path: Path,
    overrides: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    idx_root: Path,
) -> None:
    if "dataset=mnist" in overrides:
        monkeypatch.setenv("IDX", str(idx_root))
    config = small(*overrides)
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    train(config, whole)
    assert float(rows(whole)[-1]["firing_rate"]) > 0  # there is something to learn
    assert rows(whole)[-1]["train_loss"] != rows(whole)[0]["train_loss"]

    trainer = make_trainer(config, broken)
    epoch = trainer._epoch

    def stop(number: int, bar: Any) -> None:
        if number == 2:
            next(iter(trainer.train.epoch(2)))
            trainer.network.train()  # the third epoch had begun
            raise KeyboardInterrupt
        epoch(number, bar)

    trainer._epoch = stop  # type: ignore[method-assign]
    assert trainer.fit() == "interrupted"
    assert len(rows(broken)) == 2
    train(config, broken, load_checkpoint(broken.last))
    assert rows(broken) == rows(whole)
    assert_equal_states(load_checkpoint(broken.last), load_checkpoint(whole.last))


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_evaluation_changes_nothing(small: Small, tmp_path: Path, evaluation: str) -> None:
    config = small("optim=adam", "model.norm=batch", "model.sigma=3.5")
    trainer = make_trainer(config, RunFolder(tmp_path))
    network = trainer.network
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()
    first = evaluate(network, trainer.valid, trainer.task, evaluation)
    assert_equal_states(before, network.state_dict())
    assert torch.equal(generator, torch.get_rng_state())
    assert all(module.training for module in network.modules())
    assert first == evaluate(network, trainer.valid, trainer.task, evaluation)


def test_deployed_means_whole_delays_and_sigma_zero(small: Small, tmp_path: Path) -> None:
    trainer = make_trainer(small("optim=adam", "model.sigma=3.5"), RunFolder(tmp_path))
    network = trainer.network
    deployed = evaluate(network, trainer.valid, trainer.task, "deployed")
    published = evaluate(network, trainer.valid, trainer.task, "published")
    assert deployed != published
    network.round_delays_()
    network.sigma = 0.0
    assert evaluate(network, trainer.valid, trainer.task, "published") == deployed


def test_sigma_is_part_of_the_checkpoint(small: Small, train: Train, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    config = small("trainer.epochs=2")
    train(config, run)
    sigma = float(rows(run)[-1]["sigma"])
    assert sigma == pytest.approx(2 * 0.95**50)
    trainer = make_trainer(config, run)
    trainer.load_state_dict(load_checkpoint(run.last))
    assert trainer.network.sigma == pytest.approx(sigma)
    figures = evaluate(trainer.network, trainer.valid, trainer.task)
    assert figures["loss"] == float(rows(run)[-1]["val_loss"])


def test_divergence_keeps_the_last_good_checkpoint(
    small: Small, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)

    class Exploding(Classification):
        calls = 0

        def score(self, outputs: torch.Tensor, labels: torch.Tensor) -> Score:
            self.calls += 1
            score = super().score(outputs, labels)
            return replace(score, loss=score.loss * (math.inf if self.calls == 9 else 1))

    monkeypatch.setitem(TASKS, "sum_cross_entropy", Exploding())
    summary = train(small("dataset.epochs=5"), run)
    assert summary["status"] == "diverged"
    assert summary["epochs"] == len(rows(run)) == 1
    state = load_checkpoint(run.last)["network"]
    assert all(value.isfinite().all() for value in state.values())
    assert summary["test_acc"] is not None


def test_a_run_that_fails_at_once_has_a_summary(
    small: Small, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    summary = train(small(), RunFolder(tmp_path))
    assert summary["status"] == "interrupted"
    assert summary["test_acc"] is None


def test_ctrl_c_while_an_epoch_is_written_comes_after_it(
    small: Small, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to leave a row without its checkpoint, and the summary failed."""
    save = RunFolder.save

    def interrupted(run: RunFolder, path: Path, state: dict[str, Any]) -> None:
        if path == run.best:
            signal.raise_signal(signal.SIGINT)
        save(run, path, state)

    monkeypatch.setattr(RunFolder, "save", interrupted)
    run = RunFolder(tmp_path)
    summary = train(small(), run)
    assert (summary["status"], summary["epochs"], summary["best_epoch"]) == ("interrupted", 1, 1)
    assert len(rows(run)) == load_checkpoint(run.last)["epoch"] == 1


class Told:
    """A scheduler that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def step_batch(self) -> None:
        self.told.append("batch")

    def step_epoch(self, metric: float | None = None) -> None:
        self.told.append(metric)

    def state_dict(self) -> dict[str, Any]:
        return {}


def test_schedulers_are_told_every_batch_and_the_training_loss(
    small: Small, tmp_path: Path
) -> None:
    trainer = make_trainer(small("dataset.epochs=2"), RunFolder(tmp_path))
    told = Told()
    steps_of(trainer).schedulers.append(told)
    trainer.fit()
    batches = ["batch"] * len(trainer.train)
    assert len(batches) > 1
    assert told.told == [
        entry for row in trainer.history for entry in (*batches, row["train_loss"])
    ]
    assert all(row["train_loss"] != row["val_loss"] for row in trainer.history)


def test_rounding_delays_is_not_undone_by_an_optimizer_that_mirrors_them(
    small: Small, tmp_path: Path
) -> None:
    config = small("optim.rules=[{pattern: '', regularizer: l1}]", "optim.lam=0.5")
    trainer = make_trainer(config, RunFolder(tmp_path))
    optimizer = steps_of(trainer).optimizers["weights"]
    for parameter in trainer.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # the dual variable knows the delays as they were
    trainer.network.round_delays_()
    rounded = {name: delay.clone() for name, delay in trainer.network.delays().items()}
    resync_delays(trainer.network, [optimizer])
    optimizer.step()
    assert_equal_states(dict(trainer.network.delays()), rounded)
