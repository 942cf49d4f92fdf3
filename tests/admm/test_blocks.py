"""Block updates: minimisers of the Lagrangian, checked by autograd and by brute force."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from snnbreg.admm import blocks, published
from snnbreg.admm.equations import (
    Neuron,
    Penalties,
    drive,
    heaviside,
    lagrangian_terms,
    simulate,
)
from snnbreg.admm.weights import Gram, Senders, SparseSenders, senders_of

T, N, SIZES = 6, 4, (5, 7, 6, 3)  # inputs, two hidden layers, classes
NEURONS = [Neuron(0.95, 1.0, 1.0), Neuron(0.8, 0.7, 0.56)]  # as published; a soft reset of ours


@dataclass
class Problem:
    """All variables of a small network, float64."""

    neuron: Neuron
    penalties: Penalties
    weights: list[Tensor]
    frames: Tensor
    target: Tensor
    z: list[Tensor]
    a: list[Tensor]
    dual: Tensor

    def lagrangian(self, **changed: Any) -> Tensor:
        """The Lagrangian, with some variables exchanged."""
        v = {**self.__dict__, **changed}
        currents = [s @ w.T for s, w in zip([v["frames"], *v["a"]], v["weights"], strict=True)]
        terms = lagrangian_terms(currents, v["z"], v["a"], v["dual"], v["target"], v["neuron"])
        return terms.lagrangian(v["penalties"])

    def with_(self, name: str, layer: int, value: Tensor) -> Tensor:
        """The Lagrangian with one layer's variable exchanged."""
        values = list(getattr(self, name))
        values[layer] = value
        return self.lagrangian(**{name: values})

    def gradient(self, name: str, layer: int) -> Tensor:
        """Of the Lagrangian in one variable."""
        x = getattr(self, name)[layer].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.with_(name, layer, x), x)
        return gradient

    def current(self, layer: int) -> Tensor:
        """W a of a layer."""
        return [self.frames, *self.a][layer] @ self.weights[layer].T

    def wanted(self, layer: int) -> Tensor:
        """What a layer's current should be."""
        if layer < len(self.a):
            return drive(self.z[layer], self.a[layer], self.neuron)
        return drive(self.z[layer], None, self.neuron) + self.dual / self.penalties.rho[-1]


@pytest.fixture(params=NEURONS, ids=["published", "ours"])
def problem(request: pytest.FixtureRequest) -> Problem:
    torch.manual_seed(3)
    double = torch.float64
    weights = [torch.randn(n, m, dtype=double) / 2 for m, n in itertools.pairwise(SIZES)]
    z = [torch.rand(T, N, n, dtype=double) * 2 for n in SIZES[1:]]
    a = [torch.rand(T, N, n, dtype=double) for n in SIZES[1:-1]]
    target = torch.eye(3, dtype=double)[torch.randint(3, (N,))]
    frames, dual = torch.rand(T, N, SIZES[0], dtype=double), torch.randn(T, N, 3, dtype=double)
    penalties = Penalties([1.3, 0.7, 2.1], 0.4)
    return Problem(request.param, penalties, weights, frames, target, z, a, dual)


def test_the_lagrangian_is_the_published_formula(problem: Problem) -> None:
    """A literal loop over samples, layers and steps."""
    p, total = problem, 0.0
    leak, threshold, reset = p.neuron
    for n in range(N):
        total += float((p.z[-1][-1, n] - p.target[n]).square().sum())
        for layer in range(3):
            senders = [p.frames, *p.a][layer]
            for t in range(T):
                r = p.z[layer][t, n] - p.weights[layer] @ senders[t, n]
                if t > 0:
                    r = r - leak * p.z[layer][t - 1, n]
                    r = r + reset * p.a[layer][t - 1, n] if layer < 2 else r
                total += p.penalties.rho[layer] / 2 * float(r @ r)
                if layer < 2:
                    gap = p.a[layer][t, n] - (p.z[layer][t, n] > threshold).double()
                    total += p.penalties.beta / 2 * float(gap @ gap)
                else:
                    total += float(p.dual[t, n] @ r)
    assert float(p.lagrangian()) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_weights_have_no_gradient_left(problem: Problem, layer: int) -> None:
    senders = Senders([problem.frames, *problem.a][layer])
    gram, products = senders.gram(), senders.products(problem.wanted(layer))
    for ridge in (0.0, 0.7):
        weight = Gram(gram, ridge).solve(products)
        problem.weights[layer] = weight
        left = problem.gradient("weights", layer) + problem.penalties.rho[layer] * ridge * weight
        assert float(left.abs().max()) < 1e-9


