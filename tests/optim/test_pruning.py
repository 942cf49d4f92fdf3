"""Methods that prune, against numbers by hand: GMP, magnitude, iterative, Lasso."""

import copy
import math

import pytest
import torch

from snnbreg.optim import SPARSIFIERS, Course
from snnbreg.schedulers import make_scheduler
from sparsifier_course import course, kept, random, step

# -- gradual magnitude pruning ---------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ["global", "layer"])
def test_gmp_follows_the_cubic(allocation):
    given = course(random(40, 50), epochs=10, steps=40)
    gmp = SPARSIFIERS["gmp"](given, 0.1, allocation, begin=0.25, end=0.5, every=10)
    gone = {}
    for number in range(1, 401):
        before = gmp.masks["w0"].clone()
        step(gmp, torch.zeros(40, 50))
        gone[number] = 1 - kept(gmp) / 2000
        assert not (gmp.masks["w0"] & ~before).any()  # masks only shrink
    assert [gone[t] for t in (99, 100, 150, 159, 200, 400)] == pytest.approx(
        [0, 0, 0.7875, 0.7875, 0.9, 0.9], abs=1e-12
    )
    changes = [t for t in range(2, 401) if gone[t] != gone[t - 1]]
    assert changes == list(range(110, 201, 10))
    largest = random(40, 50).abs() >= random(40, 50).abs().flatten().topk(200).values[-1]
    assert torch.equal(gmp.masks["w0"], largest)


def test_gmp_forces_a_last_update():
    gmp = SPARSIFIERS["gmp"](course(random(10, 10), epochs=1, steps=25), 0.2, end=1.0, every=10)
    for _ in range(25):
        step(gmp, torch.zeros(10, 10))
    assert kept(gmp) == 20


def test_gmp_counts_its_period_from_where_it_begins():
    given = course(random(20, 20), epochs=1, steps=40)
    gmp = SPARSIFIERS["gmp"](given, 0.2, begin=0.075, end=1.0, every=10)
    changed = []
    for number in range(1, 41):
        before = kept(gmp)
        step(gmp, torch.zeros(20, 20))
        changed += [number] * (kept(gmp) != before)
    assert changed == [13, 23, 33, 40]


def test_gmp_prunes_at_once_where_its_end_is_its_beginning():
    gmp = SPARSIFIERS["gmp"](course(random(10, 10), epochs=1, steps=10), 0.2, begin=0.5, end=0.5)
    counts = []
    for _ in range(7):
        step(gmp, torch.zeros(10, 10))
        counts.append(kept(gmp))
    assert counts == [100] * 4 + [20] * 3


# -- pruning and training again --------------------------------------------------------------------


