"""Sparsifiers, each against numbers by hand, and what all of them promise."""

import copy
import math

import pytest
import torch
from torch import nn

from snnbreg.optim import SPARSIFIERS, AdaBreg, Course, LinBreg, ProxSGD, prune_and_keep
from snnbreg.optim.ranking import Budget, keep_largest, layer_counts
from snnbreg.optim.sparse import layer_densities
from snnbreg.optim.sparsifiers.rigl import moved
from snnbreg.optim.sparsifiers.set import evolved
from snnbreg.schedulers import make_scheduler

EVERY = pytest.mark.parametrize("name", SPARSIFIERS)
QUIET = {"deepr": {"l1": 0.0, "temperature": 0.0}, "lasso": {"lam": 0.0}}  # nothing but the masks


def course(*weights, kind=torch.optim.SGD, epochs=10, steps=20, seed=0, **options):
    """A network whose parameters are these matrices, with an optimizer of them."""
    network = nn.Module()
    for i, weight in enumerate(weights):
        setattr(network, f"w{i}", nn.Parameter(torch.as_tensor(weight).clone()))
    optimizer = kind(network.parameters(), **{"lr": 0.1, **options})
    return Course(
        network, dict(network.named_parameters()), {"weights": optimizer}, epochs, steps, seed
    )


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step(sparsifier, *gradients):
    """One step of the loop: gradients, what the sparsifier makes of them, the optimizer."""
    for weight, gradient in zip(sparsifier.weights, gradients, strict=True):
        weight.grad = torch.as_tensor(gradient).clone()
    sparsifier.after_backward()
    sparsifier.optimizer.step()
    sparsifier.after_step()


def force(sparsifier, *masks):
    for own, mask in zip(sparsifier.masks.values(), masks, strict=True):
        own.copy_(torch.as_tensor(mask, dtype=torch.bool))


def kept(sparsifier):
    return sum(int(mask.sum()) for mask in sparsifier.masks.values())


# -- what all of them promise ----------------------------------------------------------------------


@EVERY
def test_momentum_never_revives_a_masked_weight(name):
    given = course([[0.4, 0.3]], momentum=0.9)
    sparsifier = SPARSIFIERS[name](given, **QUIET.get(name, {}), density=0.5)
    weight = given.network.w0
    weight.data = torch.tensor([[0.4, 0.3]])
    force(sparsifier, [[1, 0]])
    state = sparsifier.optimizer.state[weight]
    state["momentum_buffer"] = torch.ones(1, 2)
    step(sparsifier, [[0.0, 0.0]])
    assert weight.tolist() == [[pytest.approx(0.31), 0.0]]
    assert state["momentum_buffer"].tolist() == [[pytest.approx(0.9), 0.0]]
    force(sparsifier, [[1, 1]])  # later the weight may move again: nothing is left that moves it
    step(sparsifier, [[0.0, 0.0]])
    assert weight.tolist() == [[pytest.approx(0.229), 0.0]]


@EVERY
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "weight_decay": 0.1}])
def test_nor_do_the_moments_of_adam(name, options):
    given = course(random(4, 6), kind=torch.optim.Adam, **options)
    sparsifier = SPARSIFIERS[name](given, **QUIET.get(name, {}), density=0.5)
    mask = random(4, 6, seed=1) > 0
    for number in range(3):
        step(sparsifier, random(4, 6, seed=2 + number))
    state = sparsifier.optimizer.state[given.network.w0]
    force(sparsifier, mask)
    sparsifier.apply()
    moments = [entry for entry in state.values() if entry.shape == (4, 6)]
    assert len(moments) == (3 if options else 2)
    assert not any(moment[~mask].any() for moment in (given.network.w0, *moments))
    force(sparsifier, torch.ones(4, 6))
    before = given.network.w0.detach().clone()
    for group in sparsifier.optimizer.param_groups:
        group["weight_decay"] = 0.0
    step(sparsifier, torch.zeros(4, 6))
    assert torch.equal(given.network.w0[~mask], torch.zeros(int((~mask).sum())))
    assert not torch.equal(given.network.w0, before)  # the others go on


