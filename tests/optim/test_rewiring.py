"""Methods that move weights, against numbers by hand: SET and RigL; what starts at random."""

import copy
import math

import pytest
import torch

from snnbreg.optim import SPARSIFIERS
from snnbreg.optim.sparsifiers.rigl import moved
from snnbreg.optim.sparsifiers.set import evolved
from sparsifier_course import course, force, kept, random, step

# -- sparse evolutionary training ------------------------------------------------------------------


def test_set_counts_positive_and_negative_weights_apart():
    weight = torch.tensor([0.1, 0.5, 0.9, -0.2, -0.6, -0.7, 0.0, 0.0, 0.0])
    mask, noise = weight != 0, torch.tensor([0.9] * 6 + [0.1, 0.3, 0.2])
    after = evolved(weight, mask, 1 / 3, noise)
    assert after.tolist() == [False, True, True, False, True, True, False, True, True]


def test_set_drops_a_share_of_either_sign_a_new_weight_being_positive():
    weight = torch.tensor([0.0, 0.1, 0.2, -5.0, -6.0, -7.0, 0.0, 0.0])
    mask, noise = torch.arange(8) < 6, torch.full((8,), 0.5)
    after = evolved(weight, mask, 1 / 3, noise)  # one of three, though all others are larger
    assert after.tolist() == [False, True, True, False, True, True, True, True]


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
    assert SPARSIFIERS["rigl"](course(random(8, 9)), end=0.0).fraction() == 0


def test_rigl_drops_small_weights_and_grows_large_gradients():
    weight = torch.tensor([0.5, -0.1, 0.3, 0, 0, 0])
    gradient = torch.tensor([0.2, 0.9, 0.1, -0.4, 0.05, 0.3])
    kept_again = moved(weight, weight != 0, gradient, 1)
    assert kept_again.tolist() == [True, True, True, False, False, False]
    elsewhere = moved(weight, weight != 0, gradient, 1, regrow_dropped=False)
    assert elsewhere.tolist() == [True, False, True, True, False, False]
    assert moved(weight, weight != 0, gradient, 9, regrow_dropped=False).sum() == 3
    full = torch.tensor([0.5, -0.1, 0.3, 0])  # two to grow, one empty place, and those just dropped
    again = moved(full, full != 0, torch.tensor([0.2, 0.9, 0.1, 0.8]), 2)
    assert again.tolist() == [True, True, False, True]
    there = moved(full, full != 0, torch.tensor([0.2, 0.9, 0.1, 0.8]), 2, regrow_dropped=False)
    assert there.tolist() == [True, False, True, True]  # one place, so one goes


@pytest.mark.parametrize("second_moment", ["zero", "gradient"])
def test_rigl_moves_in_place_of_a_step(second_moment):
    given = course(random(10, 12), kind=torch.optim.Adam, epochs=1, steps=20)
    rigl = SPARSIFIERS["rigl"](given, 0.5, "layer", every=2, end=1.0, second_moment=second_moment)
    weight, state = given.network.w0, rigl.optimizer.state[given.network.w0]
    for number in range(2):
        step(rigl, random(10, 12, seed=number))
    before, mask = weight.detach().clone(), rigl.masks["w0"].clone()
    old = {key: state[key].clone() for key in ("exp_avg", "exp_avg_sq", "step")}
    gradient = 5 * random(10, 12, seed=7)  # of all entries, masked ones too
    step(rigl, gradient)
    new = rigl.masks["w0"]
    assert torch.equal(new, moved(before, mask, gradient, int(rigl_share(2) * 60)))
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


def test_rigl_can_move_weights_at_every_step_until_its_end():
    given = course(random(8, 10), epochs=1, steps=8)
    rigl = SPARSIFIERS["rigl"](given, 0.3, "layer", every=1, end=0.5, regrow_dropped=False)
    born = []
    for number in range(8):
        before = rigl.masks["w0"].clone()
        given.network.w0.grad = random(8, 10, seed=number)
        rigl.after_backward()
        born.append(int((rigl.masks["w0"] & ~before).sum()))
        rigl.after_step()
    shares = [0.15 * (1 + math.cos(math.pi * t / 4)) for t in (1, 2, 3)]
    assert born == [0, *(int(24 * share) for share in shares), 0, 0, 0, 0]


# -- random starts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set", "rigl", "deepr"])
@pytest.mark.parametrize(("settings", "factor"), [({}, 2), ({"rescale": False}, 1)])
def test_a_random_start_keeps_the_variance_unless_told_not_to(name, settings, factor):
    start = random(30, 40)
    given = course(start.clone())
    sparsifier = SPARSIFIERS[name](given, 0.25, "layer", **settings)
    mask = sparsifier.masks["w0"]
    assert mask.sum() == 300
    torch.testing.assert_close(given.network.w0.data, start * mask * factor)


