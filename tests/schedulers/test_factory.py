"""Schedulers by name: what they write, when, and that they resume."""

import io

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from snnbreg.optim import AdaBreg, LinBreg, ProxSGD
from snnbreg.schedulers import Schedule, Scheduler, make_scheduler

NAMES = ("none", "onecycle", "cosine", "linear", "exponential", "plateau")


def parameters(count=2):
    return [torch.nn.Parameter(torch.ones(3)) for _ in range(count)]


def adabreg():
    first, second = parameters()
    groups = [{"params": [first]}, {"params": [second], "lr": 0.05, "regularizer": "none"}]
    return AdaBreg(groups, lr=0.01, lam=0.4)


def lrs(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def run_epoch(optimizer, schedulers, batches, metric=1.0):
    """An epoch of a training loop; returns the learning rates its steps used."""
    used = []
    for _ in range(batches):
        for group in optimizer.param_groups:
            for param in group["params"]:
                param.grad = torch.full_like(param, 0.5)
        used.append(lrs(optimizer))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step_batch()
    for scheduler in schedulers:
        scheduler.step_epoch(metric)
    return used


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("kind", ["adabreg", "adam", "sgd_momentum"])
def test_one_cycle_is_torch_with_a_maximum_per_group(kind, per):
    def build():
        first, second = parameters()
        groups = [{"params": [first], "lr": 0.01}, {"params": [second], "lr": 0.05}]
        if kind == "adabreg":
            return AdaBreg(groups)
        if kind == "adam":
            return torch.optim.Adam(groups)
        return torch.optim.SGD(groups, momentum=0.9)

    epochs, batches = 6, 4
    total = epochs if per == "epoch" else epochs * batches
    theirs, ours = build(), build()
    reference = torch.optim.lr_scheduler.OneCycleLR(theirs, [0.01, 0.05], total_steps=total)
    scheduler = make_scheduler("onecycle", ours, epochs, batches, per)
    for step in range(epochs * batches):
        assert lrs(ours) == lrs(theirs)
        for mine, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert mine.get("betas") == other.get("betas")
            assert mine.get("momentum") == other.get("momentum")
        theirs.step()
        last = (step + 1) % batches == 0
        if step < epochs * batches - 1 and (per == "step" or last):
            reference.step()
        scheduler.step_batch()
        if last:
            scheduler.step_epoch()


def test_one_cycle_leaves_a_momentum_of_zero_alone():
    first, second = parameters()
    groups = [{"params": [first], "momentum": 0.9}, {"params": [second]}]
    optimizer = LinBreg(groups, lr=0.1)
    make_scheduler("onecycle", optimizer, 10, 1)
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_runs_to_the_end_and_beyond(name, per, epochs):
    optimizer = adabreg()
    scheduler = make_scheduler(name, optimizer, epochs, 3, per)
    sums = scheduler.lr_sums(optimizer)
    used = [lr for _ in range(epochs) for lr in run_epoch(optimizer, [scheduler], 3)]
    assert all(lr > 0 for pair in used[:3] for lr in pair)
    assert sums == pytest.approx([sum(pair[i] for pair in used) for i in (0, 1)])
    for _ in range(3):
        run_epoch(optimizer, [scheduler], 3)
    assert all(lr >= 0 for lr in lrs(optimizer))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_resumed_run_continues_the_curves(name, optimizer_first):
    def build():
        optimizer = adabreg()
        settings = {"field": "lam", "start": 0.1, "end": None}
        curve = make_scheduler(name, optimizer, 8, 3, "step")
        warm_up = make_scheduler("linear", optimizer, 8, 3, "step", **settings)
        return optimizer, [curve, warm_up]

    optimizer, schedulers = build()
    for _ in range(4):
        run_epoch(optimizer, schedulers, 3)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), *(s.state_dict() for s in schedulers)], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    other, resumed = build()
    for new, old in zip(other.param_groups, optimizer.param_groups, strict=True):
        new["params"][0].data.copy_(old["params"][0])
    targets = [other, *resumed]
    order = range(3) if optimizer_first else (1, 2, 0)
    for index in order:
        targets[index].load_state_dict(saved[index])
    for _ in range(8):
        assert run_epoch(optimizer, schedulers, 3) == run_epoch(other, resumed, 3)
    assert other.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    assert torch.equal(other.param_groups[0]["params"][0], optimizer.param_groups[0]["params"][0])