@EVERY
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_mask_of_ones_changes_no_bit(name, kind):
    """Where weights start again, until they do; where signs are fixed, until one would change."""
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    start = random(5, 4).sign() * (1 + random(5, 4).abs())
    plain, given = (course(start.clone(), kind=kind, lr=1e-3, **options) for _ in range(2))
    sparsifier = SPARSIFIERS[name](given, **QUIET.get(name, {}), density=1.0)
    for number in range(205):  # beyond the run's last step
        gradient = random(5, 4, seed=number)
        step(sparsifier, gradient)
        plain.network.w0.grad = gradient
        plain.optimizers["weights"].step()
        assert torch.equal(plain.network.w0, given.network.w0)


@EVERY
def test_clipping_ignores_masked_gradients(name):
    given = course(torch.ones(4, 5))
    sparsifier = SPARSIFIERS[name](given, **QUIET.get(name, {}), density=0.4)
    force(sparsifier, torch.arange(20).view(4, 5) < 9)
    given.network.w0.grad = torch.ones(4, 5)
    sparsifier.after_backward()
    assert float(nn.utils.get_total_norm([given.network.w0.grad])) == 3.0


@EVERY
@pytest.mark.parametrize("density", [0.37, 0.1])
def test_the_number_of_kept_weights_is_exact_at_the_end(name, density):
    given = course(random(7, 9), random(5, 7, seed=1), random(3, 5, seed=2), kind=torch.optim.Adam)
    sparsifier = SPARSIFIERS[name](given, density=density)
    number = 0
    for epoch in range(10):
        sparsifier.before_epoch(epoch)
        for _ in range(20):
            step(sparsifier, *(random(*w.shape, seed=number + 1000) for w in sparsifier.weights))
            number += 1
        sparsifier.after_epoch(epoch)
        if name in ("set", "rigl", "deepr"):
            assert kept(sparsifier) == round(density * 113)
    assert kept(sparsifier) == round(density * 113)
    assert sum(int((w != 0).sum()) for w in sparsifier.weights) == round(density * 113)
    assert sparsifier.columns() == {"kept": round(density * 113)}


@EVERY
def test_masks_of_other_matrices_are_refused(name):
    one, other = (SPARSIFIERS[name](course(random(4, n)), density=0.5) for n in (5, 6))
    with pytest.raises(ValueError, match="no masks of w0"):
        one.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="no masks of w0"):
        one.load_state_dict({})


@EVERY
@pytest.mark.parametrize("density", [0.0, -0.1, 1.1])
def test_a_density_out_of_range_is_refused(name, density):
    with pytest.raises(ValueError, match="density"):
        SPARSIFIERS[name](course(random(4, 5)), density=density)


