"""Mistakes of published Bregman learning code, its authors' and a successor's: a test for each."""

import io
import math

import pytest
import torch

from snnbreg.optim import (
    REGULARIZERS,
    AdaBreg,
    LinBreg,
    ProxSGD,
    density,
    elastic_net,
    sparsify_,
)
from snnbreg.optim.regularizers import prox, subgradient
from snnbreg.schedulers.controller import DensityController


def parameter(*numbers, dtype=torch.float64):
    return torch.nn.Parameter(torch.tensor(numbers, dtype=dtype))


def push(optimizer, gradient=0.0):
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.full_like(param, gradient)
    optimizer.step()


def test_the_first_moment_is_corrected():
    """Published results lack 1 / (1 - beta1^t): their first step is a tenth of lr."""
    param = parameter(1.0)
    optimizer = AdaBreg([param], lr=0.01, lam=0.5, eps=0.0)
    for step in (1, 2, 3):  # constant gradients: corrected, every step is lr
        push(optimizer, 4.0)
        assert optimizer.dual(param).item() == pytest.approx(1.5 - 0.01 * step, abs=1e-9)


def test_a_controller_of_lambda_changes_lambda_alone():
    """Published: a wrong attribute; mended, each update forgets v and leaves the moments."""
    torch.manual_seed(0)
    param = torch.nn.Parameter(torch.randn(20, 20))
    optimizer = AdaBreg([param], lr=0.05, lam=0.5)
    controller = DensityController(
        optimizer, 10, 1, density=0.2, keep="weights", warm_up=0.0, cool_down=1.0
    )
    for _ in range(12):
        param.grad = torch.randn(20, 20)
        optimizer.step()
    theta = param.detach().double()
    p = (optimizer.dual(param) - theta) / 0.5
    moment = optimizer.state[param]["exp_avg"].clone()
    controller.step_epoch()
    lam = optimizer.param_groups[0]["lam"]
    assert lam > 0.5
    assert ((p.abs() > 0.01) & (p.abs() < 0.99)).any()  # zeros on their way back
    torch.testing.assert_close(optimizer.dual(param), theta + lam * p, atol=1e-6, rtol=0)
    assert torch.equal(optimizer.state[param]["exp_avg"], moment)


@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_l1_plus_groups_takes_lambda_once(lam):
    """Published: lambda squared in prox and subgradient, and the value always 0."""
    theta = torch.tensor([[3.0, -4.0]])
    assert elastic_net("l1+group_rows", theta, lam).item() == pytest.approx(lam * (7 + 50**0.5))
    p = subgradient("l1+group_rows", theta)
    torch.testing.assert_close(p, torch.tensor([[1 + 0.6 * 2**0.5, -1 - 0.8 * 2**0.5]]))
    v = theta + lam * p
    torch.testing.assert_close(prox("l1+group_rows", v, lam), theta)


@pytest.mark.parametrize("regularizer", ["group_rows", "group_columns", "group_kernels"])
@pytest.mark.parametrize("kind", [AdaBreg, LinBreg, ProxSGD])
def test_a_bias_in_a_group_of_rows_is_refused_at_once(kind, regularizer):
    """Published: IndexError, in the middle of the first step."""
    with pytest.raises(ValueError, match=f"'{regularizer}' needs a parameter of . dimensions"):
        kind([torch.nn.Parameter(torch.zeros(5))], regularizer=regularizer)


def test_the_group_subgradient_is_zero_at_zero_rows_and_scaled_elsewhere():
    p = subgradient("group_rows", torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0]]) * math.sqrt(2)
    torch.testing.assert_close(p, expected)


@pytest.mark.parametrize("regularizer", ["none", "l1", "group_rows", "nuclear"])
@pytest.mark.parametrize("kind", [AdaBreg, LinBreg, ProxSGD])
def test_a_step_writes_where_the_weights_are(kind, regularizer):
    """Published: p.data is replaced in each step, which breaks views of it and shared memory."""
    buffer = torch.ones(3, 3)
    param = torch.nn.Parameter(buffer.view(3, 3))
    address, version = param.data_ptr(), param._version
    optimizer = kind([param], lr=0.1, regularizer=regularizer)
    for _ in range(2):
        push(optimizer, 1.0)
    optimizer.set_lam(0.3, keep="dual") if kind is not ProxSGD else None
    assert param.data_ptr() == address
    assert param._version > version
    assert torch.equal(buffer, param)
    assert not torch.equal(buffer, torch.ones(3, 3))


@pytest.mark.parametrize("kind", [AdaBreg, LinBreg])
@pytest.mark.parametrize(
    "change",
    [lambda w: w.clamp_(max=1.0), lambda w: w.round_(), lambda w: w.mul_(0.5), lambda w: w.zero_()],
    ids=["clamp", "round", "average", "mask"],
)
def test_an_outside_change_lasts(kind, change):
    """Published: 3.4 rounded to 3.0 is 3.4 again after the next step."""
    param = parameter(3.4, -0.7, 0.0)
    optimizer = kind([param], lr=0.1, lam=0.5)
    push(optimizer)
    with torch.no_grad():
        change(param)
    changed = param.detach().clone()
    optimizer.resync()
    push(optimizer)
    torch.testing.assert_close(param.detach(), changed)