def test_a_random_start_takes_no_zeros_of_a_sparse_one_where_it_can():
    start = random(10, 10) * (torch.arange(100).view(10, 10) < 40)
    for density, nonzero in ((0.3, 30), (0.5, 40)):
        given = course(start.clone())
        SPARSIFIERS["set"](given, density, "layer")
        assert (given.network.w0 != 0).sum() == nonzero


# -- new weights that do not move ------------------------------------------------------------------


def start_of(name, **options):
    """Five weights of ten, magnitudes .1 to .5; no gradient ever reaches the last four places."""
    given = course([[0.1, -0.2, 0.3, -0.4, 0.5, 0, 0, 0, 0, 0]], epochs=3, steps=4, momentum=0.9)
    sparse = SPARSIFIERS[name](given, 0.5, "layer", rescale=False, **options)
    given.network.w0.data = torch.tensor([[0.1, -0.2, 0.3, -0.4, 0.5, 0, 0, 0, 0, 0]])
    force(sparse, [[1] * 5 + [0] * 5])
    return sparse, given.network.w0


def test_what_a_new_weight_without_gradient_replaced_comes_back():
    sparse, weight = start_of("set")
    new = torch.tensor([[False, False, True, False, True, True, True, True, False, False]])
    sparse.move([new])
    assert sparse.masks["w0"].equal(new)
    step(sparse, [[0.0, 0, 0, 0, 0, 1, 0, 0, 0, 0]])
    assert weight.tolist() == [pytest.approx([0, 0, 0.3, 0, 0.5, -0.1, 0, 0, 0, 0])]
    sparse.after_epoch(1)  # two of three did not move: -.4 and -.2 are back, .1 is not
    assert weight.tolist() == [pytest.approx([0, -0.2, 0.3, -0.4, 0.5, -0.1, 0, 0, 0, 0])]
    assert sparse.masks["w0"].equal(weight.detach() != 0)
    before = weight.detach().clone()
    sparse.after_epoch(2)  # nothing waits any more
    assert weight.equal(before)


def test_no_more_weights_come_back_than_were_dropped():
    sparse, weight = start_of("set")
    force(sparse, [[1] * 6 + [0] * 4])  # a sixth weight that is zero and not new
    sparse.move([torch.tensor([[0, 1, 1, 1, 1, 1, 1, 0, 0, 0]], dtype=torch.bool)])
    sparse.settle()
    assert weight.tolist() == [pytest.approx([0.1, -0.2, 0.3, -0.4, 0.5, 0, 0, 0, 0, 0])]
    assert kept(sparse) == 6


def test_what_comes_back_has_no_momentum():
    sparse, weight = start_of("set")
    step(sparse, [[1.0] * 10])
    sparse.move([torch.arange(10).view(1, 10) >= 5])
    sparse.settle()
    buffer = sparse.optimizer.state[weight]["momentum_buffer"]
    assert not buffer.any()
    assert sparse.masks["w0"].sum() == 5


def test_rigl_waits_for_its_new_weights_until_others_could_come():
    sparse, weight = start_of("rigl", every=3, end=0.4, fraction=0.5)  # moves once, at step 3
    for _ in range(3):
        step(sparse, [[0.0] * 10])
    old = weight.detach().clone()
    step(sparse, [[0.0] * 9 + [1.0]])  # instead of a step
    assert (weight == 0).sum() > 5
    assert kept(sparse) == 5
    saved = copy.deepcopy(sparse.state_dict())
    other, same = start_of("rigl", every=3, end=0.4, fraction=0.5)
    same.data = weight.detach().clone()
    other.load_state_dict(saved)
    for each, own in ((sparse, weight), (other, same)):
        step(each, [[0.0] * 10])
        assert (own == 0).sum() > 5
        step(each, [[0.0] * 10])  # the sixth
        assert own.equal(old)
        assert each.dropped == {}


def test_rigl_waits_no_longer_than_the_run():
    sparse, weight = start_of("rigl", every=9, end=1.0, fraction=0.5)  # of 12 steps
    old = weight.detach().clone()
    for number in range(12):
        step(sparse, [[0.0] * 9 + [float(number == 9)]])
        assert (int((weight == 0).sum()) == 5) == (number not in (9, 10))
    assert weight.equal(old)


def test_a_state_from_before_anything_waited_is_taken():
    sparse, _ = start_of("set")
    sparse.load_state_dict({k: v for k, v in sparse.state_dict().items() if k != "dropped"})
    assert sparse.dropped == {}
