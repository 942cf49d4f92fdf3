"""Evaluations of a network of a few weights, against sums by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plain_networks import Batches, Delayed, batches
from snnbreg.training import TASKS, GradientSteps, Score, evaluate
from snnbreg.training.activity import Activity
from snnbreg.training.evaluation import SameBatches, evaluation_mode
from snnbreg.training.network import (
    delays_of,
    hard_delays_of,
    spiking_layers_of,
    weights_of,
)
from snnbreg.training.rows import validation_row
from snnbreg.training.tasks import UNLABELLED, Classification

TASK = TASKS["sum_cross_entropy"]


def by_hand(network: nn.Module, loader: Batches) -> dict[str, float]:
    """Loss and accuracy over all samples of a network as it stands."""
    losses, right = list[float](), 0
    with torch.no_grad():
        for frames, labels in loader.batches:
            scores = network(frames).sum(0)
            losses += F.cross_entropy(scores, labels, reduction="none").tolist()
            right += int((scores.argmax(1) == labels).sum())
    return {"loss": pytest.approx(sum(losses) / len(losses)), "acc": right / len(losses)}


@pytest.mark.parametrize(("evaluation", "sigma"), [("published", 2.5), ("deployed", 0.0)])
def test_figures_are_means_over_samples_with_whole_delays(evaluation: str, sigma: float) -> None:
    network, loader = Delayed(delay=1.8, sigma=2.5), batches([3, 3, 1])
    expected = by_hand(Delayed(delay=2.0, sigma=sigma), loader)
    assert evaluate(network, loader, TASK, evaluation) == {**expected, "samples": 7}
    assert (network.delay.item(), network.sigma) == (1.8, 2.5)
    assert loader.asked == [0]


def test_published_is_the_default() -> None:
    network, loader = Delayed(), batches([3])
    assert evaluate(network, loader, TASK) == evaluate(network, loader, TASK, "published")
    assert evaluate(network, loader, TASK) != evaluate(network, loader, TASK, "deployed")


def test_a_network_without_delays_is_evaluated_as_it_is() -> None:
    network, loader = nn.Linear(3, 2).double(), batches([2, 5])
    for evaluation in ("published", "deployed"):
        found = evaluate(network, loader, TASK, evaluation)
        assert found == {**by_hand(network, loader), "samples": 7}


def test_modules_keep_their_modes_also_after_an_error() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2).eval())

    def fail() -> None:
        with evaluation_mode(network):
            assert not any(module.training for module in network.modules())
            assert torch.is_inference_mode_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [module.training for module in network.modules()] == [True, True, False]
    assert not torch.is_inference_mode_enabled()


def test_answers_are_labels_and_classes_of_every_batch() -> None:
    network, loader, answers = nn.Linear(3, 2).double(), batches([2, 3]), list[tuple[Tensor, ...]]()
    evaluate(network, loader, TASK, answers=answers)  # type: ignore[arg-type]
    assert len(answers) == 2
    for (labels, predicted), (frames, expected) in zip(answers, loader.batches, strict=True):
        assert labels.tolist() == expected.tolist()
        assert predicted.tolist() == network(frames).sum(0).argmax(1).tolist()
    pattern = Batches((loader.batches[0][0], torch.zeros(2, 2)))
    answers.clear()
    evaluate(network, pattern, TASKS["mean_squared_error"], answers=answers)  # type: ignore[arg-type]
    assert answers == []


def test_spikes_are_counted_while_it_runs() -> None:
    network, loader, activity = Delayed(), batches([2, 3]), Activity()
    evaluate(network, loader, TASK, activity=activity)
    frames = torch.cat([frames for frames, _ in loader.batches], 1)
    spikes = (frames @ network.inward.T > 0).sum((0, 1))
    assert activity.counts["hidden"].tolist() == spikes.tolist()
    evaluate(network, loader, TASK)
    assert activity.samples == 5


def test_what_cannot_be_evaluated_is_refused() -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"Unknown evaluation 'val'; .* published, deployed"):
        evaluate(network, batches([2]), TASK, "val")
    frames, labels = torch.zeros(2, 1, 3), torch.tensor([[UNLABELLED, UNLABELLED]])
    step = TASKS["step_cross_entropy"]
    for loader in (Batches(), Batches((frames, labels))):
        with pytest.raises(ValueError, match="nothing to evaluate"):
            evaluate(network, loader, step)
    labels[0, 1] = 1
    figures = evaluate(network, Batches((frames, labels)), step)
    assert (figures["samples"], figures["acc"] in (0.0, 1.0)) == (1, True)


def test_the_same_batches_are_those_of_the_first_epoch() -> None:
    loader = batches([2, 1])
    same = SameBatches(loader)
    assert len(same) == 2
    assert same.ids is loader.ids
    assert list(same.epoch(7)) == loader.batches
    assert loader.asked == [0]


def test_a_row_has_both_evaluations_and_what_the_spikes_cost() -> None:
    network, loader = Delayed(delay=1.8, sigma=2.5), batches([3, 1])
    network.inward.data[0] = 0
    row = validation_row(network, loader, TASK)
    other = Delayed(2.0, 2.5)
    other.inward.data[0] = 0
    published = by_hand(other, loader)
    other.sigma = 0.0
    deployed = by_hand(other, loader)
    frames = torch.cat([frames for frames, _ in loader.batches], 1)
    spikes = (frames @ network.inward.T > 0).double().sum((0, 1))
    rate = float(spikes.sum()) / (4 * 4 * 2)
    synops = (frames.numel() * 3 + float(spikes.sum()) * 2) / 4  # analog events count once
    cost = {"firing_rate": rate, "silent": int((spikes == 0).sum()), "synops": synops}
    assert row == {
        "val_loss": published["loss"], "val_acc": published["acc"], **cost,
        "deployed_val_loss": deployed["loss"], "deployed_val_acc": deployed["acc"],
        **{f"deployed_{name}": value for name, value in cost.items()},
        "nonzero": 17, "density": 17 / 20, "rows": 5 / 6, "nonzero/in": 9, "nonzero/out": 8,
        "rows/in": 3, "rows/out": 2, "firing_rate/hidden": rate,
        "l1": pytest.approx(sum(w.abs().sum().item() for _, w, _ in network.synapses())),
    }  # fmt: skip
    assert loader.asked == [0, 0]


def test_a_row_of_a_plain_network_takes_one_evaluation() -> None:
    network, loader = nn.Linear(3, 2).double(), batches([3, 1])
    row, figures = validation_row(network, loader, TASK), by_hand(network, loader)
    assert loader.asked == [0]
    assert {name: row[name] for name in row if "val_" in name} == {
        "val_loss": figures["loss"], "val_acc": figures["acc"],
        "deployed_val_loss": figures["loss"], "deployed_val_acc": figures["acc"],
    }  # fmt: skip
    assert not [name for name in row if "firing" in name or "synops" in name]
    assert (row["nonzero"], row["nonzero/weight"]) == (6, 6)


def test_what_a_network_offers() -> None:
    network, plain = Delayed(), nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert [w.name for w in weights_of(network)] == ["in", "out"]
    assert [(w.name, w.weight.shape) for w in weights_of(plain)] == [("0.weight", (2, 1, 3, 3))]
    assert [w.name for w in weights_of(nn.Linear(2, 2))] == ["weight"]
    assert spiking_layers_of(network) == {"hidden": network.spikes}
    assert spiking_layers_of(plain) == delays_of(plain) == {}
    assert list(delays_of(network)) == ["hidden"]
    with hard_delays_of(network, 0.25):
        assert (network.delay.item(), network.sigma) == (1.0, 0.25)
    with hard_delays_of(plain, 0.25):
        pass


class Counting(Classification):
    """A task whose measure is 2 to the 24 of the first batch and 1 of each other one."""

    def score(self, outputs: Tensor, labels: Tensor) -> Score:
        score = super().score(outputs, labels)
        return replace(score, total=torch.tensor(2.0**24 if len(labels) == 1 else 1.0))


def test_measures_add_up_without_rounding() -> None:
    """In float32 adding 1 changes nothing there."""
    network, loader, task = nn.Linear(3, 2).double(), batches([1, 2, 2, 2]), Counting()
    expected = (2.0**24 + 3) / 7
    assert evaluate(network, loader, task)["acc"] == expected
    optimizers = {"weights": torch.optim.SGD(network.parameters())}
    row = GradientSteps(network, task, optimizers).epoch(0, loader.epoch(0), lambda: None)
    assert row["train_acc"] == expected
