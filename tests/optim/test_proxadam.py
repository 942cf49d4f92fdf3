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