@pytest.mark.parametrize("kind", [AdaBreg, LinBreg, ProxSGD])
@pytest.mark.parametrize("regularizer", ["l1", "l1+group_rows", "group_blocks:2x2", "nuclear"])
def test_the_state_loads_with_weights_only(kind, regularizer):
    """Published: regularisers are objects in the parameter groups, which torch.load refuses."""
    param = torch.nn.Parameter(torch.eye(3))
    optimizer = kind([param], regularizer=regularizer)
    push(optimizer, 1.0)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    groups = torch.load(file, weights_only=True)["param_groups"]
    assert groups[0]["regularizer"] == regularizer


def test_optimizers_share_no_regulariser_to_be_changed():
    """Published: one default object for all; its lamda, once changed, was changed for each."""
    first, second = (LinBreg([parameter(1.0)], lam=0.5) for _ in range(2))
    first.set_lam(3.0)
    assert second.param_groups[0]["lam"] == 0.5
    with pytest.raises(AttributeError, match="cannot assign"):
        REGULARIZERS["l1"].value = None


@pytest.mark.parametrize("kind", [AdaBreg, LinBreg])
def test_weights_may_be_masked_until_the_first_step(kind):
    """The dual is that of the weights as they are at the first step with a gradient."""
    param = parameter(1.0, 2.0)
    optimizer = kind([param], lr=0.1, lam=0.5)
    optimizer.step()  # no gradient yet
    with torch.no_grad():
        param[0] = 0
    assert optimizer.dual(param).tolist() == [0.0, 2.5]
    push(optimizer)
    assert param.tolist() == [0.0, 2.0]


def test_kernels_are_drawn_without_replacement():
    """Published: indices with replacement; of density 0.5, 1 - e^-0.5 = 0.394 remains."""
    weight = torch.ones(50, 40, 3, 3)
    sparsify_(weight, 0.5, torch.Generator().manual_seed(0), "group_kernels", exact=True)
    kept = (weight != 0).all((2, 3))
    assert kept.sum() == 1000
    assert torch.equal(kept, (weight != 0).any((2, 3)))
    weight = torch.ones(50, 40, 3, 3)
    sparsify_(weight, 0.5, torch.Generator().manual_seed(0), "group_kernels")
    assert density([weight]) == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


def test_rows_are_rows_and_columns_are_columns():
    """Successor: swapped, and a half-empty matrix has a density of 2."""
    weight = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert density([weight]) == 0.5
    v = torch.tensor([[3.0, 4.0], [0.1, 0.1]])  # (receivers, senders)
    assert torch.equal(prox("group_rows", v, 1.0) != 0, torch.tensor([[True] * 2, [False] * 2]))
    v = v.t()
    assert torch.equal(prox("group_columns", v, 1.0) != 0, torch.tensor([[True, False]] * 2))
    drawn = sparsify_(torch.ones(30, 4), 0.5, torch.Generator().manual_seed(0), "group_rows")
    assert 0 < (drawn != 0).all(1).sum() < 30
    assert torch.equal((drawn != 0).all(1), (drawn != 0).any(1))


@pytest.mark.parametrize(("value", "kept"), [(0.24, 2), (0.26, 3), (0.3, 3), (0.01, 1), (0.99, 10)])
def test_counts_are_rounded_to_the_nearest_and_one_remains(value, kept):
    """Successor: floored, so that a small layer loses all of its weights."""
    weight = torch.ones(10, 4)
    sparsify_(weight, value, torch.Generator().manual_seed(0), "group_rows", exact=True)
    assert (weight != 0).all(1).sum() == kept


@pytest.mark.parametrize(
    ("regularizer", "shape"),
    [("l1", (300, 20)), ("group_rows", (300, 20)), ("group_kernels", (60, 50, 3, 3))],
)
@pytest.mark.parametrize("value", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("exact", [False, True])
def test_the_variance_is_that_of_the_dense_start(regularizer, shape, value, exact):
    """Published: a factor by hand; successor: none. The share r of weights has variance 1 / r."""
    generator = torch.Generator().manual_seed(0)
    squares = [
        sparsify_(torch.ones(shape), value, generator, regularizer, exact).square().mean().item()
        for _ in range(20)
    ]
    groups = 20 * {"l1": 6_000, "group_rows": 300, "group_kernels": 3_000}[regularizer]
    spread = 1e-5 if exact else 4 * ((1 - value) / value / groups) ** 0.5
    assert sum(squares) / 20 == pytest.approx(1.0, abs=spread)


def test_the_prox_of_every_regulariser_returns_weights():
    """Successor: one returns None."""
    assert prox("l1+group_rows", torch.ones(2, 2), 0.1).shape == (2, 2)
