"""Changing lambda: with the weights kept, or the dual variable, whose soft threshold they are."""

import pytest
import torch

from bregman_support import (
    BREGMAN,
    REGULARIZED,
    assert_close,
    copies,
    forget_momentum,
    moved,
    push,
    same_zeros,
    weight,
)
from snnbreg.optim import AdaBreg, LinBreg
from snnbreg.optim.regularizers import subgradient


@pytest.mark.parametrize("method", [AdaBreg, LinBreg])
@pytest.mark.parametrize("steps", [0, 5, 40])
@pytest.mark.parametrize(("old", "new"), [(0.2, 0.5), (0.5, 0.2), (0.3, 0.0), (0.0, 0.3)])
def test_the_dual_stays_and_the_weights_follow(method, steps, old, new):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 5) * (torch.rand(6, 5) < 0.7))
    optimizer = method([weight], lr=0.05, lam=old, delta=2.0)
    for _ in range(steps):
        weight.grad = torch.randn(6, 5)
        optimizer.step()
    v = optimizer.dual(weight)
    soft = 2.0 * v.sign() * (v.abs() - new).clamp(min=0)
    count = optimizer.nonzero_at(new, 0)
    optimizer.set_lam(new, keep="dual")
    torch.testing.assert_close(weight.detach().double(), soft, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(optimizer.dual(weight), v, atol=1e-6 if new == 0 else 0, rtol=0)
    assert count == int((soft != 0).sum())


@pytest.mark.parametrize("keep", ["dual", "weights"])
@pytest.mark.parametrize(
    ("group", "lams"), [(None, [0.7, 0.1, 0.7]), (0, [0.7, 0.1, 0.2]), (2, [0.3, 0.1, 0.7])]
)
def test_it_changes_the_groups_it_is_asked_to(keep, group, lams):
    params = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
    settings = ({"lam": 0.3}, {"lam": 0.1, "regularizer": "none"}, {"lam": 0.2})
    optimizer = LinBreg([{"params": [p], **s} for p, s in zip(params, settings, strict=True)])
    optimizer.set_lam(0.7, group, keep)
    assert [entry["lam"] for entry in optimizer.param_groups] == lams


def test_a_value_out_of_range_is_refused():
    optimizer = AdaBreg([torch.nn.Parameter(torch.ones(3))], lam=0.3)
    with pytest.raises(ValueError, match=r"Invalid lam: -0\.5"):
        optimizer.set_lam(-0.5)
    assert optimizer.param_groups[0]["lam"] == 0.3


def test_keep_is_checked():
    optimizer = AdaBreg([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match="Invalid keep: 'p'"):
        optimizer.set_lam(1.0, keep="p")


@BREGMAN
@REGULARIZED
@pytest.mark.parametrize("lam", [0.02, 5.0])
def test_lam_changes_and_nothing_else(kind, regularizer, lam):
    optimizer, _ = moved(kind, regularizer, torch.float64, delta=0.5)
    params = optimizer.param_groups[0]["params"]
    theta = copies(params)
    inside = [optimizer.dual(p) - t / 0.5 for p, t in zip(params, theta, strict=True)]  # lam p
    optimizer.set_lam(lam, group=0)
    assert all(torch.equal(p, t) for p, t in zip(params, theta, strict=True))
    grown = 0 if regularizer == "none" else lam / 0.2
    expected = [t / 0.5 + grown * p for t, p in zip(theta, inside, strict=True)]
    assert_close([optimizer.dual(p) for p in params], expected, atol=1e-13, rtol=1e-13)
    forget_momentum(optimizer)  # so that only the change can act
    push(optimizer, params, 0.0)
    assert_close(params, theta, atol=1e-13)
    assert same_zeros(regularizer, params, theta)


@BREGMAN
@pytest.mark.parametrize("regularizer", ["l1", "group_rows"])
@pytest.mark.parametrize("delta", [0.25, 2.0])
def test_delta_changes_and_nothing_else(kind, regularizer, delta):
    optimizer, param = moved(kind, regularizer, torch.float64, delta=0.5)
    theta = param.detach().clone()
    inside = optimizer.dual(param) - theta / 0.5  # lam p
    optimizer.param_groups[0].update(delta=delta, lam=0.6)
    for state in optimizer.state.values():
        state.get("exp_avg", torch.zeros(1)).zero_()
    push(optimizer, param, 0.0)
    torch.testing.assert_close(param.detach(), theta, atol=1e-13, rtol=0)
    expected = theta / delta + 3 * inside  # lam 0.6 instead of 0.2
    torch.testing.assert_close(optimizer.dual(param), expected, atol=1e-13, rtol=1e-13)


@BREGMAN
def test_where_no_subgradient_is_known_zeros_start_afresh(kind):
    """After a change of the regulariser, and of a constrained one after lam = 0."""
    optimizer, param = moved(kind, dtype=torch.float64, delta=0.5)
    theta = param.detach().clone()
    optimizer.param_groups[0]["regularizer"] = "group_rows"
    expected = theta / 0.5 + 0.2 * subgradient("group_rows", theta)
    torch.testing.assert_close(optimizer.dual(param), expected, atol=1e-13, rtol=1e-13)
    optimizer, param = moved(kind, "l1_nonneg", torch.float64, delta=0.5)
    theta = param.detach().clone()
    for lam in (0.0, 0.3):
        optimizer.set_lam(lam)
        expected = theta / 0.5 + lam * theta.sign()
        torch.testing.assert_close(optimizer.dual(param), expected, atol=1e-13, rtol=1e-13)


@BREGMAN
def test_a_schedule_that_writes_the_group_changes_lam_alike(kind):
    (written, first), (called, second) = moved(kind), moved(kind)
    written.param_groups[0]["lam"] = 1.3
    called.set_lam(1.3)
    push(written, first, 0.4, 3)
    push(called, second, 0.4, 3)
    assert torch.equal(first, second)
    assert torch.equal(written.dual(first), called.dual(second))


@BREGMAN
def test_lam_before_the_first_step_is_the_one_that_counts(kind):
    param = weight()
    before = param.detach().clone()
    optimizer = kind([param], lam=0.1)
    optimizer.param_groups[0]["lam"] = 3.0
    push(optimizer, param, 0.0)
    assert torch.equal(param, before)
    assert torch.equal(optimizer.dual(param), before.double() + 3.0 * before.sign())


@BREGMAN
def test_the_dual_variable_knows_a_lam_of_zero_that_was_written_since_the_last_step(kind):
    optimizer, param = moved(kind)
    optimizer.param_groups[0]["lam"] = 0.0
    assert torch.equal(optimizer.dual(param), param.detach().double())


@BREGMAN
def test_lam_to_zero_and_back_starts_zeros_afresh(kind):
    optimizer, param = moved(kind)
    theta = param.detach().clone()
    optimizer.set_lam(0.0)
    assert torch.equal(optimizer.dual(param), theta.double())
    optimizer.set_lam(0.5)
    assert torch.equal(optimizer.dual(param), theta.double() + 0.5 * theta.sign())
