"""Warnings about a lam that no step can reach, compared with what the steps do."""

import pytest
import torch

from snnbreg.optim import AdaBreg, LinBreg, unreachable_lam


def run(lam, start, steps=50, lr=0.01):
    param = torch.nn.Parameter(torch.full((4,), start, dtype=torch.float64))
    optimizer = AdaBreg([param], lr=lr, lam=lam)
    warnings = unreachable_lam(optimizer, [steps * lr])
    for _ in range(steps):
        param.grad = torch.ones(4, dtype=torch.float64)
        optimizer.step()
    return warnings, param.detach()


def test_dense_start_is_warned_above_half_the_reach():
    """Constant gradients use the whole reach of 0.5: the weight crosses 2 lam or it does not."""
    warnings, crossed = run(lam=0.2, start=0.05)
    assert warnings == []
    assert (crossed < 0).all()
    (message,), stuck = run(lam=0.26, start=0.05)
    assert message == (
        "lam = 0.26 of parameter group 0 is out of reach: all steps together move v by at most "
        "0.5. The run is the same for every lam above 0.25. Lower lam or raise lr or the number "
        "of epochs."
    )
    assert (stuck == 0).all()


def test_a_dense_start_is_the_default_and_the_limit_itself_gets_no_warning():
    for lam, count in ((1.0, 0), (1.01, 1)):
        optimizer = AdaBreg([torch.nn.Parameter(torch.ones(1))], lam=lam)
        assert len(unreachable_lam(optimizer, [2.0])) == count


def test_sparse_start_is_warned_above_the_reach():
    warnings, grown = run(lam=0.45, start=0.0)
    assert warnings == []
    assert (grown < 0).all()
    (message,), still = run(lam=0.55, start=0.0)
    assert "at most 0.5. Weights that start at zero stay there. Lower lam" in message
    assert (still == 0).all()


def test_each_group_is_judged_by_its_own_zeros():
    """Where small layers start dense and large ones sparse (ERK), each has its own limit."""
    dense, sparse = torch.ones(2, 2), torch.eye(2)
    messages = []
    for start in ([dense], [sparse], [dense, sparse]):
        params = [torch.nn.Parameter(theta.clone()) for theta in start]
        messages.append([len(unreachable_lam(AdaBreg(params, lam=x), [1.0])) for x in (0.7, 1.1)])
    assert messages == [[1, 1], [0, 1], [0, 1]]


def test_the_nuclear_norm_is_not_judged():
    """Entries that all move by 0.3 make a singular value of 1.2 of a 4 x 4 matrix."""
    param = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
    optimizer = AdaBreg([param], lr=0.1, lam=1.0, regularizer="nuclear")
    assert unreachable_lam(optimizer, [0.3]) == []
    for _ in range(3):
        param.grad = -torch.ones_like(param)
        optimizer.step()
    assert (param > 0.01).all()


@pytest.mark.parametrize("kind", [LinBreg, torch.optim.Adam])
def test_other_optimizers_are_not_judged(kind):
    assert unreachable_lam(kind([torch.nn.Parameter(torch.ones(1))]), [0.0]) == []


def test_groups_without_regulariser_are_not_judged():
    params = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": params[:1], "regularizer": "none"}, {"params": params[1:]}]
    (message,) = unreachable_lam(AdaBreg(groups, lam=3.0), [1.0, 1.0])
    assert "group 1" in message
