"""What all sparsifiers promise; each one against numbers by hand is in a file of its own."""

import copy

import pytest
import torch
from torch import nn

from snnbreg.optim import SPARSIFIERS, AdaBreg, Course
from sparsifier_course import course, force, kept, random, step

EVERY = pytest.mark.parametrize("name", SPARSIFIERS)
MASKED = pytest.mark.parametrize("name", sorted(set(SPARSIFIERS) - {"str"}))  # test_str.py
QUIET = {"deepr": {"l1": 0.0, "temperature": 0.0}, "lasso": {"lam": 0.0}}  # nothing but the masks


@MASKED
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


@MASKED
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
def test_a_saved_state_brings_the_masks_and_the_step(name):
    one, other = (SPARSIFIERS[name](course(random(4, 6)), density=0.5) for _ in range(2))
    step(one, random(4, 6, seed=1))
    force(one, random(4, 6, seed=2) > 0)
    assert not torch.equal(other.masks["w0"], one.masks["w0"])
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert torch.equal(other.masks["w0"], one.masks["w0"])
    assert other.step == one.step == 1


def test_what_is_drawn_is_a_function_of_seed_step_and_stream():
    def draw(seed, step, stream):
        sparsifier = SPARSIFIERS["set"](course(random(4, 6), seed=seed), 0.5)
        sparsifier.step = step
        return torch.rand(4, generator=sparsifier.generator(stream)).tolist()

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 8, 0), (2, 3, 1)]
    drawn = [draw(*place) for place in places]
    assert drawn == [draw(*place) for place in places]
    assert all(one not in drawn[:i] for i, one in enumerate(drawn))


@pytest.mark.parametrize("seed", [3, 2**60])
def test_a_run_that_goes_on_draws_what_it_drew_in_earlier_versions(seed):
    sparsifier = SPARSIFIERS["gmp"](course(random(4, 6), seed=seed))
    sparsifier.step = 5
    number = 8 * (1_000_003 * seed + 5) + 2
    assert sparsifier.generator(2).initial_seed() == number & (2**63 - 1)


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
        ("gmp", {"allocation": "rows"}, "layer, erk, global"),
        ("gmp", {"every": 0}, "Invalid every"), ("gmp", {"begin": 0.5, "end": 0.4}, "Invalid end"),
        ("gmp", {"end": 1.1}, "Invalid end"), ("gmp", {"begin": -0.1}, "Invalid begin"),
        ("gmp", {"end": 0.0}, "Invalid end"),
        ("magnitude", {"method": "rewind"}, "learning_rate, fine_tune"),
        ("magnitude", {"retrain": 0.6}, "cannot be rewound by 6"),
        ("magnitude", {"retrain": 0.0}, "Invalid retrain"),
        ("iterative", {"rounds": 0}, "Invalid rounds"),
        ("iterative", {"rounds": 10}, "11 trainings within 10 epochs are 0 epochs"),
        ("iterative", {"rounds": 4, "rewind": 2}, None), ("iterative", {"rewind": -1}, "rewind"),
        ("set", {"fraction": 1.0}, "Invalid fraction"),
        ("set", {"allocation": "global"}, "per layer"),
        ("rigl", {"second_moment": "mean"}, "zero, gradient"),
        ("rigl", {"fraction": 0}, "Invalid fraction"), ("rigl", {"every": 0}, "Invalid every"),
        ("rigl", {"end": 1.1}, "Invalid end"), ("deepr", {"growth": "all"}, "random, gradient"),
        ("deepr", {"l1": -1.0}, "Invalid l1"), ("deepr", {"birth": -1.0}, "Invalid birth"),
        ("deepr", {"temperature": -1.0}, "Invalid temperature"),
        ("lasso", {"lam": -1.0}, "Invalid lam"), ("lasso", {"end": 1.1}, "Invalid end"),
        ("lasso", {"regularizer": "l0"}, "l0"), ("debias", {"begin": 0.0}, "Invalid begin"),
        ("debias", {"begin": 1.1}, "Invalid begin"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(name, settings, message):
    if message is None:
        SPARSIFIERS[name](course(random(4, 5)), **settings)
        return
    with pytest.raises(ValueError, match=message):
        SPARSIFIERS[name](course(random(4, 5)), **settings)


def test_without_settings_they_are_those_of_the_documentation():
    def made(name, **expected):
        found = vars(SPARSIFIERS[name](course(random(10, 10), epochs=10, steps=100)))
        assert {key: found[key] for key in expected} == expected

    made("gmp", begin=0, end=750, every=100)
    made("magnitude", length=5, method="learning_rate")
    made("iterative", rounds=4, first=0)
    made("set", fraction=0.3)
    made("rigl", alpha=0.3, every=100, end=750, second_moment="zero", regrow_dropped=True)
    made("deepr", l1=1e-5, temperature=2.5e-11, growth="random", birth=1e-12)
    made("lasso", lam=1e-4, names=["l1"], decoupled=True, end=900)
    made("str", begin=200, end=600)
    made("debias", exact=False, begin=750)


@pytest.mark.parametrize(
    ("name", "settings"), [("lasso", {"lam": 1.0}), ("deepr", {"l1": 1.0, "temperature": 1.0})]
)
def test_a_matrix_that_no_optimizer_moves_is_not_shrunk_either(name, settings):
    """A frozen one has no learning rate."""
    given = course(random(3, 4), random(3, 4, seed=1))
    network, optimizer = given.network, torch.optim.SGD([given.network.w0], lr=0.1)
    only = Course(network, given.weights, {"weights": optimizer}, 10, 20)
    before = {name: w.detach().clone() for name, w in given.weights.items()}
    step(SPARSIFIERS[name](only, 1.0, **settings), torch.zeros(3, 4), torch.zeros(3, 4))
    assert torch.equal(network.w1, before["w1"])
    assert not torch.equal(network.w0, before["w0"])