@pytest.mark.parametrize("name", sorted(set(SPARSIFIERS) - {"debias"}))
def test_optimizers_that_make_their_own_zeros_are_refused(name):
    with pytest.raises(ValueError, match=r"AdaBreg makes its own zeros; only debias"):
        SPARSIFIERS[name](course(random(4, 5), kind=AdaBreg))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gmp", {"allocation": "rows"}, "layer, erk, global"), ("gmp", {"every": 0}, "every"),
        ("gmp", {"begin": 0.5, "end": 0.4}, "end"), ("gmp", {"end": 1.1}, "end"),
        ("gmp", {"begin": -0.1}, "begin"), ("gmp", {"end": 0.0}, "end"),
        ("magnitude", {"method": "rewind"}, "learning_rate, fine_tune"),
        ("magnitude", {"retrain": 0.6}, "cannot be rewound by 6"),
        ("magnitude", {"retrain": 0.0}, "retrain"), ("iterative", {"rounds": 0}, "rounds"),
        ("iterative", {"rounds": 10}, "11 trainings within 10 epochs are 0 epochs"),
        ("iterative", {"rounds": 4, "rewind": 2}, None), ("iterative", {"rewind": -1}, "rewind"),
        ("set", {"fraction": 1.0}, "fraction"), ("set", {"allocation": "global"}, "per layer"),
        ("rigl", {"second_moment": "mean"}, "zero, gradient"),
        ("rigl", {"fraction": 0}, "fraction"), ("rigl", {"every": 0}, "every"),
        ("deepr", {"growth": "all"}, "random, gradient"),
        ("deepr", {"temperature": -1.0}, "temperature"), ("lasso", {"lam": -1.0}, "lam"),
        ("lasso", {"regularizer": "l0"}, "l0"), ("debias", {"begin": 0.0}, "begin"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(name, settings, message):
    if message is None:
        SPARSIFIERS[name](course(random(4, 5)), **settings)
        return
    with pytest.raises(ValueError, match=message):
        SPARSIFIERS[name](course(random(4, 5)), **settings)


# -- exact numbers ---------------------------------------------------------------------------------


def test_ties_are_broken_by_the_place():
    assert keep_largest(torch.ones(4), 2).tolist() == [True, True, False, False]
    scores = torch.tensor([[2.0, 1.0, 1.0], [1.0, 3.0, 0.0]])
    assert keep_largest(scores, 3).tolist() == [[True, True, False], [False, True, False]]
    assert keep_largest(scores.t(), 3).tolist() == [[True, True], [False, True], [False, False]]


@pytest.mark.parametrize("count", [-1, 0, 1, 17, 49, 50, 60])
def test_the_largest_are_those_of_a_stable_sort(count):
    scores = random(50).mul(2).round()  # many ties
    order = scores.sort(descending=True, stable=True).indices[: max(0, count)]
    expected = torch.zeros(50, dtype=torch.bool)
    expected[order] = True
    assert torch.equal(keep_largest(scores, count), expected)


def test_erk_of_the_spoken_digits_network():
    shapes = [(256, 140), (256, 256), (256, 256), (256, 256), (10, 256)]
    assert layer_counts(shapes, 0.05, "erk") == [2117, 2737, 2737, 2737, 1422]
    counts = layer_counts(shapes, 0.1, "erk")
    shares = [
        d * math.prod(s) for d, s in zip(layer_densities(shapes, 0.1, "erk"), shapes, strict=True)
    ]
    assert [round(share) for share in shares] == [4292, 5550, 5550, 5550, 2560]
    assert counts[-1] == 2560
    assert sum(counts) == round(0.1 * 235_008)  # not 23,502, the sum of rounded numbers
    assert all(abs(c - share) < 1 for c, share in zip(counts, shares, strict=True))


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
@pytest.mark.parametrize("density", [0.02, 0.11, 0.5, 0.97, 1.0])
def test_numbers_per_layer_amount_to_the_total(allocation, density):
    shapes = [(7, 9), (5, 7), (5, 5), (3, 5), (2, 3, 3, 3)]
    counts = layer_counts(shapes, density, allocation)
    assert sum(counts) == round(density * 192)
    assert all(0 <= c <= math.prod(s) for c, s in zip(counts, shapes, strict=True))


def test_one_ranking_or_one_per_matrix():
    scores = [torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[0.1, 0.2, 0.3, 0.4]])]
    expected = {"global": [4, 0], "layer": [2, 2], "erk": [2, 2]}
    for allocation, counts in expected.items():
        budget = Budget([s.shape for s in scores], 0.5, allocation)
        masks = budget.select(scores, budget.final)
        assert [int(mask.sum()) for mask in masks] == counts
    assert masks[0].tolist() == masks[1].tolist() == [[False, False, True, True]]


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
    with pytest.raises(ValueError, match="rewound to its start alone"):
        run("iterative", 10, schedule="plateau", rounds=2, rewind=1)


# -- sparse evolutionary training ------------------------------------------------------------------


def test_set_counts_positive_and_negative_weights_apart():
    weight = torch.tensor([0.1, 0.5, 0.9, -0.2, -0.6, -0.7, 0.0, 0.0, 0.0])
    mask, noise = weight != 0, torch.tensor([0.9] * 6 + [0.1, 0.3, 0.2])
    after = evolved(weight, mask, 1 / 3, noise)
    assert after.tolist() == [False, True, True, False, True, True, False, True, True]


def test_set_leaves_a_dense_matrix_and_uses_the_places_there_are():
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0])
    dense = torch.ones(5, dtype=torch.bool)
    assert torch.equal(evolved(weight, dense, 0.5, torch.rand(5)), dense)
    after = evolved(weight, weight != 0, 0.5, torch.rand(5))  # two to drop, one place
    assert after.tolist() == [False, True, True, True, True]


def test_set_changes_its_mask_between_epochs_alone_and_draws_by_seed_and_step():
    masks = {}
    for seed in (0, 0, 1):
        given = course(random(8, 9), seed=seed)
        sparse = SPARSIFIERS["set"](given, 0.3)
        first = sparse.masks["w0"].clone()
        torch.rand(3)
        sparse.before_epoch(0)
        step(sparse, random(8, 9, seed=1))
        assert torch.equal(sparse.masks["w0"], first)
        sparse.before_epoch(1)
        changed = sparse.masks["w0"] != first
        assert changed.sum() == 2 * (sparse.masks["w0"] & changed).sum() > 0
        assert torch.equal(masks.setdefault(seed, sparse.masks["w0"].clone()), sparse.masks["w0"])
    assert not torch.equal(masks[0], masks[1])


