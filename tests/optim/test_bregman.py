"""The dual variable: start, precision, changes of lam, changes from outside."""

import copy
import io

import pytest
import torch

from regularizer_cases import LARGE
from snnbreg.optim import AdaBreg, LinBreg, ProxSGD, bregman, dual
from snnbreg.optim.regularizers import get_regularizer, jointly, subgradient

BREGMAN = pytest.mark.parametrize("kind", [AdaBreg, LinBreg])
REGULARIZED = pytest.mark.parametrize("regularizer", LARGE)


def weights(regularizer="l1", dtype=torch.float32, sparse=False, seed=0):
    """A parameter, or several where the regulariser couples them."""
    torch.manual_seed(seed)
    params = []
    for shape in LARGE[regularizer]:
        theta = 0.1 * torch.randn(shape, dtype=dtype)
        if sparse:
            theta *= torch.rand(shape) < 0.3
        params.append(torch.nn.Parameter(theta.abs() if regularizer == "l1_nonneg" else theta))
    return params


def weight(*args, **kwargs):
    (param,) = weights(*args, **kwargs)
    return param


def copies(params):
    return [param.detach().clone() for param in params]


def assert_close(found, expected, atol, rtol=0.0):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.detach(), other, atol=atol, rtol=rtol)


def same_zeros(regularizer, first, second):
    """Of low rank, weights are zero up to rounding."""
    zeros = zip(first, second, strict=True)
    return regularizer == "nuclear" or all(torch.equal(a == 0, b == 0) for a, b in zeros)


def push(optimizer, params, gradient, count=1):
    params = [params] if isinstance(params, torch.Tensor) else params
    for _ in range(count):
        for param in params:
            value = gradient() if callable(gradient) else gradient
            param.grad = torch.as_tensor(value, dtype=param.dtype).expand_as(param).contiguous()
        optimizer.step()


def anything(params, seed):
    torch.manual_seed(seed)
    for param in params:
        param.grad = torch.randn_like(param)


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
        params += weights(regularizer, sparse=True, seed=1) if len(params) == 1 else []
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


def moved(kind, regularizer="l1", dtype=torch.float32, **settings):
    """An optimizer in the middle of its work, with zero and non-zero weights."""
    params = weights(regularizer, dtype, sparse=regularizer in ("l1", "l1_nonneg"))
    optimizer = kind(params, lr=0.02, lam=0.2, regularizer=regularizer, **settings)
    for seed in range(20):
        anything(params, seed)
        optimizer.step()
    return optimizer, params[0] if len(params) == 1 else params


def forget_momentum(optimizer):
    for state in optimizer.state.values():
        for key in ("exp_avg", "momentum_buffer"):
            state.get(key, torch.zeros(1)).zero_()


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
