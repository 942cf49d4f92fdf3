"""What goes beyond the publication: the exact readout, restarts, momentum and an active start."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
import torch

from snnbreg.admm import ADMM, readout
from snnbreg.admm import method as method_module
from snnbreg.admm.equations import Neuron, Penalties, heaviside, integrate, simulate
from snnbreg.admm.fits import Fits, Solver
from snnbreg.admm.readout import filtered, last_spikes
from snnbreg.admm.remedies import RATE, scale_to_fire
from snnbreg.admm.variables import Variables
from snnbreg.admm.weights import Gram, Senders
from snnbreg.models import SpikingNetwork
from snnbreg.optim.regularizers import get_regularizer
from snnbreg.training import TASKS
from snnbreg.training.processes import Processes

T, N, INPUTS, HIDDEN, CLASSES = 7, 9, 6, 8, 3
TASK = TASKS["last_squared_error"]
NEURON = Neuron(0.8, 0.7, 0.56)
SOLVER = Solver("fista", 1, get_regularizer("l1", (2, 2)).prox, 0.0)


def of(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def fitted(epochs: int, hidden: tuple[int, ...] = (HIDDEN,), **settings: Any) -> tuple[ADMM, Any]:
    """A method after some sweeps with the exact readout, and the last row."""
    torch.manual_seed(2)
    frames, labels = torch.rand(T, N, INPUTS).double() * 3, torch.arange(N) % CLASSES
    network = SpikingNetwork(
        INPUTS, CLASSES, hidden, recurrent=False, delays="none", bias=False, dropout=0.0,
        readout="leaky", tau=5.0, engine="reference",
    ).double()  # fmt: skip
    settings = {"init": "active", "readout": "exact", **settings}
    method = ADMM(network, TASK, Processes(), epochs, **settings)
    row: Any = None
    for number in range(epochs):
        row = method.epoch(number, [(frames, labels)], lambda: None)
    return method, row


def test_the_last_membranes_are_linear_in_the_filtered_spikes() -> None:
    torch.manual_seed(0)
    weight, spikes = of(CLASSES, HIDDEN), torch.rand(T, N, HIDDEN).double()
    last = integrate(spikes @ weight.T, 0.8)[-1]
    torch.testing.assert_close(filtered(spikes, 0.8) @ weight.T, last)


def test_last_spikes_have_no_gradient_left_before_they_are_clipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against autograd on the Lagrangian without output variables, written out step by step."""
    torch.manual_seed(1)
    z, current, weight = (
        torch.rand(T, N, HIDDEN).double() * 2,
        of(T, N, HIDDEN),
        of(CLASSES, HIDDEN),
    )
    target = torch.eye(CLASSES, dtype=torch.float64)[torch.arange(N) % CLASSES]
    rest = (0, NEURON, Penalties([1.3, 9.0], 0.4))
    clipped = last_spikes(weight, z, current, target, *rest)
    monkeypatch.setattr(torch.Tensor, "clamp_", lambda x, *_: x)
    a = last_spikes(weight, z, current, target, *rest).requires_grad_()
    membrane = torch.zeros(N, CLASSES, dtype=torch.float64)
    cost = 0.4 / 2 * (a - heaviside(z, 0.7)).square().sum()
    for t in range(T):
        membrane = 0.8 * membrane + a[t] @ weight.T
        if t:
            r = z[t] - 0.8 * z[t - 1] + 0.56 * a[t - 1] - current[t]
            cost = cost + 1.3 / 2 * r.square().sum()
    cost = cost + (membrane - target).square().sum()
    (gradient,) = torch.autograd.grad(cost, a)
    assert float(gradient.abs().max()) < 1e-12
    assert torch.equal(clipped, a.detach().clamp(0, 1))
    assert not torch.equal(clipped, a)


