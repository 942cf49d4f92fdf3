"""One contract for all optimizers: what training loops and schedulers of torch rely on."""

import copy
import io

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from snnbreg.optim import AdaBreg, LinBreg, ProxAdam, ProxSGD

OPTIMIZERS = {
    "torch_adam": lambda params: torch.optim.Adam(params, lr=1e-2),  # the contract itself
    "adabreg": lambda params: AdaBreg(params, lr=1e-2, lam=0.05),
    "adabreg_delta": lambda params: AdaBreg(params, lr=1e-2, lam=0.05, delta=0.5),
    "adabreg_free": lambda params: AdaBreg(params, lr=1e-2, regularizer="none"),
    "linbreg": lambda params: LinBreg(params, lr=0.2, lam=0.05),
    "linbreg_momentum": lambda params: LinBreg(params, lr=0.2, lam=0.05, momentum=0.9),
    "proxsgd": lambda params: ProxSGD(params, lr=0.2, lam=1e-3),
    "proxadam": lambda params: ProxAdam(params, lr=1e-2, lam=1e-3),
    "proxadam_plain": lambda params: ProxAdam(params, lr=1e-2, lam=0.05, form="plain"),
}
EVERY = pytest.mark.parametrize("name", OPTIMIZERS)
OURS = pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "torch_adam"])