def test_plateau_halves_after_six_epochs_without_one_percent():
    optimizer = adabreg()
    scheduler = make_scheduler("plateau", optimizer, 50, 1)
    scheduler.step_epoch(100.0)
    for epoch in range(6):
        assert lrs(optimizer) == [0.01, 0.05]
        scheduler.step_epoch(99.5 - 0.01 * epoch)
    assert lrs(optimizer) == [0.005, 0.025]
    with pytest.raises(ValueError, match="needs a metric"):
        scheduler.step_epoch()


def test_plateau_is_torchs_on_the_sum_of_the_losses():
    """The published code feeds the sum over batches; a relative threshold knows no difference."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(60, generator=generator)
    means = [1.0 / (1 + epoch) + 0.3 * noise[epoch].item() for epoch in range(60)]
    ours, theirs = (torch.optim.SGD(parameters(1), lr=0.1) for _ in range(2))
    scheduler = make_scheduler("plateau", ours, 60, 445)
    reference = ReduceLROnPlateau(theirs, factor=0.5, patience=5, threshold=0.01)
    rates = []
    for mean in means:
        scheduler.step_epoch(mean)
        reference.step(445 * mean)
        rates.append(ours.param_groups[0]["lr"])
        assert rates[-1] == theirs.param_groups[0]["lr"]
    assert len(set(rates)) > 3


def test_plateau_leaves_the_learning_rate_while_the_loss_falls():
    optimizer = adabreg()
    scheduler = make_scheduler("plateau", optimizer, 50, 1, patience=0)
    for loss, lr in ((1.0, 0.01), (0.9, 0.01), (0.8, 0.01), (0.9, 0.005), (0.7, 0.005)):
        scheduler.step_epoch(loss)
        assert lrs(optimizer) == [lr, 5 * lr]


def test_plateau_of_an_accuracy_waits_for_it_to_rise():
    optimizer = torch.optim.SGD(parameters(1), lr=1e-8)
    scheduler = make_scheduler("plateau", optimizer, 50, 1, mode="max", patience=0)
    for accuracy, lr in ((0.5, 1e-8), (0.6, 1e-8), (0.6, 5e-9), (0.7, 5e-9), (0.1, 2.5e-9)):
        scheduler.step_epoch(accuracy)
        assert lrs(optimizer) == [lr]


@pytest.mark.parametrize(
    ("name", "settings", "values"),
    [
        ("cosine", {}, [8.0, 6.828, 4.0, 1.172, 0.0, 0.0]),
        ("cosine", {"start": 2.0, "end": 4.0}, [2.0, 2.293, 3.0, 3.707, 4.0, 4.0]),
        ("cosine", {"end": None, "start": 4.0, "fraction": 0.5}, [4.0, 6.0, 8.0, 8.0]),
        ("linear", {}, [8.0, 6.0, 4.0, 2.0, 0.0, 0.0]),
        ("linear", {"start": 2.0, "end": 4.0}, [2.0, 2.5, 3.0, 3.5, 4.0, 4.0]),
        ("linear", {"end": None, "start": 4.0, "fraction": 0.5}, [4.0, 6.0, 8.0, 8.0]),
        ("exponential", {}, [8.0, 8 * 0.95, 8 * 0.95**2]),
        ("exponential", {"start": 2.0, "decay": 0.5}, [2.0, 1.0, 0.5]),
    ],
)
def test_curves_by_hand(name, settings, values):
    optimizer = torch.optim.SGD(parameters(1), lr=8.0)
    scheduler = make_scheduler(name, optimizer, 4, 1, **settings)
    for value in values:
        assert lrs(optimizer) == pytest.approx([value], abs=1e-3)
        scheduler.step_epoch()


def test_one_cycle_passes_its_settings_on():
    """Up from 8/4 in one step, down to 8/4/10 in three, along lines."""
    optimizer = torch.optim.SGD(parameters(1), lr=8.0, momentum=0.5)
    settings = {"pct_start": 0.4, "anneal": "linear", "div_factor": 4.0, "final_div_factor": 10.0}
    limits = {"base_momentum": 0.6, "max_momentum": 0.8}
    scheduler = make_scheduler("onecycle", optimizer, 5, 1, **settings, **limits)
    expected = [(2.0, 0.8), (8.0, 0.6), (5.4, 2 / 3), (2.8, 2.2 / 3), (0.2, 0.8), (0.2, 0.8)]
    for lr, momentum in expected:
        group = optimizer.param_groups[0]
        assert (group["lr"], group["momentum"]) == pytest.approx((lr, momentum))
        scheduler.step_epoch()


@pytest.mark.parametrize("pct_start", [0, 1])
def test_one_cycle_may_only_fall_or_only_rise(pct_start):
    optimizer = torch.optim.SGD(parameters(1), lr=8.0)
    scheduler = make_scheduler("onecycle", optimizer, 5, 1, pct_start=pct_start)
    used = [lr for _ in range(5) for (lr,) in run_epoch(optimizer, [scheduler], 1)]
    assert used == sorted(used, reverse=pct_start == 0)


def test_one_cycle_leaves_betas_alone_where_it_should():
    for settings in ({"cycle_momentum": False}, {"field": "lam"}):
        optimizer = adabreg()
        make_scheduler("onecycle", optimizer, 10, 1, **settings)
        assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.999)] * 2
    make_scheduler("onecycle", ProxSGD(parameters()), 10, 1)  # has neither betas nor momentum


def test_lam_warm_up_touches_regularised_groups_and_keeps_the_weights():
    optimizer = adabreg()
    regularised, free = (group["params"][0] for group in optimizer.param_groups)
    settings = {"field": "lam", "start": 0.0, "end": None, "fraction": 0.5}
    scheduler = make_scheduler("linear", optimizer, 4, 1, **settings)
    lams = []
    for _ in range(4):
        lams.append([group["lam"] for group in optimizer.param_groups])
        for param in (regularised, free):
            param.grad = torch.zeros(3)
        optimizer.step()
        theta, lam = regularised.detach().double(), lams[-1][0]
        torch.testing.assert_close(optimizer.dual(regularised), theta + lam)
        scheduler.step_epoch()
    assert lams == [[0.0, 0.4], [0.2, 0.4], [0.4, 0.4], [0.4, 0.4]]
    assert torch.equal(regularised, torch.ones(3))


def test_lam_of_an_optimizer_without_regularisers_is_refused():
    """It would do nothing, silently; so would that of Bregman groups that are all free."""
    free = AdaBreg([{"params": parameters(1), "regularizer": "none"}], lr=0.1)
    for optimizer in (torch.optim.Adam(parameters(1)), free):
        with pytest.raises(ValueError, match=r"no lambda to move: Ada.* has no parameters with"):
            make_scheduler("linear", optimizer, 4, 1, field="lam", start=0.0)


def test_only_schedules_of_the_learning_rate_of_this_optimizer_are_summed():
    first, second = (torch.optim.SGD(parameters(1), lr=lr, momentum=0.5) for lr in (2.0, 3.0))
    schedules = [
        Schedule(first, "lr", lambda t, base: base - t),
        Schedule(first, "momentum", lambda t, base: 0.1 * t),
    ]
    for per, total in (("epoch", 4 * (2 + 1)), ("step", sum(2 - t for t in range(8)))):
        scheduler = Scheduler(schedules, per, 2, 4)
        assert scheduler.lr_sums(first) == [total]
        assert scheduler.lr_sums(second) == [3.0 * 8]


def test_a_schedule_of_any_field_is_a_function_of_the_step():
    optimizer = torch.optim.SGD(parameters(1), lr=1.0, weight_decay=0.5)
    schedule = Schedule(optimizer, "weight_decay", lambda t, base: base * t)
    assert schedule.at(4) == schedule.at(4) == [2.0]
    assert optimizer.param_groups[0]["weight_decay"] == 0.0
    schedule.advance()
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    with pytest.raises(ValueError, match="Invalid field: 'lam'"):
        Schedule(optimizer, "lam", lambda t, base: base)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("one_cycle", 5, 2), {}, "'one_cycle'. Valid schedulers are none, onecycle"),
        (("cosine", 0, 2), {}, "Invalid epochs: 0"),
        (("cosine", 5, 0), {}, "Invalid steps_per_epoch: 0"),
        (("cosine", 5, 2, "batch"), {}, "Invalid per: 'batch'. Valid values are epoch, step"),
        (("onecycle", 5, 2), {"max_lr": 1.0}, "'max_lr' of scheduler 'onecycle'.*pct_start"),
        (("linear", 5, 2), {"total": 3}, "'total' .* settings are end, fraction, start.$"),
        (("plateau", 5, 2), {"a": 1}, "settings are factor, mode, patience, threshold.$"),
        (("onecycle", 5, 2), {"pct_start": 1.2}, "Invalid pct_start: 1.2"),
        (("onecycle", 5, 2), {"anneal": "exp"}, "Invalid anneal: 'exp'"),
        (("plateau", 5, 2), {"factor": 1.0}, "Invalid factor: 1.0"),
        (("plateau", 5, 2), {"factor": 0.0}, "Invalid factor: 0.0"),
        (("plateau", 5, 2), {"mode": "up"}, "Invalid mode: 'up'"),
        (("plateau", 5, 2), {"field": "lam"}, "changes lr only"),
        (("none", 5, 2), {"gamma": 0.1}, "'gamma' of scheduler 'none'.*none"),
    ],
)
def test_bad_settings_are_named(arguments, settings, message):
    name, *rest = arguments
    with pytest.raises(ValueError, match=message):
        make_scheduler(name, adabreg(), *rest, **settings)


def test_the_state_of_another_scheduler_is_refused():
    one = make_scheduler("onecycle", adabreg(), 5, 2)
    for name in ("plateau", "none", "cosine"):
        other = make_scheduler(name, adabreg(), 5, 2)
        with pytest.raises(ValueError, match="belongs to another scheduler"):
            other.load_state_dict(one.state_dict())


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_scheduler_is_stepped_like_torchs_own(per):
    ours, theirs = adabreg(), adabreg()
    settings = {"epochs": 3, "steps_per_epoch": 4, "per": per}
    one, other = (
        make_scheduler("onecycle", ours, **settings),
        make_scheduler("onecycle", theirs, **settings),
    )
    for _ in range(5):
        one.step()
        other.step_batch() if per == "step" else other.step_epoch()
        assert lrs(ours) == lrs(theirs)
    assert one.schedules[0].t == 5


def test_the_density_controller_and_plateau_are_stepped_after_an_epoch():
    optimizer = adabreg()
    controller = make_scheduler("target", optimizer, 10, 4, field="lam", density=0.5)
    for _ in range(10):
        controller.step()
    assert controller.turn == 10
    plateau = make_scheduler("plateau", optimizer, 10, 4, patience=0)
    for _ in range(3):
        plateau.step(1.0)
    assert lrs(optimizer)[0] < 0.01
