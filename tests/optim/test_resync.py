"""The dual variable after weights were changed from outside."""

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
)
from snnbreg.optim import AdaBreg, LinBreg
from snnbreg.optim.regularizers import get_regularizer, subgradient


@BREGMAN
@REGULARIZED
def test_resync_makes_an_outside_change_last(kind, regularizer):
    optimizer, _ = moved(kind, regularizer)
    params = optimizer.param_groups[0]["params"]
    forget_momentum(optimizer)
    with torch.no_grad():
        for param in params:
            param.mul_(20).round_().div_(20)  # rounding
        params[-1][:2] = 0  # masking
        params[-1][2:4] = 0.25  # loading
    changed = copies(params)
    optimizer.resync(params[-1:] if get_regularizer(regularizer).joint else None)
    push(optimizer, params, 0.0, 5)
    assert_close(params, changed, atol=1e-7, rtol=1e-6)
    assert same_zeros(regularizer, params, changed)


def test_without_resync_the_change_is_undone():
    optimizer, param = moved(LinBreg)
    before = param.detach().clone()
    with torch.no_grad():
        param.zero_()
    push(optimizer, param, 0.0)
    assert torch.equal(param, before)


@pytest.mark.parametrize(
    ("regularizer", "dims"),
    [("group_rows", (1,)), ("group_columns", (0,)), ("group_kernels", (2, 3))],
)
def test_resync_leaves_the_other_groups_alone(regularizer, dims):
    optimizer, param = moved(LinBreg, regularizer)
    before = optimizer.dual(param)
    with torch.no_grad():
        param[(0,) * param.ndim] = 2.0
    optimizer.resync()
    others = (optimizer.dual(param) == before).all(dims).flatten()
    assert others.tolist() == [False] + [True] * (len(others) - 1)


@BREGMAN
def test_resync_knows_a_lam_that_was_written_since_the_last_step(kind):
    optimizer, param = moved(kind)
    optimizer.param_groups[0]["lam"] = 0.7
    with torch.no_grad():
        param.fill_(0.5)
    optimizer.resync()
    assert torch.equal(optimizer.dual(param), torch.full((12, 15), 0.5 + 0.7, dtype=torch.float64))


@BREGMAN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resync_keeps_what_was_not_changed(kind, dtype):
    optimizer, param = moved(kind, dtype=dtype)
    before = optimizer.dual(param)
    optimizer.resync()
    assert torch.equal(optimizer.dual(param), before)
    with torch.no_grad():
        param[0, 0] = 7.0
    optimizer.resync()
    before[0, 0] = 7.2
    torch.testing.assert_close(optimizer.dual(param), before, atol=1e-7, rtol=0)


def test_a_parameter_of_another_optimizer_is_refused():
    optimizer, _ = moved(AdaBreg)
    stranger = torch.nn.Parameter(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) is not in this AdaBreg"):
        optimizer.dual(stranger)
    with pytest.raises(ValueError, match="not in this AdaBreg"):
        optimizer.resync([stranger])


@pytest.mark.parametrize("regularizer", ["group_rows", "group_columns", "group_kernels"])
def test_resync_renews_the_whole_group_of_a_changed_entry(regularizer):
    """The subgradient of a group's other entries depends on the one that changed."""
    optimizer, param = moved(LinBreg, regularizer)
    with torch.no_grad():
        param[(-1,) * param.ndim] = 2.0
    changed = param.detach().clone()
    optimizer.resync()
    push(optimizer, param, 0.0)
    torch.testing.assert_close(param.detach(), changed, atol=1e-7, rtol=1e-6)


@BREGMAN
def test_resync_knows_a_regularizer_that_was_written_since_the_last_step(kind):
    optimizer, param = moved(kind)
    optimizer.param_groups[0]["regularizer"] = "group_rows"
    with torch.no_grad():
        param[0] = 0.5
    optimizer.resync()
    theta = param.detach().double()
    expected = theta + 0.2 * subgradient("group_rows", theta)
    torch.testing.assert_close(optimizer.dual(param), expected, atol=1e-13, rtol=0)
