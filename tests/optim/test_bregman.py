"""The dual variable: start, precision, changes of lam, changes from outside."""

import copy
import io

import pytest
import torch

from snnbreg.optim import AdaBreg, LinBreg, dual
from snnbreg.optim.regularizers import REGULARIZERS, prox, subgradient

BREGMAN = pytest.mark.parametrize("kind", [AdaBreg, LinBreg])
REGULARIZED = pytest.mark.parametrize("regularizer", REGULARIZERS)


def weights(regularizer="l1", dtype=torch.float32, sparse=False, seed=0):
    torch.manual_seed(seed)
    shape = (4, 5, 3, 3) if regularizer == "group_kernels" else (12, 15)
    theta = 0.1 * torch.randn(shape, dtype=dtype)
    if sparse:
        theta *= torch.rand(shape) < 0.3
    return torch.nn.Parameter(theta.abs() if regularizer == "l1_nonneg" else theta)


def push(optimizer, param, gradient, count=1):
    for _ in range(count):
        param.grad = torch.as_tensor(gradient, dtype=param.dtype).expand_as(param).contiguous()
        optimizer.step()


@BREGMAN
@REGULARIZED
@pytest.mark.parametrize("delta", [1.0, 0.3])
@pytest.mark.parametrize("sparse", [False, True])
def test_zero_gradient_leaves_any_start_as_it_is(kind, regularizer, delta, sparse):
    param = weights(regularizer, sparse=sparse)
    before = param.detach().clone()
    optimizer = kind([param], lr=0.1, lam=10.0, delta=delta, regularizer=regularizer)
    push(optimizer, param, 0.0, 5)
    torch.testing.assert_close(param.detach(), before, atol=1e-15, rtol=2e-7)
    assert torch.equal(param == 0, before == 0)


@BREGMAN
@REGULARIZED
def test_weights_are_the_prox_of_a_dual_that_moves_by_the_update(kind, regularizer):
    param = weights(regularizer, dtype=torch.float64)
    with torch.no_grad():
        param[:2] = 0
        param[:, :3] = 0
    free = torch.nn.Parameter(torch.zeros_like(param))
    optimizer = kind([param], lr=0.02, lam=0.3, delta=0.7, regularizer=regularizer)
    update = kind([free], lr=0.02, regularizer="none")
    start = optimizer.dual(param)
    torch.manual_seed(1)
    for _ in range(40):
        gradient = torch.randn_like(param)
        push(optimizer, param, gradient)
        push(update, free, gradient)
    expected = prox(regularizer, start + free.detach(), 0.3, 0.7)
    torch.testing.assert_close(param.detach(), expected, atol=1e-13, rtol=0)
    torch.testing.assert_close(optimizer.dual(param), start + free.detach(), atol=1e-13, rtol=0)
    assert regularizer == "none" or 0 < (param == 0).sum() < param.numel()


@pytest.mark.parametrize("contiguous", [True, False])
def test_weights_read_off_in_pieces_are_those_of_the_whole(monkeypatch, contiguous):
    """40 weights in pieces of 7, and a transposed parameter, which is not cut."""
    start = weights().detach()[:8, :5]
    pieces, whole = (
        torch.nn.Parameter(start.clone() if contiguous else start.clone().t()) for _ in range(2)
    )
    for param, size in ((pieces, 7), (whole, 64)):
        monkeypatch.setattr(dual, "CHUNK", size)
        optimizer = AdaBreg([param], lr=0.05, lam=0.02)
        for seed in range(9):
            torch.manual_seed(seed)
            param.grad = torch.randn_like(param)
            optimizer.step()
    assert torch.equal(pieces, whole)
    assert 0 < (pieces == 0).sum() < pieces.numel()


def test_a_state_that_kept_the_dual_as_a_sum_goes_on():
    """As saved before the dual was one float64 tensor: dual + drift, and the step a number."""
    param = weights(sparse=True)
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
    param = weights(sparse=True)
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
    param = weights(dtype=torch.bfloat16)
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


def moved(kind, regularizer="l1", dtype=torch.float32, **settings):
    """An optimizer in the middle of its work, with zero and non-zero weights."""
    param = weights(regularizer, dtype, sparse=regularizer in ("l1", "l1_nonneg"))
    optimizer = kind([param], lr=0.02, lam=0.2, regularizer=regularizer, **settings)
    for seed in range(20):
        torch.manual_seed(seed)
        push(optimizer, param, torch.randn_like(param))
    return optimizer, param


@BREGMAN
@REGULARIZED
@pytest.mark.parametrize("lam", [0.02, 5.0])
def test_lam_changes_and_nothing_else(kind, regularizer, lam):
    optimizer, param = moved(kind, regularizer, torch.float64, delta=0.5)
    theta = param.detach().clone()
    p = (optimizer.dual(param) - theta / 0.5) / 0.2
    optimizer.set_lam(lam, group=0)
    assert torch.equal(param, theta)
    expected = theta / 0.5 + (0 if regularizer == "none" else lam * p)
    torch.testing.assert_close(optimizer.dual(param), expected, atol=1e-13, rtol=1e-13)
    for state in optimizer.state.values():  # no momentum, so that only the change can act
        for key in ("exp_avg", "momentum_buffer"):
            state.get(key, torch.zeros(1)).zero_()
    push(optimizer, param, 0.0)
    torch.testing.assert_close(param.detach(), theta, atol=1e-13, rtol=0)
    assert torch.equal(param == 0, theta == 0)


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
    param = weights()
    before = param.detach().clone()
    optimizer = kind([param], lam=0.1)
    optimizer.param_groups[0]["lam"] = 3.0
    push(optimizer, param, 0.0)
    assert torch.equal(param, before)
    assert torch.equal(optimizer.dual(param), before.double() + 3.0 * before.sign())


@BREGMAN
def test_lam_to_zero_and_back_starts_zeros_afresh(kind):
    optimizer, param = moved(kind)
    theta = param.detach().clone()
    optimizer.set_lam(0.0)
    assert torch.equal(optimizer.dual(param), theta.double())
    optimizer.set_lam(0.5)
    assert torch.equal(optimizer.dual(param), theta.double() + 0.5 * theta.sign())


@BREGMAN
@REGULARIZED
def test_resync_makes_an_outside_change_last(kind, regularizer):
    optimizer, param = moved(kind, regularizer)
    for state in optimizer.state.values():
        state.get("exp_avg", torch.zeros(1)).zero_()
    with torch.no_grad():
        param.mul_(20).round_().div_(20)  # rounding
        param[:2] = 0  # masking
        param[2:4] = 0.25  # loading
    changed = param.detach().clone()
    optimizer.resync([param])
    push(optimizer, param, 0.0, 5)
    torch.testing.assert_close(param.detach(), changed, atol=1e-7, rtol=1e-6)
    assert torch.equal(param == 0, changed == 0)


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


def test_negative_weights_leave_a_nonnegative_group_at_the_first_step():
    param = torch.nn.Parameter(torch.tensor([-0.5, 0.0, 0.5]))
    push(AdaBreg([param], lam=1.0, regularizer="l1_nonneg"), param, 0.0)
    assert param.tolist() == [0.0, 0.0, 0.5]


def test_a_nonnegative_group_stays_so_at_lam_zero():
    param = torch.nn.Parameter(torch.tensor([0.1, 0.5]))
    push(LinBreg([param], lr=0.1, lam=0.0, regularizer="l1_nonneg"), param, 1.0, 3)
    torch.testing.assert_close(param.detach(), torch.tensor([0.0, 0.2]))


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