def run(name, epochs, schedule="linear", per="epoch", kind=torch.optim.Adam, steps=4, **settings):
    """The learning rate of every epoch's first step, and the objects."""
    given = course(random(6, 5), kind=kind, epochs=epochs, steps=steps, lr=1.0)
    optimizer = given.optimizers["weights"]
    sparsifier = SPARSIFIERS[name](given, **settings)
    scheduler = make_scheduler(schedule, optimizer, sparsifier.length, steps, per)
    sparsifier.follow([scheduler])
    rates, states = [], []
    for epoch in range(epochs):
        sparsifier.before_epoch(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
        states.append((kept(sparsifier), copy.deepcopy(optimizer.state_dict()["state"])))
        for number in range(steps):
            step(sparsifier, random(6, 5, seed=10 * epoch + number))
            scheduler.step_batch()
        scheduler.step_epoch(1.0)
    return rates, states, sparsifier


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_magnitude_repeats_the_last_learning_rates(per):
    rates, states, _ = run("magnitude", 10, per=per, density=0.2, retrain=0.3)
    assert rates == pytest.approx([1 - t / 7 for t in (0, 1, 2, 3, 4, 5, 6, 4, 5, 6)])
    assert [count for count, _ in states] == [30] * 7 + [6] * 3
    assert states[6][1]
    assert states[7][1] == {}  # no moments, step 0
    assert states[8][1][0]["step"] == 4


def test_magnitude_can_go_on_with_the_last_learning_rate():
    rates, _, _ = run("magnitude", 10, density=0.2, retrain=0.6, method="fine_tune")
    assert rates == pytest.approx([1, 0.75, 0.5, 0.25, *[0.25] * 6])


def test_magnitude_needs_two_epochs():
    with pytest.raises(ValueError, match="two epochs"):
        run("magnitude", 1)
    _, states, _ = run("magnitude", 2, density=0.2)
    assert [count for count, _ in states] == [30, 6]


@pytest.mark.parametrize(("retrain", "dense"), [(0.01, 9), (0.99, 1)])
def test_magnitude_has_an_epoch_before_pruning_and_one_after_it(retrain, dense):
    _, states, _ = run("magnitude", 10, density=0.2, retrain=retrain, method="fine_tune")
    assert [count for count, _ in states] == [30] * dense + [6] * (10 - dense)


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_iterative_rewinds_schedules_to_where_weights_go(per):
    rates, states, iterative = run("iterative", 10, per=per, density=0.2, rounds=2, rewind=1)
    assert iterative.length == 4  # 4 + 3 + 3 = 10
    assert rates == pytest.approx([1 - t / 4 for t in (0, 1, 2, 3, 1, 2, 3, 1, 2, 3)])
    assert [count for count, _ in states] == [30] * 4 + [round(30 * 0.2**0.5)] * 3 + [6] * 3
    assert [epoch for epoch, (_, state) in enumerate(states) if state == {}] == [0, 4, 7]


def test_iterative_repeats_the_last_epoch_where_epochs_are_left():
    rates, _, iterative = run("iterative", 8, density=0.5, rounds=2)
    assert iterative.length == 2
    assert rates == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 0.5, 0.5])


def test_iterative_removes_a_share_of_what_is_left():
    given = course([[5.0, 4.0, 3.0, 2.0, 1.0]], epochs=3)
    iterative = SPARSIFIERS["iterative"](given, 0.36, rounds=2)
    left = []
    for epoch in range(3):
        iterative.before_epoch(epoch)
        left.append(given.network.w0.tolist()[0])
    assert left == [[5, 4, 3, 2, 1], [5, 4, 3, 0, 0], [5, 4, 0, 0, 0]]


def test_iterative_prunes_by_trained_weights_and_sets_all_else_back():
    given = course([[3.0, 2.0, 1.0, 0.5]], [1.0, 1.0], epochs=4, steps=1)
    network = given.network
    weights = {"w0": network.w0}  # w1 stands for delays, biases and spreads
    only = Course(network, weights, given.optimizers, 4, 1)
    iterative = SPARSIFIERS["iterative"](only, 0.5, rounds=1, rewind=1)
    assert iterative.length == 2  # 2 + 1, and one that is left
    for epoch, gradient in enumerate([[0, 0, -40, 0], [25, 0, 0, 0], [0, 0, 0, 0]]):
        iterative.before_epoch(epoch)
        if epoch == 2:  # trained: .5, 2, 5, .5
            assert network.w0.tolist() == [[0, 2, 5, 0]]
            assert network.w1.tolist() == pytest.approx([0.9, 0.9])
        network.w1.grad = torch.ones(2)
        step(iterative, [[float(g) for g in gradient]])
    assert network.w1.tolist() == pytest.approx([0.8, 0.8])


def test_a_plateau_can_be_rewound_to_its_start_alone():
    run("iterative", 9, schedule="plateau", rounds=2)
    iterative = SPARSIFIERS["iterative"](course(random(6, 5)), rounds=2, rewind=1)
    plateau = make_scheduler("plateau", iterative.optimizer, iterative.length, 4)
    with pytest.raises(ValueError, match="rewound to its start alone"):
        iterative.follow([plateau])  # before the first epoch


