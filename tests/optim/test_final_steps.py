"""Final steps: training on the found support, pruning to an exact density."""

import copy

import pytest
import torch
from torch import nn

from snnbreg.optim import SPARSIFIERS, AdaBreg, Course, LinBreg, ProxSGD, prune_and_keep
from sparsifier_course import course, random, step

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


@pytest.mark.parametrize("has_gradient", [True, False])
def test_of_other_optimizers_zeros_join_by_their_gradient(has_gradient):
    given = course([[0.5, 0.0, -0.3, 0.0, 0.0]], epochs=1, steps=2)
    debias = SPARSIFIERS["debias"](given, 0.6, begin=0.5)
    given.network.w0.grad = torch.tensor([[0.0, 0.1, 0.0, -0.2, 0.0]]) if has_gradient else None
    debias.after_step()
    joined = 3 if has_gradient else 1  # none is nearer than another: the first
    assert debias.masks["w0"][0].nonzero().flatten().tolist() == sorted([0, 2, joined])


def test_debias_can_begin_at_the_first_step():
    given = course([[0.5, 0.0]], epochs=1, steps=2)
    debias = SPARSIFIERS["debias"](given, begin=0.5)
    step(debias, [[0.0, 0.0]])
    step(debias, [[1.0, 1.0]])
    assert given.network.w0.tolist() == [[pytest.approx(0.4), 0.0]]


def test_debias_leaves_other_groups_as_they_are():
    given = course([[1.0, 0.0]], [[1.0, 0.0]], epochs=1, steps=2)
    first, second = given.weights.values()
    groups = [{"params": [first], "lam": 0.2}, {"params": [second], "lam": 0.3}]
    for kind in (LinBreg, torch.optim.SGD):
        optimizer = kind(groups if kind is LinBreg else given.weights.values(), lr=0.1)
        only = Course(given.network, {"w0": first}, {"weights": optimizer}, 1, 2)
        debias = SPARSIFIERS["debias"](only, begin=0.5)
        debias.after_step()
        held = [(g.get("regularizer"), g.get("lam")) for g in optimizer.param_groups]
        assert held == ([("none", 0.0), ("l1", 0.3)] if kind is LinBreg else [(None, None)])


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


def test_what_was_zero_before_pruning_keeps_its_dual_variable():
    weight = nn.Parameter(torch.tensor([3.0, 0.5, 0.0]))
    optimizer = LinBreg([weight], lr=0.1, lam=1.0)
    weight.grad = torch.tensor([0.0, 0.0, -5.0])
    optimizer.step()
    prune_and_keep({"weight": weight}, 1 / 3, optimizer)
    assert optimizer.dual(weight).tolist() == pytest.approx([4.0, 0.0, 0.5])
