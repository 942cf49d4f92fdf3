"""The dual variable: start, precision, what it stands for, saving."""

import copy
import io

import pytest
import torch

from bregman_support import (
    BREGMAN,
    REGULARIZED,
    anything,
    assert_close,
    copies,
    moved,
    push,
    same_zeros,
    weight,
    weights,
)
from snnbreg.optim import AdaBreg, LinBreg, ProxSGD, bregman, dual
from snnbreg.optim.regularizers import get_regularizer, jointly


@BREGMAN
@REGULARIZED
@pytest.mark.parametrize("delta", [1.0, 0.3])
@pytest.mark.parametrize("sparse", [False, True])
def test_zero_gradient_leaves_any_start_as_it_is(kind, regularizer, delta, sparse):
    params = weights(regularizer, sparse=sparse)
    before = copies(params)
    optimizer = kind(params, lr=0.1, lam=10.0, delta=delta, regularizer=regularizer)
    push(optimizer, params, 0.0, 5)
    rounding = 1e-8 if regularizer == "nuclear" else 1e-15  # of float32 weights as a sum
    assert_close(params, before, atol=rounding, rtol=2e-7)
    assert same_zeros(regularizer, params, before)


@BREGMAN
@REGULARIZED
def test_weights_are_the_prox_of_a_dual_that_moves_by_the_update(kind, regularizer):
    params = weights(regularizer, dtype=torch.float64)
    with torch.no_grad():
        params[-1][:2] = 0
        params[-1][:, :3] = 0
    free = [torch.nn.Parameter(torch.zeros_like(param)) for param in params]
    optimizer = kind(params, lr=0.02, lam=0.3, delta=0.7, regularizer=regularizer)
    update = kind(free, lr=0.02, regularizer="none")
    start = [optimizer.dual(param) for param in params]
    for seed in range(40):
        anything(params, seed)
        anything(free, seed)
        optimizer.step()
        update.step()
    duals = [v + moved.detach() for v, moved in zip(start, free, strict=True)]
    functional = get_regularizer(regularizer)
    expected = jointly(functional, lambda j, v: 0.7 * j.prox(v, 0.3), duals)
    assert_close(params, expected, atol=1e-13)
    assert_close([optimizer.dual(param) for param in params], duals, atol=1e-13)
    zeros = sum(int((param == 0).sum()) for param in params)
    if "l1" in regularizer or regularizer in ("group_rows", "group_columns"):
        assert 0 < zeros < sum(param.numel() for param in params)


@REGULARIZED
@pytest.mark.parametrize("contiguous", [True, False])
def test_weights_read_off_in_pieces_are_those_of_the_whole(monkeypatch, regularizer, contiguous):
    """Pieces of about 40 weights, and updates of 10 at a time; a strided parameter as well."""
    found = []
    for chunk, batch in ((40, 10), (1 << 14, 1 << 20)):
        monkeypatch.setattr(dual, "CHUNK", chunk)
        monkeypatch.setattr(bregman, "BATCH", batch)
        params = weights(regularizer, sparse=True)
        for seed in (1, 2) if len(params) == 1 else ():
            params += weights(regularizer, sparse=True, seed=seed)
        if not contiguous:
            params = [torch.nn.Parameter(strided(param.detach())) for param in params]
        optimizer = AdaBreg(params, lr=0.05, lam=0.1, regularizer=regularizer)
        for seed in range(9):
            anything(params, seed)
            optimizer.step()
        found.append(params)
    for pieces, whole in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, atol=1e-8, rtol=0)


def strided(tensor):
    """The same numbers, laid out in another order."""
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


def test_a_state_that_kept_the_dual_as_a_sum_goes_on():
    """As saved before the dual was one float64 tensor: dual + drift, and the step a number."""
    param = weight(sparse=True)
    optimizer = AdaBreg([param], lr=0.05, lam=0.2)
    push(optimizer, param, 0.3, 3)
    old = copy.deepcopy(optimizer.state_dict())
    state = old["state"][0]
    drift = torch.full((12, 15), 2.0**-9)
    state.update(dual=state["dual"] - drift, drift=drift, low=drift, high=drift, pending=3, step=3)
    twin = torch.nn.Parameter(param.detach().clone())
    other = AdaBreg([twin], lr=0.05, lam=0.2)
    other.load_state_dict(old)
    assert set(other.state[twin]) == {"dual", "rule", "step", "exp_avg", "exp_avg_sq"}
    torch.testing.assert_close(other.dual(twin), optimizer.dual(param), atol=1e-15, rtol=0)
    push(optimizer, param, -0.1, 2)
    push(other, twin, -0.1, 2)
    torch.testing.assert_close(twin, param, atol=1e-7, rtol=0)


@BREGMAN
def test_support_is_where_the_dual_exceeds_lam(kind):
    param = weight(sparse=True)
    optimizer = kind([param], lr=0.05, lam=0.2)
    for seed in range(50):
        torch.manual_seed(seed)
        push(optimizer, param, torch.randn(12, 15) + 0.2)
    margin = optimizer.dual(param).abs() - 0.2
    clear = margin.abs() > 1e-8
    assert torch.equal((param != 0)[clear], (margin > 0)[clear])
    assert 0 < (param != 0).sum() < param.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("start", [0.5, 0.0])
