"""The algorithms against torch's own and formulas worked by hand."""

import pytest
import torch

from snnbreg.optim import AdaBreg, LinBreg, ProxSGD, elastic_net


def train(make, steps=300, dtype=torch.float32, seed=0):
    """Train a small network with random batches; returns its parameters."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    net.to(dtype)
    optimizer = make(net.parameters())
    for _ in range(steps):
        x = torch.randn(20, 8, dtype=dtype)
        optimizer.zero_grad()
        (net(x) - x[:, :3] * x[:, 3:6]).square().mean().backward()
        optimizer.step()
    return torch.cat([param.detach().flatten() for param in net.parameters()])


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("settings", [{"lam": 0.0}, {"lam": 5.0, "regularizer": "none"}])
def test_adabreg_without_regulariser_is_adam(foreach, settings):
    adam = train(lambda params: torch.optim.Adam(params, lr=3e-3, foreach=foreach))
    ours = train(lambda params: AdaBreg(params, lr=3e-3, **settings))
    assert torch.equal(ours, adam)


@pytest.mark.parametrize("kind", [AdaBreg, LinBreg])
def test_delta_scales_the_learning_rate_where_lam_is_zero(kind):
    reference = torch.optim.Adam if kind is AdaBreg else torch.optim.SGD
    theirs = train(lambda params: reference(params, lr=2e-3))
    ours = train(lambda params: kind(params, lr=8e-3, lam=0.0, delta=0.25))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [LinBreg, ProxSGD])
@pytest.mark.parametrize("settings", [{"lam": 0.0}, {"lam": 5.0, "regularizer": "none"}])
def test_linbreg_and_proxsgd_without_regulariser_are_sgd(kind, settings):
    sgd = train(lambda params: torch.optim.SGD(params, lr=0.1))
    assert torch.equal(train(lambda params: kind(params, lr=0.1, **settings)), sgd)


@pytest.mark.parametrize("lam", [1e-9, 1e-6])
def test_a_vanishing_lam_is_nearly_adam(lam):
    """The path through the dual variable, in float64 so that training does not blow up rounding."""
    adam = train(lambda params: torch.optim.Adam(params, lr=3e-3), dtype=torch.float64)
    ours = train(lambda params: AdaBreg(params, lr=3e-3, lam=lam), dtype=torch.float64)
    torch.testing.assert_close(ours, adam, atol=100 * lam, rtol=0)


def test_momentum_is_algorithm_2():
    param = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = LinBreg([param], lr=0.1, lam=1.0, momentum=0.9)
    for gradient in (1.0, 2.0, -1.0):
        param.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    # m: .01, .029, .0161; v: 1.5 - .01 - .029 - .0161
    assert optimizer.dual(param).item() == pytest.approx(1.4449, abs=1e-14)
    assert param.item() == pytest.approx(0.4449, abs=1e-14)


def test_lambda_acts_only_below_half_the_reach_of_the_steps():
    """From a dense start lam .25, 1, 10, 100 give one network, lam .05 another (reach 0.4)."""

    def final(lam):
        def make(params):
            weights, biases = [], []
            for param in params:
                (weights if param.ndim == 2 else biases).append(param)
            groups = [{"params": weights}, {"params": biases, "regularizer": "none"}]
            return AdaBreg(groups, lr=2e-3, lam=lam)

        return train(make, steps=200, dtype=torch.float64)

    reference = final(0.25)
    assert 0.5 < (reference != 0).double().mean() < 0.95
    for lam in (1.0, 10.0, 100.0):
        torch.testing.assert_close(final(lam), reference, atol=1e-12, rtol=0)
    assert (final(0.05) - reference).abs().max() > 1e-4


def test_proxsgd_finds_the_lasso():
    """At the minimiser of loss + lam J, minus the gradient is lam times a subgradient."""
    torch.manual_seed(0)
    data, target = torch.randn(40, 10, dtype=torch.float64), torch.randn(40, dtype=torch.float64)
    theta = torch.nn.Parameter(torch.zeros(10, dtype=torch.float64))
    optimizer = ProxSGD([theta], lr=0.01, lam=5.0)
    for _ in range(2000):
        optimizer.zero_grad()
        ((data @ theta - target).square().sum() / 2).backward()
        optimizer.step()
    active = theta != 0
    assert 0 < active.sum() < 10
    torch.testing.assert_close(-theta.grad[active], 5.0 * theta.detach()[active].sign())
    assert (theta.grad[~active].abs() <= 5.0).all()
    assert elastic_net("l1", theta) > 0


def test_dense_start_only_loses_weights_while_no_sign_flips():
    densities = []

    def make(params):
        optimizer = AdaBreg(params, lr=2e-3, lam=10.0)
        optimizer.register_step_post_hook(
            lambda *_: densities.append(
                sum(int((p != 0).sum()) for g in optimizer.param_groups for p in g["params"])
            )
        )
        return optimizer

    train(make, steps=5)
    assert densities == sorted(densities, reverse=True)
