"""What each of several processes trains on; the others are played by the test."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from plain_networks import batches
from snnbreg.training import TASKS, GradientSteps
from snnbreg.training.processes import Processes

TASK = TASKS["sum_cross_entropy"]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, float], Processes]:
    """Process ``rank`` of ``count``, where the others add ``rest`` to every sum."""

    def make(rank: int, count: int, rest: float = 0.0) -> Processes:
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_rank", lambda: rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: count)
        monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.add_(rest))
        return Processes()

    return make


def test_one_process_has_the_whole_batch() -> None:
    alone, network = Processes(), nn.Linear(3, 2).double()
    assert (alone.rank, alone.count, alone.writes) == (0, 1, True)
    frames, labels = batches([5]).batches[0]
    score, share = alone.score(TASK, network, frames, labels)
    assert (score.loss, score.count, share) == (TASK.score(network(frames), labels).loss, 5, 1.0)
    assert alone.sums(2, torch.tensor(0.5)) == [2.0, 0.5]
    tensor = torch.ones(2)
    alone.add(tensor)
    assert tensor.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("rank", "mine"), [(0, [0, 2, 4]), (1, [1, 3])])
def test_samples_are_dealt_in_turn(
    process: Callable[..., Processes], rank: int, mine: list[int]
) -> None:
    this, network = process(rank, 2), nn.Linear(3, 2).double()
    assert (this.rank, this.count, this.writes) == (rank, 2, rank == 0)
    frames, labels = batches([5]).batches[0]
    score, share = this.score(TASK, network, frames, labels)
    expected = TASK.score(network(frames[:, mine]), labels[mine])
    assert (score.loss, score.total, score.count) == (expected.loss, expected.total, len(mine))
    assert share == len(mine) / 5


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("right", [True, False])
def test_a_process_without_a_sample_repeats_the_first_for_nothing(
    process: Callable[..., Processes], rank: int, right: bool
) -> None:
    network = nn.Linear(3, 2).double()
    frames, _ = batches([3]).batches[0]
    predicted = network(frames).sum(0).argmax(1)
    labels = predicted if right else 1 - predicted
    score, share = process(rank, 5, rest=3.0).score(TASK, network, frames, labels)
    assert torch.equal(score.loss, TASK.score(network(frames[:, :1]), labels[:1]).loss)
    assert (float(score.total), score.count, share) == (0.0, 0, 0.0)
    last, share = process(2, 5, rest=2.0).score(TASK, network, frames, labels)
    assert torch.equal(last.loss, TASK.score(network(frames[:, 2:]), labels[2:]).loss)
    assert (last.count, share) == (1, 1 / 3)
    _, share = process(0, 2).score(TASK, network, frames[:, :1], labels[:1])
    assert share == 1.0


def test_a_batch_without_labels_weighs_nothing(process: Callable[..., Processes]) -> None:
    frames, labels = torch.zeros(2, 2, 3).double(), torch.full((2, 2), -1)
    network = nn.Linear(3, 2).double()
    _, share = process(0, 2).score(TASKS["step_cross_entropy"], network, frames, labels)
    assert share == 0.0


def test_sums_are_those_of_all_processes(process: Callable[..., Processes]) -> None:
    this, tensors = process(1, 2, rest=10.0), (torch.zeros(2), torch.ones(1))
    this.add(*tensors)
    assert [tensor.tolist() for tensor in tensors] == [[10.0, 10.0], [11.0]]


def test_numbers_are_summed_and_one_that_was_asked_to_stop_stops_all(
    process: Callable[..., Processes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last number of the message tells of signals: here nobody had one, then another had."""
    this, asked = process(1, 2), 0.0
    large: float | Tensor = 2**53 - 1.0 - 10.0

    def add(values: Tensor) -> None:
        values.add_(torch.tensor([10.0] * (len(values) - 1) + [asked]))

    monkeypatch.setattr(dist, "all_reduce", add)
    assert this.sums(1, torch.tensor(2), large) == [11.0, 12.0, 2**53 - 1.0]
    asked = 1.0
    with pytest.raises(KeyboardInterrupt, match="asked to stop"):
        this.sums(1)


def test_a_step_adds_the_weighted_gradients(
    process: Callable[..., Processes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes of which both have the samples of the first, half of the loss each."""
    process(0, 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    network, loader = nn.Linear(3, 2).double(), batches([4, 2])
    other = deepcopy(network)
    optimizers = {"weights": torch.optim.SGD(network.parameters(), 0.5)}
    row = GradientSteps(network, TASK, optimizers).epoch(0, loader.epoch(0), lambda: None)
    losses = []
    for frames, labels in loader.batches:
        loss = F.cross_entropy(other(frames[:, ::2]).sum(0), labels[::2])
        gradients = torch.autograd.grad(loss, list(other.parameters()))
        losses.append(loss.item())
        with torch.no_grad():
            for parameter, gradient in zip(other.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient
    assert row["train_loss"] == pytest.approx((2 * losses[0] + losses[1]) / 3)  # 4 and 2 samples
    for found, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
