"""Recurrent layers whose weights are mostly zero, and training steps that move the zeros."""

import pytest
import torch

from snnbreg import functional
from snnbreg.functional import LIFParameters
from snnbreg.kernels import cpu
from snnbreg.kernels.cpu import autograd, matrices
from snnbreg.models import SpikingNetwork
from snnbreg.optim import AdaBreg

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def sparse_problem(oracles, density, **case):
    """A problem with a share of its weights, at least one of them."""
    arguments, weighting = oracles.problem(**case)
    generator = torch.Generator().manual_seed(1)
    kept = torch.rand(arguments["weight"].shape, generator=generator) < density
    kept[-1, 0] = density > 0
    arguments["weight"] *= kept / max(density, 0.02) ** 0.5
    return arguments, weighting


@pytest.mark.parametrize("density", [0.0, 1e-9, 0.1, 0.35, 1.0])
@pytest.mark.parametrize(
    "case",
    [
        {"B": 1, "N": 1},
        {"B": 15, "N": 3, "mask": False},
        {"B": 16, "N": 16},
        {"B": 17, "N": 17, "sigma": 0.0, "drive": 0.6},  # few delayed spikes
        {"B": 33, "N": 35, "sigma": 25.0},  # three tiles: two together, one of a single sample
        {"B": 50, "N": 18, "drive": 400.0},  # everybody fires
        {"B": 33, "N": 35, "drive": 0.0},  # nobody
    ],
    ids=str,
)
def test_equals_the_reference_at_every_density(oracles, case, density):
    oracles.assert_equals_reference(cpu, *sparse_problem(oracles, density, **case))


def test_weights_that_are_zero_have_their_gradient(oracles):
    arguments, weighting = sparse_problem(oracles, 0.05, N=35, B=20)
    assert matrices.pack(arguments["weight"]).start.size
    _, grads = oracles.assert_equals_reference(cpu, arguments, weighting)
    zeros = grads["weight"][arguments["weight"] == 0]
    assert len(zeros) > 1000
    assert (zeros != 0).float().mean() > 0.9


@DTYPES
@pytest.mark.parametrize("B", [1, 17, 33, 50])
def test_skipping_zeros_of_weights_changes_no_bit_of_spikes_and_current(
    oracles, monkeypatch, B, dtype
):
    arguments, weighting = sparse_problem(oracles, 0.1, B=B, N=35, dtype=dtype)
    spikes, grads = oracles.run(cpu, arguments, weighting)
    monkeypatch.setattr(matrices, "MOST_WEIGHTS", 0.0)
    expected, expected_grads = oracles.run(cpu, arguments, weighting)
    assert 0 < spikes.mean() < 0.9
    assert torch.equal(spikes, expected)
    assert torch.equal(grads["current"], expected_grads["current"])
    oracles.assert_close(grads, expected_grads, 1e-5 if dtype == torch.float32 else 1e-12)


@DTYPES
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_skipping_zeros_of_delayed_spikes_changes_no_bit(oracles, monkeypatch, density, dtype):
    case = {"B": 50, "N": 35, "T": 40, "sigma": 0.0, "whole": True, "drive": 0.7, "dtype": dtype}
    arguments, weighting = sparse_problem(oracles, density, **case)
    found = {}
    for most in (0.0, 2.0):  # never, always
        monkeypatch.setattr(autograd, "MOST_DELAYED", most)
        found[most] = oracles.run(cpu, arguments, weighting)
    assert 0.02 < found[0.0][0].mean() < 0.6
    for name, grad in found[0.0][1].items():
        assert torch.equal(grad, found[2.0][1][name]), name


@DTYPES
def test_the_same_bits_again_with_several_threads(oracles, dtype):
    arguments, weighting = sparse_problem(oracles, 0.1, B=90, N=18, dtype=dtype)
    spikes, grads = oracles.run(cpu, arguments, weighting)
    torch.set_num_threads(3)
    several, several_grads = oracles.run(cpu, arguments, weighting)
    again, grads_again = oracles.run(cpu, arguments, weighting)
    assert torch.equal(several, spikes)
    assert torch.equal(several, again)
    assert all(torch.equal(several_grads[name], grads_again[name]) for name in grads)
    oracles.assert_close(several_grads, grads, 1e-4 if dtype == torch.float32 else 1e-9)


def test_the_support_may_move_between_steps(oracles):
    arguments, weighting = sparse_problem(oracles, 0.1, B=20, N=35)
    generator = torch.Generator().manual_seed(2)
    for density in (0.1, 0.02, 0.5, 0.9, 0.3):
        kept = torch.rand(arguments["weight"].shape, generator=generator) < density
        arguments["weight"].copy_(kept * 0.3)  # the same tensor
        oracles.assert_equals_reference(cpu, arguments, weighting, LIFParameters(0.5, 1.0))


def train(network, optimizer, steps, batches):
    """Some steps; returns the densities of the weights on the way."""
    densities = []
    for number in steps:
        torch.manual_seed(number)  # of dropout, as a resumed run restores it
        optimizer.zero_grad()
        network(batches[number]).square().mean().backward()
        optimizer.step()
        weights = torch.cat([weight.detach().flatten() for _, weight, _ in network.synapses()])
        densities.append(float((weights != 0).float().mean()))
    return densities


def fresh(engine="auto"):
    """A small sparse network and its optimizer."""
    torch.manual_seed(0)
    network = SpikingNetwork(12, 4, (35, 20), sigma=2.0, threshold=0.3, engine=engine)
    with torch.no_grad():
        for _, weight, _ in network.synapses():
            weight.mul_(3 * (torch.rand_like(weight) < 0.5))
    return network, AdaBreg(network.parameters(), lr=0.02, lam=0.2)


def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one():
    batches = (torch.rand(8, 25, 18, 12) < 0.2).float()
    network, optimizer = fresh()
    densities = train(network, optimizer, range(8), batches)
    assert len(set(densities)) > 3  # the support moves
    first, first_optimizer = fresh()
    train(first, first_optimizer, range(4), batches)
    second, second_optimizer = fresh()
    second.load_state_dict(first.state_dict())
    second_optimizer.load_state_dict(first_optimizer.state_dict())
    train(second, second_optimizer, range(4, 8), batches)
    for expected, found in zip(network.parameters(), second.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_a_step_in_float64_is_that_of_the_readable_form():
    batches = (torch.rand(1, 25, 18, 12) < 0.2).double()
    grads = []
    for engine in ("cpu", "reference"):
        network, _ = fresh(engine)
        network.double()
        torch.manual_seed(0)
        network(batches[0]).square().mean().backward()
        grads.append([parameter.grad for parameter in network.parameters()])
    assert functional.linear is not cpu.linear
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
