"""The theorems of the Bregman learning paper (sections 3.1 and 3.2) along runs of LinBreg.

Where the paper's statement is about stochastic gradients but its proof needs g and the next iterate
to be independent (3.2), the full gradient is taken.
"""

import math

import pytest
import torch

from snnbreg.optim import (
    LinBreg,
    bregman_distance,
    elastic_net,
    symmetric_bregman_distance,
)

DELTA = 0.5


class Run:
    """LinBreg on a loss of one parameter, in float64."""

    def __init__(self, loss, theta, regularizer="l1", lam=0.5, delta=DELTA):
        self.theta = torch.nn.Parameter(torch.as_tensor(theta, dtype=torch.float64).clone())
        self.loss, self.settings = loss, (regularizer, lam, delta)
        self.optimizer = LinBreg([self.theta], lam=lam, delta=delta, regularizer=regularizer)
        self.value = self._evaluate()

    def _evaluate(self):
        self.theta.grad = None
        loss = self.loss(self.theta)
        loss.backward()
        return loss.item()

    def state(self):
        """Loss, theta, v and p = v - theta / delta, in the subdifferential of lam J."""
        theta, v = self.theta.detach().clone(), self.optimizer.dual(self.theta)
        return self.value, theta, v, v - theta / self.settings[2]

    def step(self, tau):
        self.optimizer.param_groups[0]["lr"] = tau
        self.optimizer.step()
        self.value = self._evaluate()
        return self.state()

    def distance(self, minimiser):
        """D^v of the elastic net, from theta to the minimiser of the loss."""
        name, lam, delta = self.settings
        _, theta, v, _ = self.state()
        return bregman_distance(name, minimiser, theta, v, lam, delta).item()


def least_squares(shape=(5, 4), rows=20, nonnegative=False):
    """A strongly convex loss ||A theta - b||^2 / (2 rows) with its mu, L and minimiser."""
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(rows, shape[0], generator=generator, dtype=torch.float64)
    minimiser = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    minimiser *= torch.rand(shape, generator=generator) < 0.6
    minimiser = minimiser.abs() if nonnegative else minimiser
    values = torch.linalg.svdvals(a).square() / rows
    target = a @ minimiser
    return (
        lambda theta: (a @ theta - target).square().sum() / (2 * rows),
        values.min().item(),
        values.max().item(),
        minimiser,
    )


def nonconvex(shape=(5, 4), rows=20):
    """Sum of log(1 + r^2) of residuals: not convex, its gradient 2 ||A||^2-Lipschitz."""
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(rows, shape[0], generator=generator, dtype=torch.float64)
    b = 3 * torch.randn(rows, shape[1], generator=generator, dtype=torch.float64)
    lipschitz = 2 * torch.linalg.matrix_norm(a, 2).item() ** 2
    return lambda theta: torch.log1p((a @ theta - b).square()).sum(), lipschitz


REGULARIZED = pytest.mark.parametrize(
    "regularizer",
    ["l1", "l1_nonneg", "nuclear", "group_rows", "group_blocks:2x3", "l1+group_columns"],
)


@REGULARIZED
@pytest.mark.parametrize("delta", [1.0, 0.5])
def test_lemma_b_1_splits_the_bregman_distance(regularizer, delta):
    torch.manual_seed(0)
    theta, other = torch.rand(2, 5, 4, dtype=torch.float64)
    theta[0], other[:, 1] = 0, 0
    run = Run(lambda theta: theta.sum(), theta, regularizer, 0.7, delta)
    _, _, v, p = run.state()
    whole = bregman_distance(regularizer, other, theta, v, 0.7, delta)
    of_j = bregman_distance(regularizer, other, theta, p, 0.7)
    torch.testing.assert_close(whole, of_j + (other - theta).square().sum() / (2 * delta))
    assert of_j >= -1e-14
    assert bregman_distance(regularizer, theta, theta, v, 0.7, delta) == 0
    second = Run(lambda theta: theta.sum(), other, regularizer, 0.7, delta).state()[2]
    back = bregman_distance(regularizer, theta, other, second, 0.7, delta)
    both = symmetric_bregman_distance(other, theta, second, v)
    torch.testing.assert_close(both, whole + back)