@pytest.mark.parametrize("layer", [0, 1])
def test_spikes_have_no_gradient_left_before_they_are_clipped(
    problem: Problem, layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second layer there are fewer receivers than senders: by Woodbury's formula."""
    p = problem
    arguments = (
        p.wanted(layer + 1), p.weights[layer + 1], p.z[layer], p.current(layer), layer,
        p.neuron, p.penalties,
    )  # fmt: skip
    clipped = blocks.spikes(*arguments)
    monkeypatch.setattr(torch.Tensor, "clamp_", lambda x, *_: x)
    free = blocks.spikes(*arguments)
    p.a[layer] = free
    assert float(p.gradient("a", layer).abs().max()) < 1e-10
    assert torch.equal(clipped, free.clamp(0, 1))
    assert not torch.equal(clipped, free)


def test_output_membranes_have_no_gradient_left(problem: Problem) -> None:
    p = problem
    p.z[2] = blocks.output_membranes(p.current(2), p.dual, p.target, p.neuron.leak, 2.1)
    assert float(p.gradient("z", 2).abs().max()) < 1e-10


def test_the_dual_variable_becomes_twice_the_error(problem: Problem) -> None:
    """Right after the output's update, with a multiplier at the last step alone."""
    p = problem
    p.dual[:-1] = 0
    z = blocks.output_membranes(p.current(2), p.dual, p.target, p.neuron.leak, 2.1)
    new = (p.dual + 2.1 * (drive(z, None, p.neuron) - p.current(2)))[-1]
    torch.testing.assert_close(new, 2 * (p.target - z[-1]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
def test_no_membrane_can_be_better(problem: Problem, layer: int) -> None:
    """Against 801 other values of every membrane at one step, on the Lagrangian itself."""
    p = problem
    before = p.z[layer].clone()
    z = blocks.membranes(
        before, p.a[layer], p.current(layer), layer, p.neuron, Penalties([1.3, 0.7, 2.1], 2.0)
    )
    p.penalties.beta = 2.0
    parked = (z == p.neuron.threshold) | (z == p.neuron.threshold * (1 + blocks.MARGIN))
    assert 3 < int(parked.sum()) < z.numel()
    grid = torch.linspace(-3, 5, 801, dtype=torch.float64)
    for t in range(1, T, 2):  # updated last, so that their neighbours are those they saw
        own = _separate(p, layer, t, z, z[t : t + 1])
        best = torch.stack(
            [_separate(p, layer, t, z, torch.full_like(z[t : t + 1], float(x))) for x in grid]
        )
        assert bool((own <= best.amin(0) + 1e-4).all())  # the margin costs a little


def _separate(p: Problem, layer: int, t: int, z: Tensor, value: Tensor) -> Tensor:
    """The part of the Lagrangian in which each membrane of one step occurs, entry by entry."""
    z = torch.cat([z[:t], value, z[t + 1 :]])
    r = (drive(z, p.a[layer], p.neuron) - p.current(layer)).square()
    gap = (p.a[layer] - heaviside(z, p.neuron.threshold)).square()
    return p.penalties.rho[layer] / 2 * r.sum(0) + p.penalties.beta / 2 * gap.sum(0)


@pytest.mark.parametrize(("free", "a", "expected"), [
    (1.1, 0.0, 1.0),  # beta = 0.1: worth 0.05 and 0.5 * 0.01: it does not spike
    (1.1, 1.0, 1.1),
    (0.9, 0.0, 0.9),
    (0.9, 1.0, 1.0 + 1e-5),
    (1.4, 0.0, 1.4),  # too far away: 0.05 against 0.08
    (0.6, 1.0, 0.6),
    (1.2, 0.25, 1.0),  # 0.1 * 0.5 > 0.04
    (1.2, 0.35, 1.2),  # 0.1 * 0.3 < 0.04
])  # fmt: skip
def test_membranes_snap_to_the_threshold_where_it_pays(
    free: float, a: float, expected: float
) -> None:
    tensors = torch.tensor([free], dtype=torch.float64), torch.tensor([a], dtype=torch.float64)
    z = blocks.snapped(*tensors, 1.0, NEURONS[0], 0.1)
    assert float(z) == pytest.approx(expected, abs=1e-12)


def test_the_snap_is_nearer_where_two_residuals_pull() -> None:
    """Within sqrt(beta / (rho kappa)): 0.229 before the last step and 0.316 at it."""
    z = torch.full((3, 1, 1), 0.0, dtype=torch.float64)
    a, current = torch.ones_like(z), torch.full_like(z, 0.75)
    neuron, penalties = Neuron(0.95, 1.0, 0.0), Penalties([1.0, 1.0], 0.1)
    last = blocks.membranes(z, a, current, 0, neuron, penalties)[-1]  # free: 0.75 + leak z
    assert float(blocks.membranes(z[:1], a[:1], current[:1], 0, neuron, penalties)) > 1
    assert float(last) != pytest.approx(0.75)
    kappa = 1 + 0.95**2
    for free, curvature, snaps in ((0.78, kappa, True), (0.76, kappa, False),
                                   (0.69, 1.0, True), (0.68, 1.0, False)):  # fmt: skip
        found = blocks.snapped(torch.tensor(free), torch.tensor(1.0), curvature, neuron, 0.1)
        assert (float(found) > 1) is snaps


def test_fast_blocks_are_the_published_steps_in_another_order(problem: Problem) -> None:
    """One step at a time with fresh membranes: every spike first, then even and odd steps."""
    p = problem
    rest = (0, p.neuron, p.penalties)
    above, weight, current = p.wanted(1), p.weights[1], p.current(0)
    a = blocks.spikes(above, weight, p.z[0], current, *rest)
    z = blocks.membranes(p.z[0], a, current, *rest)
    expected_a, expected_z = p.a[0].clone(), p.z[0].clone()
    for t in range(T):  # as the first of the published steps it has seen no other's update
        order = torch.tensor([t, *(s for s in range(T - 1) if s != t)])
        steps = published.hidden_steps(
            above, weight, p.z[0], p.a[0], current, 0, order if t < T - 1 else order[:0],
            p.neuron, p.penalties,
        )  # fmt: skip
        expected_a[t] = steps[1][t]
    torch.testing.assert_close(a, expected_a, atol=1e-12, rtol=0)
    for t in (*range(0, T, 2), *range(1, T, 2)):
        q = current[t]
        if t > 0:
            q = q + p.neuron.leak * expected_z[t - 1] - p.neuron.reset * a[t - 1]
        free, kappa = q, 1.0
        if t < T - 1:
            ahead = expected_z[t + 1] - current[t + 1]
            kappa = 1 + p.neuron.leak**2
            free = (q + p.neuron.leak * (ahead + p.neuron.reset * a[t])) / kappa
        for n, i in itertools.product(range(N), range(SIZES[1])):
            expected_z[t, n, i] = _subroutine(float(free[n, i]), float(a[t, n, i]), kappa, p)
    torch.testing.assert_close(z, expected_z, atol=1e-12, rtol=0)


def _subroutine(free: float, a: float, kappa: float, p: Problem) -> float:
    """Algorithm 1, one number."""
    rho, beta, threshold = p.penalties.rho[0], p.penalties.beta, p.neuron.threshold
    difference = -rho * kappa * (free - threshold) ** 2
    if free > threshold and beta * (1 - 2 * a) + difference > 0:
        return threshold
    if free <= threshold and -beta * (1 - 2 * a) + difference > 0:
        return threshold * (1 + blocks.MARGIN)
    return free


def test_published_output_steps_lead_to_the_tridiagonal_solution(problem: Problem) -> None:
    p = problem
    z, order = p.z[2], torch.randperm(T - 1)
    rest = (p.current(2), p.dual, p.target)
    exact = blocks.output_membranes(*rest, p.neuron.leak, 2.1)
    for _ in range(400):
        z = published.output_steps(z, *rest, order, p.neuron.leak, 2.1)
    torch.testing.assert_close(z, exact, atol=1e-10, rtol=0)


def test_stale_membranes_are_those_before_the_sweep(problem: Problem) -> None:
    """Backwards in time: the first step is the same, then the next one's membranes have moved."""
    p = problem
    rest = (p.wanted(1), p.weights[1], p.z[0], p.a[0], p.current(0), 0)
    order = torch.arange(T - 1).flip(0)
    fresh, stale = (
        published.hidden_steps(*rest, order, p.neuron, p.penalties, stale=stale)[1]
        for stale in (False, True)
    )
    assert torch.equal(fresh[-2], stale[-2])
    assert not torch.equal(fresh[-3], stale[-3])
    block = blocks.spikes(*rest[:3], p.current(0), 0, p.neuron, p.penalties)
    torch.testing.assert_close(stale, block, atol=1e-12, rtol=0)


def test_the_states_of_the_true_network_have_no_residual(problem: Problem) -> None:
    p = problem
    z, a = simulate(p.weights, p.frames @ p.weights[0].T, p.neuron)
    currents = [s @ w.T for s, w in zip([p.frames, *a], p.weights, strict=True)]
    terms = lagrangian_terms(currents, z, a, p.dual, p.target, p.neuron)
    assert max(float(x) for x in (*terms.membranes, *terms.spikes)) < 1e-24
    assert 0 < float(a[0].mean()) < 1


def test_sparse_frames_multiply_as_dense_ones() -> None:
    torch.manual_seed(0)
    frames = torch.poisson(torch.full((5, 6, 30), 0.01)).double()
    dense, sparse = Senders(frames), senders_of(frames)
    assert isinstance(sparse, SparseSenders)
    assert type(senders_of(frames + 1)) is Senders
    wanted, weight = torch.randn(5, 6, 4).double(), torch.randn(4, 30).double()
    torch.testing.assert_close(sparse.current(weight), dense.current(weight))
    torch.testing.assert_close(sparse.products(wanted), dense.products(wanted))
    torch.testing.assert_close(sparse.gram(), dense.gram())
