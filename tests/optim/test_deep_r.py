"""DEEP R against numbers by hand."""

import copy
import math

import pytest
import torch

from snnbreg.optim import SPARSIFIERS
from sparsifier_course import course, force, kept, random, step


def test_deep_r_drops_a_weight_that_would_change_its_sign():
    given = course([[0.05, -0.02]])
    deep = SPARSIFIERS["deepr"](given, 1.0, l1=0.0, temperature=0.0)
    step(deep, [[1.0, 1.0]])
    assert given.network.w0.tolist() == [[pytest.approx(1e-12), pytest.approx(-0.12)]]  # born again
    assert kept(deep) == 2


def test_deep_r_takes_the_l1_term_apart_from_the_gradient():
    given = course([[0.5, -0.5]], kind=torch.optim.Adam)
    deep = SPARSIFIERS["deepr"](given, 1.0, l1=2.0, temperature=0.0)
    step(deep, [[0.0, 0.0]])
    assert given.network.w0.tolist() == [pytest.approx([0.3, -0.3])]


def test_deep_r_shakes_active_weights():
    given = course(torch.full((100, 100), 10.0))
    deep = SPARSIFIERS["deepr"](given, 0.5, "layer", l1=0.0, temperature=0.2, rescale=False)
    step(deep, torch.zeros(100, 100))
    active = given.network.w0.detach()[deep.masks["w0"]]
    assert float(active.std()) == pytest.approx(math.sqrt(2 * 0.1 * 0.2), rel=0.05)
    assert float(active.mean()) == pytest.approx(10, abs=0.02)
    assert not given.network.w0[~deep.masks["w0"]].any()


@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_deep_r_grows_where_it_says(growth):
    start = torch.tensor([[1.0, -1.0, 1.0, -1.0, 0.05, 1.0]])
    given = course(start)
    deep = SPARSIFIERS["deepr"](given, 0.5, l1=0, temperature=0, growth=growth, rescale=False)
    given.network.w0.data = start * torch.tensor([[0, 0, 0, 1, 1, 1]])
    force(deep, [[0, 0, 0, 1, 1, 1]])
    buffer = deep.optimizer.state[given.network.w0]["momentum_buffer"] = torch.ones(1, 6)
    step(deep, [[-0.5, 0.9, -3.0, 0.0, 1.0, 0.0]])
    assert kept(deep) == 3
    assert deep.masks["w0"].tolist()[0][3:] in ([True, False, True], [True, True, True])
    if growth == "gradient":  # s g is -3 there
        assert deep.masks["w0"].tolist() == [[False, False, True, True, False, True]]
        assert given.network.w0.tolist()[0] == pytest.approx([0, 0, 1e-12, -1, 0, 1])
    assert not buffer[0, :3].any()
    assert not buffer[0, 4]  # whether or not it came back


def test_deep_r_grows_by_gradient_where_a_matrix_has_none():
    given = course([[0.05, 1.0, 1.0]], [[0.05, 1.0, 1.0]])
    deep = SPARSIFIERS["deepr"](given, 2 / 3, "layer", 0.0, 0.0, "gradient", rescale=False)
    force(deep, [[1, 1, 0]], [[1, 1, 0]])
    given.network.w0.grad = torch.tensor([[1.0, 0.0, -1.0]])
    given.network.w1.grad = None
    deep.after_backward()
    for weight in deep.weights:
        weight.data = torch.tensor([[-0.05, 1.0, 0.0]])
    deep.after_step()
    assert deep.masks["w0"].tolist() == [[False, True, True]]
    assert deep.masks["w1"].tolist() == [[True, True, False]]  # no place is better: the first


def test_deep_r_draws_by_seed_and_step():
    found = []
    for _ in range(2):
        torch.rand(3)  # of others
        given = course(torch.zeros(10, 12))
        deep = SPARSIFIERS["deepr"](given, 0.5, "layer", l1=0.0, temperature=1e-3)
        signs = deep.positive["w0"].clone()
        assert 0.3 < signs[deep.masks["w0"]].double().mean() < 0.7  # not by who may be non-zero
        for _ in range(3):
            step(deep, torch.zeros(10, 12))
        found.append((signs, deep.masks["w0"].clone(), given.network.w0.detach().clone()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_deep_r_remembers_its_signs():
    start = random(6, 6)
    start[0] = 0
    deep = SPARSIFIERS["deepr"](course(start), 0.5)
    signs = deep.positive["w0"]
    assert torch.equal(signs[1:], start[1:] > 0)
    assert 0 < signs[0].sum() < 6  # drawn
    other = SPARSIFIERS["deepr"](course(-start), 0.5)
    other.load_state_dict(copy.deepcopy(deep.state_dict()))
    assert torch.equal(other.positive["w0"], signs)