def problem(dtype=torch.float32):
    """A small regression: network, and the function that sets its gradients."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    net.to(dtype)
    x = torch.randn(32, 6, dtype=dtype)
    y = x[:, :2] - x[:, 2:4]

    def closure():
        net.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        return loss

    return net, closure


def steps(optimizer, closure, count):
    for _ in range(count):
        closure()
        optimizer.step()


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@EVERY
def test_loss_falls(name):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.parameters())
    before = closure().item()
    steps(optimizer, closure, 60)
    assert closure().item() < 0.5 * before


@EVERY
@pytest.mark.parametrize("count", [1, 45])
def test_saved_state_continues_identically(name, count):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.named_parameters())
    steps(optimizer, closure, count)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    steps(optimizer, closure, 40)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other_net, other_closure = problem()
    other = OPTIMIZERS[name](other_net.named_parameters())
    other_net.load_state_dict(saved["net"])
    other.load_state_dict(saved["optimizer"])
    steps(other, other_closure, 40)
    assert same(net.parameters(), other_net.parameters())


@OURS
def test_loading_shares_no_memory(name):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.parameters())
    steps(optimizer, closure, 3)
    saved = optimizer.state_dict()
    frozen = copy.deepcopy(saved["state"])
    other_net, other_closure = problem()
    other = OPTIMIZERS[name](other_net.parameters())
    other.load_state_dict(saved)
    steps(other, other_closure, 3)
    for index, state in frozen.items():
        for key, entry in state.items():
            if isinstance(entry, torch.Tensor):
                assert torch.equal(entry, saved["state"][index][key]), key


@EVERY
def test_deepcopy_continues_identically(name):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.parameters())
    steps(optimizer, closure, 5)
    twin = copy.deepcopy(optimizer)
    gradients = [param.grad.clone() for param in net.parameters()]
    for param, gradient in zip(twin.param_groups[0]["params"], gradients, strict=True):
        param.grad = gradient
    optimizer.step()
    twin.step()
    assert same(net.parameters(), twin.param_groups[0]["params"])
    assert twin.defaults.items() >= optimizer.defaults.items()
    assert twin.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


@EVERY
def test_closure_is_called_once_with_gradients_and_its_loss_returned(name):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.parameters())
    losses = []
    result = optimizer.step(lambda: losses.append(closure()) or losses[-1])
    assert len(losses) == 1
    assert result is losses[0]
    assert OPTIMIZERS[name](net.parameters()).step() is None


@EVERY
def test_writes_in_place_and_keeps_strides(name):
    base = torch.randn(5, 4)
    param = torch.nn.Parameter(base.t())
    twin = torch.nn.Parameter(base.t().contiguous())
    storage, strides = param.data_ptr(), param.stride()
    for p in (param, twin):
        optimizer = OPTIMIZERS[name]([p])
        for scale in (1.0, -0.5):
            p.grad = torch.linspace(-1, 1, 20).view(4, 5) * scale
            optimizer.step()
    assert param.data_ptr() == storage
    assert param.stride() == strides
    assert not param.is_contiguous()
    assert torch.equal(param, twin)


@EVERY
def test_groups_keep_their_own_settings(name):
    first, second, alone = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    optimizer = OPTIMIZERS[name]([{"params": [first]}, {"params": [second], "lr": 0.5}])
    reference = OPTIMIZERS[name]([{"params": [alone], "lr": 0.5}])
    for param in (first, second, alone):
        param.grad = torch.tensor([1.0, -1.0, 0.5])
    optimizer.step()
    reference.step()
    assert torch.equal(second, alone)
    assert not torch.equal(first, second)


@EVERY
def test_parameters_without_gradient_are_left_alone(name):
    moving, resting = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS[name]([moving, resting])
    moving.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(resting, torch.ones(3))
    assert resting not in optimizer.state
    assert not torch.equal(moving, resting)


@EVERY
def test_sparse_gradients_raise(name):
    param = torch.nn.Parameter(torch.ones(4, 2))
    param.grad = torch.sparse_coo_tensor([[0], [1]], [1.0], (4, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="sparse"):
        OPTIMIZERS[name]([param]).step()


@EVERY
def test_repr_shows_the_settings(name):
    text = repr(OPTIMIZERS[name]([torch.nn.Parameter(torch.ones(1))]))
    assert "lr: 0." in text
    assert "Parameter Group 0" in text


@EVERY
def test_torch_one_cycle_drives_it(name):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.parameters())
    cycles = "betas" in optimizer.defaults or "momentum" in optimizer.defaults
    scheduler = OneCycleLR(optimizer, 1e-2, total_steps=10, cycle_momentum=cycles)
    seen = []
    for _ in range(10):
        steps(optimizer, closure, 1)
        scheduler.step()
        group = optimizer.param_groups[0]
        seen.append(group["betas"][0] if "betas" in group else group.get("momentum"))
    if cycles:
        assert min(seen) == pytest.approx(0.85)


@OURS
def test_foreign_states_are_refused(name):
    net, closure = problem()
    optimizer = OPTIMIZERS[name](net.named_parameters())
    steps(optimizer, closure, 2)
    saved = optimizer.state_dict()
    permuted = dict(reversed(list(net.named_parameters())))
    with pytest.raises(ValueError, match=r"'0\.weight' stands where '2\.bias' is expected"):
        OPTIMIZERS[name](permuted.items()).load_state_dict(saved)
    more_groups = OPTIMIZERS[name]([{"params": [p]} for p in net.parameters()])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        more_groups.load_state_dict(saved)
    if saved["state"]:
        nameless = OPTIMIZERS[name](permuted.values())
        with pytest.raises(ValueError, match="another network"):
            nameless.load_state_dict(saved)


def test_without_settings_they_are_those_of_the_papers():
    params = [torch.nn.Parameter(torch.ones(1))]
    bregman = {"delta": 1.0, "regularizer": "l1"}
    moments = {"betas": (0.9, 0.999), "eps": 1e-8}
    assert AdaBreg(params).defaults == {"lr": 1e-3, "lam": 1.0, **moments, **bregman}
    assert LinBreg(params).defaults == {"lr": 0.1, "lam": 0.1, "momentum": 0.0, **bregman}
    proxadam = {"lr": 1e-3, "lam": 1e-4, **moments, "regularizer": "l1", "form": "proxgen"}
    assert ProxAdam(params).defaults == proxadam
    assert ProxSGD(params).defaults == {"lr": 0.1, "lam": 1e-4, "regularizer": "l1"}


def test_adabreg_takes_over_from_adam():
    """Its state lacks our options and holds the step as a tensor."""
    (net, closure), (twin, other_closure) = problem(), problem()
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    steps(adam, closure, 5)
    ours = AdaBreg(twin.parameters(), lam=0.0)
    ours.load_state_dict(copy.deepcopy(adam.state_dict()))
    twin.load_state_dict(net.state_dict())
    assert ours.param_groups[0]["regularizer"] == "l1"
    assert ours.param_groups[0]["lr"] == 1e-2
    steps(adam, closure, 5)
    steps(ours, other_closure, 5)
    assert same(net.parameters(), twin.parameters())


def test_a_loaded_state_moves_to_where_its_parameter_is():
    net, closure = problem()
    optimizer = AdaBreg(net.parameters())
    steps(optimizer, closure, 1)
    elsewhere = AdaBreg(net.to("meta").parameters())
    elsewhere.load_state_dict(optimizer.state_dict())
    for state in elsewhere.state.values():
        assert {state[key].device.type for key in ("dual", "exp_avg")} == {"meta"}


def test_keys_of_torchs_own_tools_are_no_options():
    param = torch.nn.Parameter(torch.ones(1))
    group = {"params": [param], "name": "first", "initial_lr": 0.1, "max_lr": 1.0, "min_lr": 0.0}
    optimizer = LinBreg([{**group, "max_momentum": 0.9, "base_momentum": 0.8}])
    assert optimizer.param_groups[0]["name"] == "first"


def test_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="AdaBreg does not support complex parameters"):
        AdaBreg([torch.nn.Parameter(torch.ones(1, dtype=torch.complex64))])


@OURS
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", True),
        ("lam", -0.1),
        ("lam", "1"),
        ("regularizer", "l3"),
    ],
)
def test_bad_options_are_named(name, option, value):
    param = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=f"Invalid {option}: {value!r}"):
        OPTIMIZERS[name]([{"params": [param], option: value}])


@pytest.mark.parametrize(
    ("build", "option"),
    [
        (lambda p: AdaBreg(p, delta=0.0), r"delta: 0.0. It must be a number > 0 and finite\.$"),
        (lambda p: AdaBreg(p, betas=(1.0, 0.9)), r"betas\[0\]"),
        (lambda p: AdaBreg(p, betas=(0.9, -0.1)), r"betas\[1\]"),
        (lambda p: AdaBreg(p, betas=(0.9, 1.0)), r"betas\[1\]: 1.0. .* number >= 0 and < 1\.$"),
        (lambda p: AdaBreg(p, betas=(0.9,)), "betas"),
        (lambda p: AdaBreg(p, eps=-1e-8), r"eps: -1e-08. It must be a number >= 0 and finite\.$"),
        (lambda p: LinBreg(p, momentum=1.0), "momentum"),
        (lambda p: LinBreg(p, delta=-1.0), "delta"),
        (lambda p: ProxAdam(p, betas=(1.0, 0.9)), r"betas\[0\]"),
        (lambda p: ProxAdam(p, betas=(0.9, 1.0)), r"betas\[1\]"),
        (lambda p: ProxAdam(p, betas=(0.9,)), "betas"),
        (lambda p: ProxAdam(p, eps=-1.0), "eps"),
        (lambda p: ProxAdam(p, form="none"), "form: 'none'. Valid forms are proxgen, plain"),
        (lambda p: ProxAdam(p, regularizer="group_rows"), "form: 'proxgen' has no closed form"),
    ],
)
def test_bad_values_of_own_options_are_named(build, option):
    with pytest.raises(ValueError, match=f"Invalid {option}"):
        build([torch.nn.Parameter(torch.ones(1))])


@OURS
def test_a_misspelt_option_or_an_unfit_shape_is_refused(name):
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS[name]([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match=r"'lamda'.*Valid options are lr, lam"):
        optimizer.add_param_group({"params": [param], "lamda": 1.0})
    with pytest.raises(ValueError, match="'group_rows' needs a parameter of 2 dimensions"):
        optimizer.add_param_group({"params": [param], "regularizer": "group_rows"})
    assert len(optimizer.param_groups) == 1
