"""Changing lambda with the dual variable kept: the weights are its soft threshold."""

import pytest
import torch

from snnbreg.optim import AdaBreg, LinBreg


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