# -- RigL ------------------------------------------------------------------------------------------


def test_rigl_moves_less_and_less():
    rigl = SPARSIFIERS["rigl"](course(random(8, 9), epochs=4, steps=100), end=0.5)
    shares = []
    for rigl.step in (0, 100, 200, 300):
        shares.append(rigl.fraction())
    assert shares == pytest.approx([0.3, 0.15, 0, 0])


def test_rigl_drops_small_weights_and_grows_large_gradients():
    weight = torch.tensor([0.5, -0.1, 0.3, 0, 0, 0])
    gradient = torch.tensor([0.2, 0.9, 0.1, -0.4, 0.05, 0.3])
    kept_again = moved(weight, weight != 0, gradient, 1)
    assert kept_again.tolist() == [True, True, True, False, False, False]
    elsewhere = moved(weight, weight != 0, gradient, 1, regrow_dropped=False)
    assert elsewhere.tolist() == [True, False, True, True, False, False]
    assert moved(weight, weight != 0, gradient, 9, regrow_dropped=False).sum() == 3


@pytest.mark.parametrize("second_moment", ["zero", "gradient"])
def test_rigl_moves_in_place_of_a_step(second_moment):
    given = course(random(4, 5), kind=torch.optim.Adam, epochs=1, steps=20)
    rigl = SPARSIFIERS["rigl"](given, 0.5, "layer", every=2, end=1.0, second_moment=second_moment)
    weight, state = given.network.w0, rigl.optimizer.state[given.network.w0]
    for number in range(2):
        step(rigl, random(4, 5, seed=number))
    before, mask = weight.detach().clone(), rigl.masks["w0"].clone()
    old = {key: state[key].clone() for key in ("exp_avg", "exp_avg_sq", "step")}
    gradient = 5 * random(4, 5, seed=7)  # of all entries, masked ones too
    step(rigl, gradient)
    new = rigl.masks["w0"]
    assert torch.equal(new, moved(before, mask, gradient, int(rigl_share(2) * 10)))
    assert (new & ~mask).any()
    assert torch.equal(weight, before * new)  # moved, not stepped; born at zero
    assert state["step"] == old["step"] == 2
    assert torch.equal(state["exp_avg"], old["exp_avg"] * new)
    born = (new & ~mask) * gradient.square() if second_moment == "gradient" else 0
    assert torch.equal(state["exp_avg_sq"], old["exp_avg_sq"] * new + born)


def rigl_share(t):
    return 0.15 * (1 + math.cos(math.pi * t / 20))


def test_rigl_moves_one_weight_where_the_share_is_less():
    given = course(random(2, 5), epochs=1, steps=20)
    rigl = SPARSIFIERS["rigl"](given, 0.2, every=2, end=1.0)
    mask = rigl.masks["w0"].clone()
    gradient = torch.where(mask, 0.0, 1.0)
    for _ in range(3):
        step(rigl, gradient)
    assert (rigl.masks["w0"] & ~mask).sum() == 1


# -- DEEP R ----------------------------------------------------------------------------------------


def test_deep_r_drops_a_weight_that_would_change_its_sign():
    given = course([[0.05, -0.02]])
    deep = SPARSIFIERS["deepr"](given, 1.0, l1=0.0, temperature=0.0)
    step(deep, [[1.0, 1.0]])
    assert given.network.w0.tolist() == [[pytest.approx(1e-12), pytest.approx(-0.12)]]  # born again
    assert kept(deep) == 2


def test_deep_r_takes_the_l1_term_apart_from_the_gradient():
    given = course([[0.5, -0.5]], kind=torch.optim.Adam)
    deep = SPARSIFIERS["deepr"](given, 1.0, l1=2.0, temperature=0.0)
    step(deep, [[0.0, 0.0]])
    assert given.network.w0.tolist() == [pytest.approx([0.3, -0.3])]


def test_deep_r_shakes_active_weights():
    given = course(torch.full((100, 100), 10.0))
    deep = SPARSIFIERS["deepr"](given, 0.5, "layer", l1=0.0, temperature=0.2, rescale=False)
    step(deep, torch.zeros(100, 100))
    active = given.network.w0.detach()[deep.masks["w0"]]
    assert float(active.std()) == pytest.approx(math.sqrt(2 * 0.1 * 0.2), rel=0.05)
    assert float(active.mean()) == pytest.approx(10, abs=0.02)
    assert not given.network.w0[~deep.masks["w0"]].any()


