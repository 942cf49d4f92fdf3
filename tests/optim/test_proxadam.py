"""ProxAdam: numbers by hand, torch's Adam, and a brute-force minimiser in Adam's metric."""

import pytest
import torch

from snnbreg.optim import ProxAdam, ProxSGD


def stepped(theta, grads, **options):
    weight = torch.nn.Parameter(torch.tensor(theta))
    optimizer = ProxAdam([weight], **options)
    for grad in grads:
        weight.grad = torch.tensor(grad)
        optimizer.step()
    return weight, optimizer


@pytest.mark.parametrize(
    ("form", "expected"),
    [("plain", [0.0, -2.0, 0.0]), ("proxgen", [-0.05 / 3, -6.2 / 3, -0.2 / 3])],
)
def test_the_first_step(form, expected):
    weight, _ = stepped([0.05, -2.0, 0.0], [[3.0, 3.0, 3.0]], lr=0.1, lam=1.0, form=form)
    torch.testing.assert_close(weight.data, torch.tensor(expected), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("form", ["plain", "proxgen"])
def test_without_a_regulariser_it_is_adam(form):
    generator = torch.Generator().manual_seed(0)
    weight, twin = (torch.nn.Parameter(torch.linspace(-1, 1, 40)) for _ in range(2))
    ours = ProxAdam([weight], lr=0.05, lam=0.0, betas=(0.8, 0.95), form=form)
    adam = torch.optim.Adam([twin], lr=0.05, betas=(0.8, 0.95))
    for _ in range(30):
        weight.grad = torch.randn(40, generator=generator)
        twin.grad = weight.grad.clone()
        ours.step()
        adam.step()
        assert torch.equal(weight, twin)


def test_the_proximal_map_minimises_in_the_metric_of_adam():
    grads = [[0.7, -0.2, 1.5], [0.1, -0.4, -3.0], [0.5, 0.05, 2.0]]
    before, _ = stepped([0.03, -0.02, 0.4], grads[:2], lr=0.1, lam=0.3)
    after, optimizer = stepped([0.03, -0.02, 0.4], grads, lr=0.1, lam=0.3)
    state = optimizer.state[after]
    m = state["exp_avg"].double() / (1 - 0.9**3)
    metric = (state["exp_avg_sq"].double() / (1 - 0.999**3)).sqrt() + 1e-8
    z = before.detach().double() - 0.1 * m / metric
    grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64).unsqueeze(1)
    best = grid[((grid - z).square() * metric / 2 + 0.1 * 0.3 * grid.abs()).argmin(0)].flatten()
    torch.testing.assert_close(after.detach().double(), best, atol=2e-5, rtol=0)
    assert (after == 0).any()
    assert (after != 0).any()


def test_groups_vanish_in_the_plain_form():
    rows = [[3.0, 4.0], [0.1, 0.1]]
    weight, _ = stepped(
        rows, [[[0.0, 0.0], [0.0, 0.0]]], lr=0.5, lam=1.0, regularizer="group_rows", form="plain"
    )
    scale = 1 - 0.5 * 2**0.5 / 5
    torch.testing.assert_close(weight.data, torch.tensor([[3 * scale, 4 * scale], [0.0, 0.0]]))


@pytest.mark.parametrize("kind", [ProxSGD, ProxAdam])
def test_pruning_keeps_the_largest_of_all_groups_and_forgets_the_others(kind):
    params = [torch.nn.Parameter(torch.tensor(v)) for v in ([3.0, -1.0], [[2.0], [0.5]], [9.0])]
    groups = [{"params": [p]} for p in params[:2]] + [{"params": params[2:], "regularizer": "none"}]
    optimizer = kind(groups, lr=1e-4, lam=0.0)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    optimizer.prune_to(2, [0, 1])
    assert [(p != 0).flatten().tolist() for p in params] == [[True, False], [True, False], [True]]
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    assert [(p != 0).flatten().tolist() for p in params] == [[True, False], [True, False], [True]]


@pytest.mark.parametrize(
    ("method", "options"), [(ProxSGD, {}), (ProxAdam, {}), (ProxAdam, {"form": "plain"})]
)
@pytest.mark.parametrize("count", [1, 7, 19])
def test_the_factor_at_which_so_many_weights_outlast_some_steps(method, options, count):
    """Checked by taking these steps with gradients of zero, on either side of the factor."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 12, generator=generator, dtype=torch.float64)

    def made(factor):
        groups = [{"params": [torch.nn.Parameter(w.clone())]} for w in (first, second)]
        groups[1]["lam"] = 3e-4  # twice the other's
        optimizer = method(groups, lr=0.01, lam=1.5e-4, **options)
        weights = [group["params"][0] for group in groups]
        for weight in weights:
            weight.grad = torch.rand(12, generator=generator, dtype=torch.float64) / 100
        optimizer.step()
        for weight, start in zip(weights, (first, second), strict=True):
            weight.data.copy_(start)
            weight.grad.zero_()
            if state := optimizer.state[weight]:  # as late in a run, with a gradient that vanished
                state["step"] = 100_000
                state["exp_avg_sq"].mul_(1000)
                state["exp_avg"].zero_()
        found = optimizer.factor_for(count, 10, [0, 1]) if factor is None else factor
        for group in optimizer.param_groups:
            group["lam"] *= found
        for _ in range(10):
            optimizer.step()
        return found, sum(int(torch.count_nonzero(weight)) for weight in weights)

    start = generator.get_state()
    exact, _ = made(None)
    lasting = []
    for factor in (exact * 0.97, exact * 1.03):  # the metric moves by 1 % in ten steps
        generator.set_state(start)
        lasting.append(made(factor)[1])
    assert lasting[0] > count >= lasting[1] >= count - 1