@REGULARIZED
@pytest.mark.parametrize("relative_step", [0.5, 1.0, 1.99])
@pytest.mark.parametrize("convex", [True, False])
def test_theorem_3_2_the_loss_decays(regularizer, relative_step, convex):
    """L(k+1) + D_sym / tau + (2 - L tau delta) / (2 tau delta) ||step||^2 <= L(k), (3.6)."""
    loss, lipschitz = least_squares()[::2] if convex else nonconvex()
    tau = relative_step / (DELTA * lipschitz)
    run = Run(loss, torch.zeros(5, 4), regularizer)
    value, theta, _, p = run.state()
    first = value
    for _ in range(60):
        new_value, new_theta, _, new_p = run.step(tau)
        distance = symmetric_bregman_distance(new_theta, theta, new_p, p).item()
        factor = (2 - lipschitz * tau * DELTA) / (2 * tau * DELTA)
        decay = distance / tau + factor * (new_theta - theta).square().sum().item()
        assert distance >= -1e-12
        assert new_value + decay <= value * (1 + 1e-12)
        value, theta, p = new_value, new_theta, new_p
    assert value < 0.9 * first


def test_theorem_3_2_beyond_its_step_size_the_loss_may_grow():
    """One weight far from zero moves as under gradient descent: 2 / (delta L) is the limit."""
    grows = []
    for relative_step in (1.99, 2.01):
        run = Run(lambda theta: 1.5 * (theta - 9).square().sum(), [8.0])  # L = 3
        first = run.value
        grows.append(run.step(relative_step / (3 * DELTA))[0] > first)
    assert grows == [False, True]


@REGULARIZED
def test_corollary_3_3_distances_and_steps_are_summable(regularizer):
    """With changing steps below 2 / (delta L), the sums stay below what the loss can fall."""
    loss, lipschitz = nonconvex()
    largest = 1.8 / (DELTA * lipschitz)
    constant = (2 - largest * DELTA * lipschitz) / (2 * DELTA)
    run = Run(loss, torch.zeros(5, 4), regularizer)
    first, theta, _, p = run.state()
    distances = steps = 0.0
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        tau = largest * (0.1 + 0.9 * torch.rand((), generator=generator).item())
        value, new_theta, _, new_p = run.step(tau)
        distances += symmetric_bregman_distance(new_theta, theta, new_p, p).item() / tau
        steps += (new_theta - theta).square().sum().item() / tau
        theta, p = new_theta, new_p
        assert distances + constant * steps <= first - value + 1e-9
    assert steps > 0.01


@REGULARIZED
@pytest.mark.parametrize("start", ["zero", "dense"])
def test_theorem_3_7_the_iterates_converge_to_the_minimiser(regularizer, start):
    """With tau = mu / (L^2 delta), whatever J: the distance never grows (3.10), theta converges."""
    loss, mu, lipschitz, minimiser = least_squares(nonnegative="nonneg" in regularizer)
    theta = torch.ones(5, 4) if start == "dense" else torch.zeros(5, 4)
    run = Run(loss, theta, regularizer)
    tau = mu / (lipschitz**2 * DELTA)
    distance = run.distance(minimiser)
    for _ in range(250):
        _, theta, *_ = run.step(tau)
        new_distance = run.distance(minimiser)
        drop = mu / 4 * tau * (theta - minimiser).square().sum().item()  # of the proof
        assert new_distance + drop <= distance + 1e-12
        distance = new_distance
    assert (theta - minimiser).norm() < 0.02 * minimiser.norm()


def test_theorem_3_7_with_noise_and_decreasing_steps():
    """Each column is a run of its own with one random row per step; steps c / k, not summable."""
    generator = torch.Generator().manual_seed(0)
    rows, runs = 20, 30
    a = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    b = a @ torch.tensor([2.0, 0, -1.0, 0], dtype=torch.float64)
    b += 0.2 * torch.randn(rows, generator=generator, dtype=torch.float64)
    minimiser = torch.linalg.lstsq(a, b[:, None]).solution
    values = torch.linalg.svdvals(a).square() / rows
    limit = (values.min() / (values.max() ** 2 * DELTA)).item()

    def loss(theta):
        drawn = torch.randint(rows, (runs,), generator=generator)
        return ((a[drawn] * theta.t()).sum(1) - b[drawn]).square().sum() / 2

    run = Run(loss, torch.zeros(4, runs), lam=0.3)
    errors = [run.theta.detach().sub(minimiser).norm(dim=0).mean().item()]
    for k in range(1, 601):
        run.step(min(limit, 12 / k))
        if k in (60, 600):
            errors.append(run.theta.detach().sub(minimiser).norm(dim=0).mean().item())
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_theorem_3_8_rate_in_the_bregman_distance(power):
    """Near the minimiser, where assumption 3 holds with nu = mu delta (remark 3.1).

    Steps tau / k^power: d(k+1) <= (1 - tau nu) d(k) + tau a(k), where a(k) is the null sequence of
    the proof, and d(k) = O(exp(-c sum tau)).
    """
    loss, mu, lipschitz, minimiser = least_squares()
    nu, name, lam = mu * DELTA, "l1", 0.5
    largest = minimiser[minimiser != 0].abs().min()
    near = minimiser + 0.5 * largest * torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    run = Run(loss, near, name, lam)
    first = distance = run.distance(minimiser)
    total, nulls = 0.0, []
    for k in range(1, 301):
        tau = 0.5 / (DELTA * lipschitz) / k**power
        value, theta, _, p = run.state()
        slope = (run.theta.grad * (minimiser - theta)).sum().item()
        assert bregman_distance(name, minimiser, theta, p, lam).item() == pytest.approx(
            0, abs=1e-12
        )
        assert value + slope + nu * distance <= 1e-12  # assumption 3, the least loss being 0
        _, new_theta, new_v, _ = run.step(tau)
        back = bregman_distance(name, theta, new_theta, new_v, lam, DELTA).item()  # tau a(k)
        new_distance = run.distance(minimiser)
        assert new_distance <= (1 - tau * nu) * distance + back + 1e-14
        assert new_distance == pytest.approx(distance + back + tau * slope, abs=1e-12)  # (B.2)
        distance, total = new_distance, total + tau
        nulls.append(back / tau)
        assert distance <= first * math.exp(-nu * total) + 1e-14
    assert nulls[-1] < 1e-2 * nulls[0]
    assert distance < 0.1 * first