@pytest.mark.parametrize("restart", [0, 1])
def test_the_output_layer_is_the_ridge_regression_on_the_simulated_network(restart: int) -> None:
    method, row = fitted(3, (HIDDEN, 5), restart=restart, ridge=0.3)
    (batch,) = method.variables.batches
    spikes = simulate(method.weights, batch.frames.values @ method.weights[0].T, method.neuron)[1]
    features = filtered(spikes[-1], method.neuron.leak)
    features = torch.cat([features, 0.3**0.5 * torch.eye(5, dtype=torch.float64)])
    target = torch.cat([batch.target, torch.zeros(5, CLASSES, dtype=torch.float64)])
    expected = torch.linalg.lstsq(features, target).solution.T
    torch.testing.assert_close(method.weights[-1], expected)
    assert row["residual/2"] < 1e-14  # its membranes are no variables


@pytest.mark.parametrize(("restart", "restarted"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_restart_takes_the_states_of_the_simulated_network(restart: int, restarted: bool) -> None:
    """Penalties so large that states stay as they are; the last sweep is number 2."""
    method, _ = fitted(2, restart=restart)
    method.penalties = Penalties([1e12, 1.0], 1e12)
    method.epoch(2, [], lambda: None)
    (batch,) = method.variables.batches
    z, a = simulate(method.weights, batch.frames.values @ method.weights[0].T, method.neuron)
    same = torch.allclose(batch.z[0], z[0], atol=1e-6) and torch.equal(batch.a[0].round(), a[0])
    assert same == restarted


def test_layers_move_from_the_top_after_a_restart() -> None:
    """From states without residuals a lower layer moves only when the one above it has moved."""
    method, _ = fitted(1, (HIDDEN, 5, 6), restart=1, rho=0.01, beta=0.001)
    weights = [weight.clone() for weight in method.weights]
    method.epoch(1, [], lambda: None)
    (batch,) = method.variables.batches
    spikes = simulate(weights, batch.frames.values @ weights[0].T, method.neuron)[1]
    for a, true in zip(batch.a, spikes, strict=True):
        assert not torch.allclose(a, true, atol=1e-6)


def test_the_readout_is_fitted_before_the_first_sweep_asks_for_spikes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights drawn at random have nothing to ask for."""
    seen: list[torch.Tensor] = []

    def recorded(weight: torch.Tensor, z: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.extend([weight.clone(), heaviside(z, 1.0)])
        return last_spikes(weight, z, *rest)

    monkeypatch.setattr(method_module, "last_spikes", recorded)
    method, _ = fitted(1, restart=1, ridge=0.3)
    features = filtered(seen[1], method.neuron.leak)
    system = features.T @ features + 0.3 * torch.eye(HIDDEN, dtype=torch.float64)
    target = method.variables.batches[0].target
    torch.testing.assert_close(seen[0], torch.linalg.solve(system, features.T @ target).T)


def test_a_sweep_tells_its_loss_to_the_momentum() -> None:
    method, row = fitted(2, restart=1, momentum=0.9)
    assert method.fits.loss == row["train_loss"]


def test_the_readout_gets_more_steps_of_the_solver() -> None:
    torch.manual_seed(7)
    weights = [of(HIDDEN, INPUTS), of(CLASSES, HIDDEN)]
    start = weights[1].clone()
    senders, wanted = Senders(of(T, N, HIDDEN)), of(T, N, CLASSES)
    solver = SOLVER._replace(steps=2, lam=0.1)
    fits = Fits(weights, Processes(), 0.5, solver, 0.0, proximal=False, keep_first=True)
    fits.fit(1, [(senders, wanted)])
    products, lam = senders.products(wanted), 0.1 * T * N
    expected = Gram(senders.gram(), 0.5).fista(products, start, lam, solver.prox, 40)
    assert torch.equal(weights[1], expected)


@pytest.mark.parametrize(("form", "told"), [
    ("fast", "roughly 50.0 s per epoch, 2 minutes for 2"),
    ("published", "roughly 300.0 s per epoch, 10 minutes for 2"),
])  # fmt: skip
def test_time_is_told_before_the_first_sweep(
    form: str, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Variables, "forward_seconds", lambda _: 12.5)
    caplog.set_level(logging.INFO)
    fitted(2, readout="exact" if form == "fast" else "admm", form=form)
    assert told in caplog.text


@pytest.mark.parametrize("lam", [0.0, 0.05])
def test_momentum_moves_weights_on_and_leaves_their_zeros(lam: float) -> None:
    torch.manual_seed(4)
    weights = [of(HIDDEN, INPUTS), of(CLASSES, HIDDEN)]
    solver = Solver("fista", 4000, get_regularizer("l1", weights[0].shape).prox, lam)
    fits = Fits(weights, Processes(), 0.1, solver, 0.5, proximal=False, keep_first=True)
    first, second = Senders(of(T, N, INPUTS)), Senders(of(T, N, HIDDEN))
    wanted, output = of(T, N, HIDDEN), of(T, N, CLASSES)
    seen = [weights[0].clone()]
    for _ in range(3):
        fits.fit(0, [(first, wanted)])
        seen.append(weights[0].clone())
    changes = [after - before for before, after in itertools.pairwise(seen)]
    fits.fit(1, [(second, output)])
    once = weights[1].clone()
    fits.fit(1, [(second, output)])
    torch.testing.assert_close(weights[1], once, atol=1e-6, rtol=0)  # a readout has no momentum
    if lam == 0:  # the regression's solution, and half of the last change beyond it
        torch.testing.assert_close(changes[1], 0.5 * changes[0])
        torch.testing.assert_close(changes[2], 0.5 * changes[1] - 0.5 * changes[0])
    else:
        assert 0 < int(torch.count_nonzero(seen[-1])) < seen[-1].numel()


def test_every_layer_of_an_active_network_fires() -> None:
    torch.manual_seed(5)
    frames = torch.rand(T, 50, INPUTS).double() * 3
    weights = [of(40, INPUTS) / 50, of(40, 40) / 300, of(40, 40) / 300, of(CLASSES, 40)]
    before = [w.clone() for w in weights]
    assert not simulate(weights, frames @ weights[0].T, NEURON)[1][2].any()
    scale_to_fire(weights, frames @ weights[0].T, NEURON, lambda _: None)
    for spikes in simulate(weights, frames @ weights[0].T, NEURON)[1]:
        assert float(spikes.mean()) == pytest.approx(RATE, abs=0.01)
    assert torch.equal(weights[-1], before[-1])
    assert readout.decays(3, 0.5, torch.zeros(1)).tolist() == [0.25, 0.5, 1.0]
    ratio = weights[1] / before[1]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))


def test_momentum_ends_where_the_loss_grows() -> None:
    fits = Fits([of(2, 2), of(2, 2)], Processes(), 1.0, SOLVER, 0.9, proximal=True, keep_first=True)
    change = of(2, 2)
    for loss, kept in ((0.5, True), (0.4, True), (0.4, True), (0.41, False), (0.40, False)):
        fits.changes = [change] if kept or loss == 0.41 else fits.changes
        fits.heed(loss)
        assert bool(fits.changes[0].any()) == kept
    again = Fits(
        [of(2, 2), of(2, 2)], Processes(), 1.0, SOLVER, 0.9, proximal=True, keep_first=True
    )
    again.load(fits.state())
    assert again.loss == 0.40


@pytest.mark.parametrize("proximal", [True, False])
def test_the_ridge_pulls_to_the_last_weights_or_to_zero(proximal: bool) -> None:
    """Where the weights give what is wanted already, there is nothing to change."""
    torch.manual_seed(6)
    weights = [of(HIDDEN, INPUTS), of(CLASSES, HIDDEN)]
    before = weights[0].clone()
    senders = Senders(of(T, N, INPUTS))
    fits = Fits(weights, Processes(), 5.0, SOLVER, 0.0, proximal=proximal, keep_first=True)
    fits.fit(0, [(senders, senders.values @ before.T)])
    assert torch.allclose(weights[0], before, atol=1e-12) == proximal
    assert float(weights[0].norm()) <= float(before.norm()) + 1e-12
