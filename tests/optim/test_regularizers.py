"""Regularisers against brute force, the subgradient inequality and hand-computed numbers."""

import math

import pytest
import torch

from snnbreg.optim.regularizers import REGULARIZERS, get_regularizer, prox, subgradient, value

SHAPES = {"group_kernels": (2, 3, 2, 2)}
NAMES = list(REGULARIZERS)
DIMS = {"group_rows": (1,), "group_columns": (0,), "group_kernels": (2, 3)}  # of one group


def random(name: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(SHAPES.get(name, (4, 3)), generator=generator, dtype=torch.float64)
    return theta.abs() if name == "l1_nonneg" else theta


@pytest.mark.parametrize("delta", [1.0, 0.5])
@pytest.mark.parametrize("name", ["none", "l1", "l1_nonneg"])
def test_prox_of_entries_is_the_grid_minimiser(name, delta):
    grid = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    lam = 0.7
    for v in (-3.2, -0.7, -0.3, 0.0, 0.6, 0.9, 2.5):
        objective = torch.stack([value(name, x, lam, delta) for x in grid[:, None]]) - v * grid
        expected = grid[objective.argmin()].item()
        assert prox(name, torch.tensor([v]), lam, delta).item() == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("group_rows", (1, 2)), ("group_columns", (2, 1)), ("group_kernels", (1, 1, 1, 2))],
)
@pytest.mark.parametrize("v", [(2.0, -1.5), (0.5, 0.4), (0.0, 0.0), (0.0, 3.0)])
def test_prox_of_a_group_is_the_grid_minimiser(name, shape, v):
    axis = torch.linspace(-3, 3, 601, dtype=torch.float64)
    first, second = torch.meshgrid(axis, axis, indexing="ij")
    lam, delta = 0.6, 0.8
    objective = lam * math.sqrt(2) * (first**2 + second**2).sqrt()
    objective = objective + (first**2 + second**2) / (2 * delta) - v[0] * first - v[1] * second
    best = objective.argmin()
    expected = torch.stack([first.flatten()[best], second.flatten()[best]])
    found = prox(name, torch.tensor(v, dtype=torch.float64).view(shape), lam, delta).flatten()
    torch.testing.assert_close(found, expected, atol=0.011, rtol=0)


def test_masks_and_couplings_are_two_things():
    changed = torch.zeros(4, 3, dtype=torch.bool)
    changed[1, 2] = True
    shapes = {
        "l1": ([[1, 2]], 12), "group_rows": ([[1, 0], [1, 1], [1, 2]], 4),
        "group_columns": ([[0, 2], [1, 2], [2, 2], [3, 2]], 3),
    }  # fmt: skip
    for name, (affected, numbers) in shapes.items():
        regularizer = REGULARIZERS[name]
        coupled = regularizer.coupled or (lambda entries: entries)  # None: every entry alone
        assert coupled(changed).nonzero().tolist() == affected
        assert regularizer.draw((4, 3), torch.rand).numel() == numbers


@pytest.mark.parametrize("name", ["group_rows", "group_columns", "group_kernels"])
def test_group_prox_zeroes_whole_groups(name):
    v = random(name)
    dims = DIMS[name]
    norms = torch.linalg.vector_norm(v, dim=dims)
    lam = norms.median().item() / math.sqrt(math.prod(v.shape[d] for d in dims))
    remaining = (prox(name, v, lam) != 0).all(dims)
    assert torch.equal(remaining, norms > norms.median())
    assert torch.equal((prox(name, v, lam) != 0).any(dims), remaining)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_zero_stays_zero(name, lam):
    zero = torch.zeros(SHAPES.get(name, (4, 3)))
    assert torch.equal(prox(name, zero, lam), zero)
    assert torch.equal(subgradient(name, zero), zero)
    assert value(name, zero).item() == 0


@pytest.mark.parametrize("name", NAMES)
def test_subgradient_inequality(name):
    theta = random(name)
    theta[0] = 0
    p = subgradient(name, theta)
    for seed in range(1, 30):
        other = random(name, seed)
        linear = value(name, theta) + (p * (other - theta)).sum()
        assert value(name, other) >= linear - 1e-12


@pytest.mark.parametrize("delta", [1.0, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_prox_inverts_the_dual_variable(name, delta):
    theta = random(name)
    theta[0] = 0
    v = theta / delta + 3.0 * subgradient(name, theta)
    torch.testing.assert_close(prox(name, v, 3.0, delta), theta, atol=1e-14, rtol=1e-14)


def test_nonnegative_l1_refuses_negative_weights():
    theta = torch.tensor([-1.0, 2.0])
    assert value("l1_nonneg", theta).item() == math.inf
    assert torch.equal(prox("l1_nonneg", theta, lam=0.0), torch.tensor([0.0, 2.0]))


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'l2'.*none, l1, l1_nonneg, group_rows"):
        get_regularizer("l2")


def test_group_regularizer_refuses_a_bias():
    with pytest.raises(ValueError, match=r"'group_rows' needs a parameter of 2 dimensions.*\(5,\)"):
        prox("group_rows", torch.zeros(5), 1.0)
    for function in (subgradient, value):
        with pytest.raises(ValueError, match="'group_rows' needs a parameter of 2 dimensions"):
            function("group_rows", torch.zeros(5))