@pytest.mark.parametrize("start", [3.0, 0.2, 0.0, -1.0, -2.0])
def test_example_3_6_no_convergence_to_a_critical_point(start):
    """L = (theta + 1)^2 with theta >= 0: theta becomes 0, where the slope is 2."""
    run = Run(lambda theta: (theta + 1).square().sum(), [start], "l1_nonneg", lam=0.0)
    for _ in range(100):
        _, theta, v, _ = run.step(0.2)
    assert theta.item() == 0
    assert run.theta.grad.item() == 2
    assert v.item() < -10


SINGULAR = torch.tensor([[5.0, 0, 0], [0, -2.0, 0], [0, 0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("regularizer", "target", "sizes"),
    [
        ("l1", [[1.0, -5.0, 2.0]], {(0, 1): 5, (0, 2): 2, (0, 0): 1}),
        ("l1_nonneg", [[1.0, -5.0, 2.0]], {(0, 2): 2, (0, 0): 1}),
        # in the order of ||g|| / sqrt(n): the first row has larger entries than the second one's
        ("group_rows", [[3.0, 0.0, 0.0], [2.0, 2.0, 2.0]], {(1, 0): 2, (0, 0): 3**0.5}),
        ("group_columns", [[3.0, 0.3], [4.0, 0.4]], {(0, 0): 12.5**0.5, (0, 1): 0.125**0.5}),
    ],
)
def test_inverse_scale_space_large_features_enter_first(regularizer, target, sizes):
    """Of L = ||theta - f||^2 / 2 a feature of size f enters at the time lam / f, from zero."""
    tau, lam = 0.01, 1.0
    target = torch.tensor(target, dtype=torch.float64)
    start = torch.zeros(target.shape)
    run = Run(lambda theta: (theta - target).square().sum() / 2, start, regularizer, lam, 1.0)
    entered = {}
    for k in range(1, 400):
        _, theta, *_ = run.step(tau)
        for index in theta.nonzero().tolist():
            entered.setdefault(tuple(index), k * tau)
    assert {index: entered[index] for index in sizes} == pytest.approx(
        {index: lam / size for index, size in sizes.items()}, abs=1.01 * tau
    )
    times = [entered[index] for index in sizes]
    assert times == sorted(times)
    assert entered.keys() >= sizes.keys()


def test_inverse_scale_space_of_the_nuclear_norm_adds_rank():
    run = Run(
        lambda theta: (theta - SINGULAR).square().sum() / 2, torch.zeros(3, 3), "nuclear", 1.0, 1.0
    )
    ranks = []
    for _ in range(130):
        _, theta, *_ = run.step(0.01)
        ranks.append(int(torch.linalg.matrix_rank(theta)))
    assert [ranks.index(rank) + 1 for rank in (1, 2, 3)] == pytest.approx([20, 50, 100], abs=1.01)
    assert ranks == sorted(ranks)


def test_elastic_net_is_what_the_weights_minimise():
    """theta minimises the elastic net less <v, theta> (2.7)."""
    loss, _, lipschitz, _ = least_squares()
    run = Run(loss, torch.zeros(5, 4), "l1+group_rows")
    for _ in range(20):
        _, theta, v, _ = run.step(1 / (DELTA * lipschitz))
    others = theta + torch.randn(300, 5, 4, generator=torch.Generator().manual_seed(0)) * 0.1

    def energy(point):
        return elastic_net("l1+group_rows", point, 0.5, DELTA) - (v * point).sum()

    assert all(energy(other) > energy(theta) for other in others)