@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_deep_r_grows_where_it_says(growth):
    start = torch.tensor([[1.0, -1.0, 1.0, -1.0, 0.05, 1.0]])
    given = course(start)
    deep = SPARSIFIERS["deepr"](given, 0.5, l1=0, temperature=0, growth=growth, rescale=False)
    given.network.w0.data = start * torch.tensor([[0, 0, 0, 1, 1, 1]])
    force(deep, [[0, 0, 0, 1, 1, 1]])
    buffer = deep.optimizer.state[given.network.w0]["momentum_buffer"] = torch.ones(1, 6)
    step(deep, [[-0.5, 0.9, -3.0, 0.0, 1.0, 0.0]])
    assert kept(deep) == 3
    assert deep.masks["w0"].tolist()[0][3:] in ([True, False, True], [True, True, True])
    if growth == "gradient":  # s g is -3 there
        assert deep.masks["w0"].tolist() == [[False, False, True, True, False, True]]
        assert given.network.w0.tolist()[0] == pytest.approx([0, 0, 1e-12, -1, 0, 1])
    assert not buffer[0, :3].any()
    assert not buffer[0, 4]  # whether or not it came back


def test_deep_r_remembers_its_signs():
    start = random(6, 6)
    start[0] = 0
    deep = SPARSIFIERS["deepr"](course(start), 0.5)
    signs = deep.positive["w0"]
    assert torch.equal(signs[1:], start[1:] > 0)
    assert 0 < signs[0].sum() < 6  # drawn
    other = SPARSIFIERS["deepr"](course(-start), 0.5)
    other.load_state_dict(copy.deepcopy(deep.state_dict()))
    assert torch.equal(other.positive["w0"], signs)


# -- random starts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set", "rigl", "deepr"])
@pytest.mark.parametrize("rescale", [True, False])
def test_a_random_start_keeps_the_variance_where_asked_to(name, rescale):
    start = random(30, 40)
    given = course(start.clone())
    sparsifier = SPARSIFIERS[name](given, 0.25, "layer", rescale=rescale)
    mask = sparsifier.masks["w0"]
    assert mask.sum() == 300
    torch.testing.assert_close(given.network.w0.data, start * mask * (2 if rescale else 1))


# -- Lasso -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoupled", [True, False])
def test_lasso_walks_around_zero(decoupled):
    given = course([[0.05]])
    lasso = SPARSIFIERS["lasso"](given, 1.0, lam=1.0, decoupled=decoupled)
    seen = []
    for _ in range(3):
        step(lasso, [[0.0]])
        seen.append(given.network.w0.item())
    assert seen == pytest.approx([-0.05, 0.05, -0.05])


@pytest.mark.parametrize(("decoupled", "expected"), [(True, 0.8), (False, 0.9)])
def test_adam_normalises_what_is_inside_the_gradient(decoupled, expected):
    given = course([[1.0]], kind=torch.optim.Adam)
    step(SPARSIFIERS["lasso"](given, 1.0, lam=2.0, decoupled=decoupled), [[0.0]])
    assert given.network.w0.item() == pytest.approx(expected)


@pytest.mark.parametrize("end", [0.5, 1.0])
def test_lasso_thresholds_once_and_shrinks_no_more(end):
    given = course(random(6, 5), epochs=2, steps=4)
    lasso = SPARSIFIERS["lasso"](given, 0.3, lam=0.01, end=end)
    for number in range(8):
        before = given.network.w0.detach().clone()
        step(lasso, torch.zeros(6, 5))
        assert kept(lasso) == (9 if number + 1 >= 8 * end else 30)
        if number >= 8 * end:
            assert torch.equal(given.network.w0, before)
    assert int((given.network.w0 != 0).sum()) == 9


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


# -- final steps -----------------------------------------------------------------------------------

BREGMAN = {
    "adabreg": (AdaBreg, torch.optim.Adam, {}),
    "linbreg": (LinBreg, torch.optim.SGD, {"momentum": 0.9}),
    "proxsgd": (ProxSGD, torch.optim.SGD, {}),
}