def test_iterative_takes_what_it_rewinds_to_from_a_state():
    one, other = (
        SPARSIFIERS["iterative"](course(random(6, 5, seed=seed), epochs=4), 0.5, rounds=1)
        for seed in range(2)
    )
    one.before_epoch(0)
    other.load_state_dict(one.state_dict())
    for epoch in (1, 2):  # pruned by its own weights and set back to those of the first
        other.before_epoch(epoch)
    assert kept(other) == 15
    assert torch.equal(other.course.network.w0, random(6, 5) * other.masks["w0"])


# -- Lasso -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoupled", [True, False])
def test_lasso_walks_around_zero(decoupled):
    given = course([[0.1]])
    lasso = SPARSIFIERS["lasso"](given, 1.0, lam=2.0, decoupled=decoupled)
    seen = []
    for _ in range(3):
        step(lasso, [[0.0]])
        seen.append(given.network.w0.item())
    assert seen == pytest.approx([-0.1, 0.1, -0.1])


@pytest.mark.parametrize(("decoupled", "expected"), [(True, 0.8), (False, 0.9)])
def test_adam_normalises_what_is_inside_the_gradient(decoupled, expected):
    given = course([[1.0]], kind=torch.optim.Adam)
    step(SPARSIFIERS["lasso"](given, 1.0, lam=2.0, decoupled=decoupled), [[0.0]])
    assert given.network.w0.item() == pytest.approx(expected)


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("end", [0.5, 1.0])
def test_lasso_thresholds_once_and_shrinks_no_more(end, decoupled):
    given = course(random(6, 5), epochs=2, steps=4)
    lasso = SPARSIFIERS["lasso"](given, 0.3, lam=0.01, end=end, decoupled=decoupled)
    for number in range(8):
        before = given.network.w0.detach().clone()
        step(lasso, torch.zeros(6, 5))
        assert kept(lasso) == (9 if number + 1 >= 8 * end else 30)
        if number >= 8 * end:
            assert torch.equal(given.network.w0, before)
    assert int((given.network.w0 != 0).sum()) == 9


def test_lasso_prefers_every_weight_to_a_zero():
    given = course([[0.0, 0.1, 0.3, 0.0, 0.2]], epochs=1, steps=1)
    step(SPARSIFIERS["lasso"](given, 0.4, lam=0.0, end=1.0), [[0.0] * 5])
    assert given.network.w0.tolist() == [pytest.approx([0, 0, 0.3, 0, 0.2])]


def test_group_lasso_ranks_groups_as_wholes():
    rows = torch.tensor([[3.0, 0.1], [2.0, 2.0], [0.5, 0.0], [1.0, 1.0]])
    kernels = torch.full((1, 2, 1, 2), 1.5)
    given = course(rows, kernels, epochs=1, steps=1)
    lasso = SPARSIFIERS["lasso"](given, 0.5, lam=0.0, regularizer="group_rows", end=1.0)
    assert lasso.names == ["group_rows", "l1"]
    step(lasso, torch.zeros(4, 2), torch.zeros(1, 2, 1, 2))
    assert given.network.w0.tolist() == [[3, pytest.approx(0.1)], [2, 2], [0, 0], [0, 0]]
    assert given.network.w1.flatten().tolist() == [1.5, 1.5, 0, 0]  # ties: the first


def test_group_lasso_shrinks_along_the_rows():
    given = course([[3.0, 4.0], [0.0, 0.0]])
    step(SPARSIFIERS["lasso"](given, 1.0, lam=1.0, regularizer="group_rows"), torch.zeros(2, 2))
    scale = 0.1 * math.sqrt(2)
    assert given.network.w0.tolist() == [
        pytest.approx([3 - scale * 0.6, 4 - scale * 0.8]), [0, 0]
    ]  # fmt: skip
