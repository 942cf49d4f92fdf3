"""Gradient steps on a layer of six weights, against the same steps written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plain_networks import Batches, Delayed, batches
from snnbreg.optim import AdaBreg
from snnbreg.training import TASKS, DivergedError, GradientSteps, methods
from snnbreg.training.hooks import AnnealedSigma, ClampedDelays, Hook, RoundedDelays
from snnbreg.training.tasks import UNLABELLED

TASK = TASKS["sum_cross_entropy"]


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def steps(network: nn.Module, lr: float = 0.5, **options: Any) -> GradientSteps:
    optimizers = {"weights": torch.optim.SGD(network.parameters(), lr)}
    return GradientSteps(network, TASK, optimizers, **options)


def ignore() -> None:
    """Called after every batch."""


class Noting(Hook):
    """A hook and a scheduler that note what they are told, and the gradient they see."""

    def __init__(self, name: str = "", notes: list[Any] | None = None) -> None:
        self.name, self.value = name, 0
        self.notes = [] if notes is None else notes

    def before_epoch(self, epoch: int) -> None:
        self.notes.append((self.name + "before", epoch))

    def after_backward(self) -> None:
        self.notes.append(self.name + "gradient")

    def after_step(self) -> None:
        self.notes.append(self.name + "step")

    def after_epoch(self, epoch: int) -> None:
        self.notes.append((self.name + "after", epoch))

    def columns(self) -> dict[str, float]:
        return {f"{self.name}column": 7.0} if self.name else {}

    def step_batch(self) -> None:
        self.notes.append("batch")

    def step_epoch(self, metric: float | None = None) -> None:
        self.notes.append(metric)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: Any) -> None:
        self.value = state["value"]


@pytest.mark.parametrize("clip", [None, 0.1, 100.0])
def test_an_epoch_is_a_loop_of_gradient_steps(clip: float | None) -> None:
    network, loader, dones = layer(), batches([3, 3, 1]), []
    row = steps(network, grad_clip=clip).epoch(0, loader.epoch(0), lambda: dones.append(1))
    other, losses, norms, right = layer(), [], [], 0
    for frames, labels in loader.batches:
        scores = other(frames).sum(0)
        right += int((scores.argmax(1) == labels).sum())
        losses += F.cross_entropy(scores, labels, reduction="none").tolist()
        gradients = torch.autograd.grad(F.cross_entropy(scores, labels), list(other.parameters()))
        norms.append(sum(float(g.square().sum()) for g in gradients) ** 0.5)
        factor = min(1.0, (clip or math.inf) / (norms[-1] + 1e-6))
        with torch.no_grad():
            for parameter, gradient in zip(other.parameters(), gradients, strict=True):
                parameter -= 0.5 * factor * gradient
    assert (len(dones), len(losses)) == (3, 7)
    assert row == {
        "train_loss": pytest.approx(sum(losses) / 7), "train_acc": right / 7,
        "grad_norm": pytest.approx(sum(norms) / 3), "lr": 0.5, "lam": 0.0,
    }  # fmt: skip
    for found, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_hooks_and_schedules_are_told_in_order() -> None:
    notes: list[Any] = []
    one, two, schedule = Noting("1", notes), Noting("2", notes), Noting(notes=notes)
    method = steps(layer(), hooks=[one, two], schedulers=[schedule])
    row = method.epoch(4, batches([2, 2]).epoch(0), lambda: notes.append("done"))
    batch = ["1gradient", "2gradient", "1step", "2step", "batch", "done"]
    assert notes == [
        ("1before", 4), ("2before", 4), *batch, *batch, ("1after", 4), ("2after", 4),
        row["train_loss"],
    ]  # fmt: skip
    assert (row["1column"], row["2column"]) == (7.0, 7.0)


def test_a_hook_sees_the_gradient_before_it_is_clipped() -> None:
    network, seen = layer(), []

    class Watch(Hook):
        def after_backward(self) -> None:
            seen.append([p.grad.clone() for p in network.parameters() if p.grad is not None])

    loader = batches([4])
    steps(network, grad_clip=1e-3, hooks=[Watch()]).epoch(0, loader.epoch(0), ignore)
    again = layer()
    frames, labels = loader.batches[0]
    loss = F.cross_entropy(again(frames).sum(0), labels)
    for found, expected in zip(
        seen[0], torch.autograd.grad(loss, list(again.parameters())), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_the_penalties_are_part_of_the_gradient_and_not_of_the_loss() -> None:
    class Spiking(nn.Module):
        """A layer whose "spikes" are its outputs, so that they have a gradient."""

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.spikes = layer(), nn.Identity()

        def forward(self, frames: Tensor) -> Tensor:
            return self.spikes(self.linear(frames))

        def spiking_layers(self) -> dict[str, nn.Module]:
            return {"hidden": self.spikes}

        def synapses(self) -> list[Any]:
            return [type("Weights", (), {"name": "w", "weight": self.linear.weight})]

    loader, network, other = batches([4]), Spiking(), layer()
    method = steps(network, penalties=[lambda spikes, mean: 3 * spikes["hidden"].sum()])
    row = method.epoch(0, loader.epoch(0), ignore)
    frames, labels = loader.batches[0]
    loss = F.cross_entropy(other(frames).sum(0), labels)
    assert row["train_loss"] == pytest.approx(loss.item())
    (slope,) = torch.autograd.grad(loss + 3 * other(frames).sum(), other.weight)
    torch.testing.assert_close(network.linear.weight, other.weight - 0.5 * slope)


def test_the_columns_are_those_of_the_weights_and_of_sigma_before_the_schedules() -> None:
    network = Delayed(sigma=2.0)
    groups = [{"params": [network.outward], "lam": 0.1}, {"params": [network.inward], "lr": 0.25}]
    optimizers = {
        "delays": torch.optim.SGD([network.delay], 9.0),
        "weights": AdaBreg(groups, lr=0.5, lam=0.75),
    }
    method = GradientSteps(network, TASK, optimizers)
    assert method.settings() == {"lr": 0.25, "lam": 0.75, "sigma": 2.0}

    class Halving(Noting):
        def step_batch(self) -> None:
            optimizers["weights"].param_groups[1]["lr"] /= 2

    method.schedulers.append(Halving())
    row = method.epoch(0, batches([2, 2]).epoch(0), ignore)
    assert (row["lr"], method.settings()["lr"]) == (0.25, 0.0625)


def test_the_network_trains_whatever_mode_it_was_in() -> None:
    network = nn.Sequential(layer().eval(), nn.Dropout(0.5)).eval()
    steps(network).epoch(0, batches([2]).epoch(0), ignore)
    assert all(module.training for module in network.modules())


def test_a_frozen_parameter_stays_and_counts_nothing() -> None:
    network = nn.Sequential(layer(), nn.Linear(2, 2).double())
    network[1].requires_grad_(False)
    network[0].bias.requires_grad_(False)
    before = network[1].weight.clone()
    row = steps(network).epoch(0, batches([2]).epoch(0), ignore)
    assert torch.equal(network[1].weight, before)
    assert network[0].bias.grad is None
    assert row["grad_norm"] == pytest.approx(float(network[0].weight.grad.norm()))


@pytest.mark.parametrize(("value", "what"), [(math.inf, "loss"), (math.nan, "loss")])
@pytest.mark.parametrize("every", [1, 2])
def test_a_loss_that_is_no_number_ends_the_run_before_its_step(
    monkeypatch: pytest.MonkeyPatch, value: float, what: str, every: int
) -> None:
    monkeypatch.setattr(methods, "CHECK_EVERY", {"cpu": every})
    network, loader = layer(), batches([2, 2, 2])
    loader.batches[1][0][:] = value
    moved: list[int] = []
    with pytest.raises(DivergedError, match=rf"The {what} became infinite or NaN in epoch 6\. "):
        steps(network).epoch(5, loader.epoch(0), lambda: moved.append(1))
    assert len(moved) == 1  # the second batch is looked at, either way
    assert all(p.isfinite().all() for p in network.parameters())


def test_where_looks_are_rare_the_last_one_is_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "CHECK_EVERY", {})  # every 20 batches, as on a GPU
    loader, moved = batches([2] * 19), list[int]()
    loader.batches[18][0][:] = math.nan
    with pytest.raises(DivergedError, match="loss"):
        steps(layer()).epoch(0, loader.epoch(0), lambda: moved.append(1))
    assert len(moved) == 19
    loader.batches[18] = loader.batches[0]
    loader.batches.append((torch.full((2, 2, 3), math.nan).double(), loader.batches[0][1]))
    with pytest.raises(DivergedError):
        steps(layer()).epoch(0, loader.epoch(0), lambda: moved.append(1))
    assert len(moved) == 19 + 19


@pytest.mark.parametrize("every", [1, 9])
def test_a_gradient_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """A finite loss whose slope is infinite."""
    monkeypatch.setattr(methods, "CHECK_EVERY", {"cpu": every})
    network = layer()

    class Infinite(Hook):
        def after_backward(self) -> None:
            assert network.bias.grad is not None
            network.bias.grad[0] = math.inf

    with pytest.raises(DivergedError, match=r"The gradient became .* in epoch 1\. "):
        steps(network, hooks=[Infinite()]).epoch(0, batches([2]).epoch(0), ignore)
    assert bool(network.bias.isfinite().all()) == (every == 1)  # it is seen before the step


@pytest.mark.parametrize("loader", [Batches(), "unlabelled"])
def test_nothing_to_train_on_is_refused(loader: Batches | str) -> None:
    network = layer()
    method = GradientSteps(
        network, TASKS["step_cross_entropy"], {"weights": torch.optim.SGD(network.parameters())}
    )
    frames = torch.zeros(2, 1, 3).double()
    if isinstance(loader, str):
        loader = Batches((frames, torch.full((1, 2), UNLABELLED)))
    with pytest.raises(ValueError, match="nothing to train on"):
        method.epoch(0, loader.epoch(0), ignore)
    one = torch.tensor([[1, UNLABELLED]])
    assert method.epoch(0, Batches((frames, one)).epoch(0), ignore)["train_acc"] in (0.0, 1.0)


@pytest.mark.parametrize("clip", [0, -1.0, math.nan])
def test_a_largest_norm_that_cannot_be_is_refused(clip: float) -> None:
    with pytest.raises(ValueError, match=r"trainer\.grad_clip must be positive or null, not "):
        steps(layer(), grad_clip=clip)


def test_a_state_is_that_of_all_parts_and_continues() -> None:
    def make(value: int) -> GradientSteps:
        network = layer()
        optimizers = {
            "weights": AdaBreg([network.weight], lr=0.1),
            "rest": torch.optim.SGD([network.bias], 0.1, momentum=0.9),
        }
        method = GradientSteps(network, TASK, optimizers, [Noting()], [Noting(), Noting()])
        method.schedulers[0].value = value  # type: ignore[attr-defined]
        for hook in method.hooks:
            hook.value = value + 1  # type: ignore[attr-defined]
        return method

    first, second, loader = make(3), make(0), batches([3, 2])
    first.epoch(0, loader.epoch(0), ignore)
    state = deepcopy(first.state_dict())  # as from a file
    assert list(state) == ["optimizers", "schedulers", "hooks"]
    assert list(state["optimizers"]) == ["weights", "rest"]
    assert (state["schedulers"], state["hooks"]) == ([{"value": 3}], [{"value": 4}] * 2)
    second.network.load_state_dict(first.network.state_dict())
    second.load_state_dict(state, "a.pt")
    for method in (first, second):
        method.epoch(1, loader.epoch(0), ignore)
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert second.state_dict()["schedulers"] == [{"value": 3}]
    assert second.state_dict()["hooks"] == [{"value": 4}] * 2
    old = {name: part for name, part in state.items() if name != "hooks"}
    make(0).load_state_dict(old, "a.pt")  # from before hooks had a state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["optimizers"].pop("weights"), r"a\.pt was made with other optimizers: none"),
        (lambda s: s.pop("optimizers"), r"a\.pt was made with other optimizers: none"),
        (lambda s: s["optimizers"].update(b={}), r"a\.pt was made with .*: weights, b"),
        (lambda s: s["schedulers"].append({}), r"a\.pt was made with another number of schedules"),
    ],
)
def test_a_state_of_another_method_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    state = steps(layer()).state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        steps(layer()).load_state_dict(state, "a.pt")


class Resynced(torch.optim.SGD):
    """Notes which parameters it was told of."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, 0.1)
        self.told: list[list[Tensor]] = []

    def resync(self, params: list[Tensor]) -> None:
        self.told.append(params)


def test_delays_are_clamped_after_steps_and_rounded_after_epochs() -> None:
    network = Delayed(delay=-2.6, sigma=1.0)
    mirror = Resynced([{"params": [network.inward]}, {"params": [network.delay]}])
    other, plain = Resynced([network.outward]), torch.optim.SGD([network.delay], 0.1)
    optimizers = [plain, other, mirror]
    rounded, clamped = RoundedDelays(network, optimizers), ClampedDelays(network, optimizers)
    rounded.after_step()
    assert network.delay.item() == -2.6
    rounded.after_epoch(0)
    assert network.delay.item() == -3.0
    clamped.after_epoch(0)
    assert network.delay.item() == -3.0
    clamped.after_step()
    assert network.delay.item() == 0.0
    assert other.told == []
    assert len(mirror.told) == 2
    assert all(len(told) == 1 and told[0] is network.delay for told in mirror.told)


def test_sigma_is_written_before_an_epoch() -> None:
    network = Delayed(sigma=1.0)
    hook = AnnealedSigma(network, lambda epoch: 0.5**epoch)
    hook.after_epoch(3)
    assert network.sigma == 1.0
    hook.before_epoch(3)
    assert network.sigma == 0.125