@pytest.mark.parametrize("method", BREGMAN)
def test_debias_trains_the_support_without_shrinkage(method):
    """From there on the optimizer is SGD or Adam, whose masked gradients are zero."""
    kind, plain_kind, options = BREGMAN[method]
    given = course(random(6, 5), kind=kind, epochs=2, steps=10, lam=0.3, lr=0.05, **options)
    weight, optimizer = given.network.w0, given.optimizers["weights"]
    debias = SPARSIFIERS["debias"](given, begin=0.5)
    for number in range(10):
        step(debias, random(6, 5, seed=number))
    support = weight.detach() != 0
    assert 0 < support.sum() < 30
    assert torch.equal(debias.masks["w0"], support)
    assert (optimizer.param_groups[0]["regularizer"], optimizer.param_groups[0]["lam"]) == (
        "none",
        0,
    )
    assert "dual" not in optimizer.state[weight]
    copied = nn.Parameter(weight.detach().clone())
    if method == "linbreg":  # the paper's momentum is not torch's
        plain = LinBreg([copied], lr=0.05, regularizer="none", momentum=0.9)
    else:
        plain = plain_kind([copied], lr=0.05)
    plain.load_state_dict(
        {**plain.state_dict(), "state": copy.deepcopy(optimizer.state_dict()["state"])}
    )
    for number in range(10, 20):
        gradient = random(6, 5, seed=number)
        step(debias, gradient)
        copied.grad = gradient * support
        plain.step()
        torch.testing.assert_close(weight, copied, rtol=1e-6, atol=1e-7)
        assert torch.equal(weight != 0, support)


@pytest.mark.parametrize("start", [1.0, 0.1])
@pytest.mark.parametrize("method", [AdaBreg, ProxSGD])
def test_debias_can_ask_for_an_exact_density(method, start):
    weights = random(8, 10) * (
        torch.rand(8, 10, generator=torch.Generator().manual_seed(1)) < start
    )
    given = course(weights, kind=method, epochs=1, steps=4, lr=0.01, lam=0.05)
    debias = SPARSIFIERS["debias"](given, 0.3, begin=0.5)
    optimizer = given.optimizers["weights"]
    for number in range(2):
        step(debias, random(8, 10, seed=number))
        if number == 0 and method is AdaBreg:
            weight = given.network.w0
            weight.grad = random(8, 10, seed=1)  # the next step's, tried on a copy
            twin = copy.deepcopy(optimizer)
            twin.param_groups[0]["params"][0].grad = weight.grad
            twin.step()
            dual = twin.dual(twin.param_groups[0]["params"][0])
    mask = debias.masks["w0"]
    assert mask.sum() == 24
    if start < 1 and method is AdaBreg:
        joined = mask & (weights == 0) & (given.network.w0 == 0)
        assert joined.any()
        left = ~mask & (given.network.w0 == 0) & (weights == 0)
        assert dual[joined].abs().min() >= dual[left].abs().max()
    step(debias, random(8, 10, seed=9))
    assert int((given.network.w0 != 0).sum()) == 24


def test_debias_refuses_a_constraint():
    given = course(random(4, 5).abs(), kind=AdaBreg, regularizer="l1_nonneg")
    with pytest.raises(ValueError, match="l1_nonneg: it constrains"):
        SPARSIFIERS["debias"](given)


@pytest.mark.parametrize("kind", [AdaBreg, LinBreg, torch.optim.Adam, None])
def test_prune_and_keep_prunes_so_that_zeros_stay(kind):
    given = course(random(6, 7), random(3, 6, seed=1), kind=kind or torch.optim.SGD, lr=1e-3)
    weights, optimizer = given.weights, given.optimizers["weights"]
    for number in range(5):
        for i, weight in enumerate(weights.values()):
            weight.grad = random(*weight.shape, seed=number + i)
        optimizer.step()
    before = [weight.detach().clone() for weight in weights.values()]
    masks = prune_and_keep(weights, 0.25, None if kind is None else optimizer)
    assert sum(int(mask.sum()) for mask in masks.values()) == 15
    limit = torch.cat([w.abs().flatten() for w in before]).topk(15).values[-1]
    for weight, mask, old in zip(weights.values(), masks.values(), before, strict=True):
        assert torch.equal(mask, old.abs() >= limit)
        assert torch.equal(weight, old * mask)
        weight.grad = torch.zeros_like(weight)
    if kind is None:
        return
    optimizer.step()
    for weight, mask in zip(weights.values(), masks.values(), strict=True):
        assert not weight[~mask].any()
