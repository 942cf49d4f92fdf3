"""What an epoch does, each part against a count or a sum by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from snnbreg import assembly
from snnbreg.assembly.resume import settle
from snnbreg.runs import load_checkpoint
from snnbreg.training import GradientSteps, RunFolder, Trainer, evaluate
from tests_support import SMALL_DIGITS

Small = Callable[..., dict[str, Any]]
STILL = ("optim=adam", "optim.lr=0", "optim.delay_lr=0")  # weights that never move
UNEVEN = ("dataset.limit=40", "dataset.batch_size=16", "dataset.eval_batch_size=16")  # 16, 16, 8


@pytest.fixture
def trained(small: Small, tmp_path: Path) -> Callable[..., Trainer]:
    """A trainer after its run, or before it with ``fit=False``."""

    def make(*overrides: str, fit: bool = True) -> Trainer:
        config = small(*overrides)
        device = assembly.build_device(config)
        splits = assembly.build_splits(config)
        network = assembly.build_network(config, splits.channels, splits.classes, device)
        trainer = assembly.build_trainer(config, network, splits, RunFolder(tmp_path), device)
        if fit:
            assert trainer.fit() == "completed"
        return trainer

    return make


def samples(trainer: Trainer, split: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(getattr(trainer, split).epoch(0))


def test_the_training_loss_is_a_mean_over_samples(trained: Callable[..., Trainer]) -> None:
    trainer = trained(
        *STILL, *UNEVEN, "dataset.epochs=1", "model.dropout=0", "model.recurrent_dropout=0"
    )
    losses, right, norms = [], 0, []
    network = trainer.network.train()
    for frames, labels in samples(trainer, "train"):
        assert frames.shape[1] in (16, 8)
        scores = network(frames).sum(0)
        losses += F.cross_entropy(scores, labels, reduction="none").tolist()
        right += int((scores.argmax(1) == labels).sum())
        network.zero_grad()
        F.cross_entropy(scores, labels).backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        norms.append(sum(float(g.double().square().sum()) for g in gradients) ** 0.5)
    row = trainer.history[0]
    assert len(losses) == 40
    assert row["train_loss"] == pytest.approx(sum(losses) / 40, rel=1e-6)
    assert row["train_acc"] == right / 40
    assert row["grad_norm"] == pytest.approx(sum(norms) / 3, rel=1e-4)


@pytest.mark.parametrize("evaluation", ["published", "deployed"])
def test_the_evaluation_loss_is_a_mean_over_samples(
    trained: Callable[..., Trainer], evaluation: str
) -> None:
    trainer = trained(*STILL, *UNEVEN, "dataset.epochs=1")
    network = trainer.network.eval()
    losses: list[float] = []
    with torch.no_grad(), network.hard_delays(0.0 if evaluation == "deployed" else None):
        for frames, labels in samples(trainer, "valid"):
            losses += F.cross_entropy(network(frames).sum(0), labels, reduction="none").tolist()
    assert len(losses) == 40
    figures = evaluate(network, trainer.valid, trainer.task, evaluation)
    assert figures["loss"] == pytest.approx(sum(losses) / 40, rel=1e-6)


def moved_delays(trainer: Trainer, by: float) -> None:
    with torch.no_grad():
        for delay in trainer.network.delays().values():
            delay.add_(by)


@pytest.mark.parametrize("clamp", [True, False])
def test_delays_are_clamped_after_a_step(trained: Callable[..., Trainer], clamp: bool) -> None:
    trainer = trained(f"trainer.clamp_delays={clamp}", "dataset.epochs=1", fit=False)
    moved_delays(trainer, -100.0)
    trainer.fit()
    lowest = min(float(delay.min()) for delay in trainer.network.delays().values())
    assert lowest == 0.0 if clamp else lowest < -50


@pytest.mark.parametrize("rounding", [True, False])
def test_delays_are_rounded_for_good_where_asked_for(
    trained: Callable[..., Trainer], rounding: bool
) -> None:
    trainer = trained(f"trainer.round_delays_in_place={rounding}", "dataset.epochs=1")
    state = load_checkpoint(trainer.run.last)["network"]
    delays = torch.cat([state[f"{name}.neuron.delay"] for name in trainer.network.delays()])
    assert torch.equal(delays, delays.round()) == rounding


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_rows_tell_the_learning_rate_of_their_epoch(
    trained: Callable[..., Trainer], per: str
) -> None:
    """Three batches an epoch, three epochs, a straight line from 0.9 to 0."""
    trainer = trained(*UNEVEN, "scheduler=linear", f"scheduler.per={per}", "optim.lr=0.9")
    assert [row["lr"] for row in trainer.history] == pytest.approx([0.9, 0.6, 0.3])
    group = trainer.method.optimizers["weights"].param_groups[0]
    assert group["lr"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_rows_tell_the_lambda_of_their_epoch(trained: Callable[..., Trainer], per: str) -> None:
    lam = f"scheduler.lam={{name: linear, per: {per}, start: 0.3, end: 0}}"
    trainer = trained(*UNEVEN, "optim=adabreg", "optim.lr=0.001", lam)
    assert [row["lam"] for row in trainer.history] == pytest.approx([0.3, 0.2, 0.1])


def test_rows_tell_the_sigma_of_their_epoch(trained: Callable[..., Trainer]) -> None:
    trainer = trained("model.sigma=8", "model.sigma_decay=0.9", "dataset.epochs=4")
    expected = [8 * 0.9 ** (100 * epoch / 4) for epoch in range(4)]
    assert [row["sigma"] for row in trainer.history] == pytest.approx(expected)


def test_chance_is_a_function_of_seed_and_epoch(
    trained: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[tuple[int, int], float] = {}
    train_epoch = GradientSteps.epoch
    seed = 0

    def draw(method: GradientSteps, epoch: int, *arguments: Any) -> dict[str, float]:
        value = float(torch.rand(()))
        assert drawn.setdefault((seed, epoch), value) == value
        return train_epoch(method, epoch, *arguments)

    monkeypatch.setattr(GradientSteps, "epoch", draw)
    for seed in (0, 1, 0):
        torch.rand(seed + 1)
        trained(f"seed={seed}")
    assert len(drawn) == len(set(drawn.values())) == 6


def test_a_continued_checkpoint_takes_no_later_best_with_it(
    composed: Callable[..., Any], trained: Callable[..., Trainer], tmp_path: Path
) -> None:
    run = trained().run
    state = load_checkpoint(run.last)
    for row, accuracy in zip(state["history"], (0.1, 0.2, 0.9), strict=True):
        row["val_acc"] = accuracy
    early, best = ({**state, "epoch": n, "history": state["history"][:n]} for n in (2, 3))
    run.save(run.last, early)
    run.save(run.best, best)
    new, options = tmp_path / "new", (f"trainer.resume={run.last}",)
    _, checkpoint = settle(composed(*SMALL_DIGITS, *options), new, options)
    assert checkpoint is not None
    assert checkpoint["epoch"] == load_checkpoint(RunFolder(new).best)["epoch"] == 2
    run.save(run.best, {**state, "epoch": 1, "history": state["history"][:1]})
    early["history"][1]["val_acc"] = 0.0
    run.save(run.last, early)
    newer = tmp_path / "newer"
    settle(composed(*SMALL_DIGITS, *options), newer, options)
    assert load_checkpoint(RunFolder(newer).best)["epoch"] == 1


def test_metrics_have_a_row_as_soon_as_an_epoch_ends(
    trained: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(fit=False)
    lengths: list[int] = []

    def count(row: dict[str, Any], bar: Any) -> None:
        with open(trainer.run.metrics) as file:
            lengths.append(len(list(csv.DictReader(file))))
        assert load_checkpoint(trainer.run.last)["epoch"] == row["epoch"]

    monkeypatch.setattr(trainer, "_report", count)
    trainer.fit()
    assert lengths == [1, 2, 3]