def test_tiny_steps_add_up_at_large_lam(dtype, start):
    """In float32 a step of 1e-7 vanishes at v = 10, where the spacing is 1e-6."""
    param = torch.nn.Parameter(torch.full((3,), start, dtype=dtype))
    optimizer = LinBreg([param], lr=1e-7, lam=10.0)
    push(optimizer, param, -1.0, 2000)
    expected = start + (10.0 if start else 0.0) + 2e-4
    assert optimizer.dual(param).dtype == torch.float64
    assert optimizer.dual(param)[0].item() == pytest.approx(expected, abs=1e-9)
    theta = torch.tensor(start + 2e-4 if start else 0.0).to(dtype)
    torch.testing.assert_close(param[0].detach(), theta, atol=1e-7, rtol=0)


@BREGMAN
def test_dual_of_bfloat16_keeps_its_precision_through_save_and_load(kind):
    param = weight(dtype=torch.bfloat16)
    optimizer = kind([param], lr=1e-5, lam=10.0)
    push(optimizer, param, 0.3, 7)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = kind([torch.nn.Parameter(param.detach().clone())], lr=1e-5, lam=10.0)
    other.load_state_dict(torch.load(file, weights_only=True))
    twin = copy.deepcopy(optimizer)
    for loaded in (other, twin):
        state = next(iter(loaded.state.values()))
        assert state["dual"].dtype == torch.float64
        assert torch.equal(loaded.dual(loaded.param_groups[0]["params"][0]), optimizer.dual(param))


@BREGMAN
@REGULARIZED
def test_a_saved_state_goes_on_alike(kind, regularizer):
    optimizer, _ = moved(kind, regularizer)
    params = optimizer.param_groups[0]["params"]
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twins = [torch.nn.Parameter(theta) for theta in copies(params)]
    twin = kind(twins, lr=1.0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3):
        for own, those in ((optimizer, params), (twin, twins)):
            anything(those, seed)
            own.step()
    assert all(torch.equal(a, b) for a, b in zip(params, twins, strict=True))


@pytest.mark.parametrize(("kind", "lam"), [(AdaBreg, 0.3), (LinBreg, 0.3), (ProxSGD, 1.3)])
def test_neurons_go_with_all_that_leads_in_and_out(kind, lam):
    """Between two layers of 8 neurons whole neurons vanish, from both tensors at once."""
    params = weights("group_neurons:in+out")
    with torch.no_grad():
        for param in params:
            param.mul_(10)
        params[0][3:6] = 0
        params[1][:, 3:6] = 0
    optimizer = kind(params, lr=0.1, lam=lam, regularizer="group_neurons:in+out")
    for seed in range(6):
        anything(params, seed)
        optimizer.step()
    dead = (params[0] == 0).all(1)
    assert 0 < dead.sum() < 8
    assert torch.equal(dead, (params[0] == 0).any(1))
    assert torch.equal(dead, (params[1] == 0).all(0))
    if kind is not ProxSGD:
        left = optimizer.nonzero_at(0.6, 0)
        optimizer.set_lam(0.6, keep="dual")
        assert left == sum(int((param != 0).sum()) for param in params)
        assert (params[0] == 0).all(1).sum() >= dead.sum()
        assert torch.equal((params[0] == 0).all(1), (params[1] == 0).all(0))


def test_all_parameters_of_a_coupled_group_need_a_gradient_or_none():
    params = weights("group_neurons:in+out")
    optimizer = LinBreg(params, regularizer="group_neurons:in+out")
    optimizer.step()
    params[0].grad = torch.zeros_like(params[0])
    with pytest.raises(RuntimeError, match="couples the parameters of its group: all of them need"):
        optimizer.step()


def test_a_parameter_that_would_be_in_two_groups_of_neurons_is_refused():
    first, between, last = (torch.nn.Parameter(torch.zeros(4, 4)) for _ in range(3))
    groups = [{"params": [first, between]}, {"params": [between, last]}]
    with pytest.raises(ValueError, match="more than one parameter group"):
        LinBreg(groups, regularizer="group_neurons:in+out")


def test_negative_weights_leave_a_nonnegative_group_at_the_first_step():
    param = torch.nn.Parameter(torch.tensor([-0.5, 0.0, 0.5]))
    push(AdaBreg([param], lam=1.0, regularizer="l1_nonneg"), param, 0.0)
    assert param.tolist() == [0.0, 0.0, 0.5]


def test_a_nonnegative_group_stays_so_at_lam_zero():
    param = torch.nn.Parameter(torch.tensor([0.1, 0.5]))
    push(LinBreg([param], lr=0.1, lam=0.0, regularizer="l1_nonneg"), param, 1.0, 3)
    torch.testing.assert_close(param.detach(), torch.tensor([0.0, 0.2]))
