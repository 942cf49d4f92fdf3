"""Soft threshold reparametrization against numbers by hand and against autograd."""

import copy
import math

import pytest
import torch

from snnbreg.optim import SPARSIFIERS, Course
from snnbreg.optim.sparsifiers.soft_threshold import soft_threshold
from sparsifier_course import course, kept, random, step


def set_up(start, threshold, **options):
    """STR whose matrices all have this threshold, as if it had been steered there."""
    given = course(*start, **options)
    sparse = SPARSIFIERS["str"](given, 0.5)
    sparse.shift.fill_(math.log(threshold / (1 - threshold)))
    for weight, mask in zip(sparse.weights, sparse.masks.values(), strict=True):
        weight.data = soft_threshold(weight.data, torch.tensor(threshold))
        mask.copy_(weight != 0)
    return given, sparse


def test_the_gradients_of_three_weights():
    given, sparse = set_up([[[0.9, 0.3, -0.6]]], 0.5)
    weight = given.network.w0
    torch.testing.assert_close(weight.data, torch.tensor([[0.4, 0.0, -0.1]]))
    weight.grad = torch.tensor([[1.0, 1.0, -1.0]])
    sparse.after_backward()
    assert weight.grad.tolist() == [[1, 0, -1]]
    assert sparse.offsets.grad.tolist() == [-0.5]
    torch.testing.assert_close(weight.data, torch.tensor([[0.9, 0.3, -0.6]]))  # what is moved
    sparse.optimizer.step()
    torch.testing.assert_close(weight.data, torch.tensor([[0.8, 0.3, -0.5]]))
    assert sparse.offsets.tolist() == [pytest.approx(0.05)]


def test_the_gradients_are_those_of_autograd():
    start = [random(4, 5), random(3, 4, seed=1)]
    upstream = [random(4, 5, seed=2), random(3, 4, seed=3)]
    _, sparse = set_up(start, 0.3)
    with torch.no_grad():
        sparse.offsets.copy_(torch.tensor([0.4, -0.7]))
    for weight, raw, s in zip(sparse.weights, start, (0.4, -0.7), strict=True):
        weight.data = soft_threshold(raw, torch.sigmoid(s + sparse.shift))
    for mask, weight in zip(sparse.masks.values(), sparse.weights, strict=True):
        mask.copy_(weight != 0)
    raws = [raw.clone().requires_grad_() for raw in start]
    s = sparse.offsets.detach().clone().requires_grad_()
    loss = torch.zeros(())
    for i, (raw, factor) in enumerate(zip(raws, upstream, strict=True)):
        threshold = torch.sigmoid(s[i] + sparse.shift)
        loss = loss + (factor * raw.sign() * torch.relu(raw.abs() - threshold)).sum()
    loss.backward()
    for weight, factor in zip(sparse.weights, upstream, strict=True):
        weight.grad = factor.clone()
    sparse.after_backward()
    torch.testing.assert_close(sparse.offsets.grad, s.grad)
    for weight, raw in zip(sparse.weights, raws, strict=True):
        torch.testing.assert_close(weight.grad, raw.grad)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_the_number_of_non_zeros_follows_the_cubic_and_then_stays(kind):
    start = random(20, 30) / 9, random(10, 20, seed=1) / 9
    given = course(*start, kind=kind, epochs=2, steps=20, lr=0.01)
    sparse = SPARSIFIERS["str"](given, 0.1, begin=0.25, end=0.5)
    for number in range(1, 41):
        step(sparse, *(random(*w.shape, seed=number) for w in sparse.weights))
        since = min(max(number - 10, 0), 10) / 10
        expected = 80 + round(720 * (1 - since) ** 3)
        assert sum(int((w != 0).sum()) for w in sparse.weights) == expected == kept(sparse)
        assert number > 10 or float(sparse.shift) == -math.inf
        limits = torch.sigmoid(sparse.offsets.detach() + sparse.shift)
        for weight, dense, limit in zip(sparse.weights, sparse.dense.values(), limits, strict=True):
            torch.testing.assert_close(weight.data, torch.nn.functional.softshrink(dense, limit))
    first, second = sparse.offsets.tolist()
    assert abs(first - second) > 1e-4  # learned, each its own


def test_a_matrix_whose_weights_help_keeps_more_of_them():
    """The loss falls where the first matrix grows: its threshold sinks below the other's."""
    given = course(random(10, 10) / 5, random(10, 10) / 5, epochs=1, steps=20)
    sparse = SPARSIFIERS["str"](given, 0.3, end=0.5)
    for _ in range(20):
        step(sparse, -0.1 * given.network.w0.detach().sign(), torch.zeros(10, 10))
    first, second = (int(mask.sum()) for mask in sparse.masks.values())
    assert first + second == 60
    assert sparse.offsets[0] < 0 == sparse.offsets[1]
    assert first > second


def test_where_no_threshold_is_high_enough_the_largest_are_kept():
    given = course([[1.5, -3.0, 4.0, 2.0, 0.0]], epochs=1, steps=1)
    step(SPARSIFIERS["str"](given, 0.4, end=1.0), [[0.0] * 5])
    assert given.network.w0.tolist() == [pytest.approx([0, -2, 3, 0, 0], abs=1e-5)]


@pytest.mark.parametrize(
    ("kind", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {})]
)
def test_momentum_moves_no_weight_that_is_zero(kind, options):
    given = course(random(6, 8), kind=kind, epochs=1, steps=10, **options)
    sparse = SPARSIFIERS["str"](given, 0.25, end=0.5)
    for number in range(5):
        step(sparse, random(6, 8, seed=number + 1))
    zero = ~sparse.masks["w0"]
    state = sparse.optimizer.state[given.network.w0]
    assert zero.sum() == 36
    assert not any(v[zero].any() for v in state.values() if getattr(v, "shape", ()) == (6, 8))
    before = sparse.dense["w0"].clone()
    step(sparse, torch.ones(6, 8))
    assert torch.equal(sparse.dense["w0"][zero], before[zero])
    assert (sparse.dense["w0"] != before)[~zero].all()


def test_it_goes_on_where_it_was_saved():
    def fresh():
        return SPARSIFIERS["str"](course(random(6, 8), kind=torch.optim.Adam, epochs=1), 0.3)

    one, other = fresh(), fresh()
    for number in range(12):
        step(one, random(6, 8, seed=number + 1))
    other.course.network.load_state_dict(copy.deepcopy(one.course.network.state_dict()))
    other.optimizer.load_state_dict(copy.deepcopy(one.optimizer.state_dict()))
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for number in range(12, 20):
        for sparse in (one, other):
            step(sparse, random(6, 8, seed=number + 1))
        assert torch.equal(one.course.network.w0, other.course.network.w0)
        assert torch.equal(one.offsets, other.offsets)


def test_the_thresholds_have_a_name_where_the_weights_have():
    given = course(random(4, 5))
    named = torch.optim.SGD(given.network.named_parameters(), lr=0.1)
    sparse = SPARSIFIERS["str"](Course(given.network, given.weights, {"weights": named}, 10, 20))
    assert [group["param_names"] for group in named.param_groups] == [
        ["w0"],
        ["sparsifier.offsets"],
    ]
    assert named.param_groups[1]["params"][0] is sparse.offsets
