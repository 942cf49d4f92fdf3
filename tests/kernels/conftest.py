"""Problems on which an engine is compared with the reference."""

import sys

import pytest
import torch

from snnbreg import functional
from snnbreg.functional import LIFParameters


def problem(
    T=30,
    B=5,
    N=7,
    synaptic=False,
    sigma=3.0,
    scalar=False,
    reach=8.0,
    lowest=0.0,
    whole=False,
    mask=True,
    drive=0.9,
    dtype=torch.float64,
):
    """Random arguments of delayed_recurrence, and a weighting of the spikes."""
    options = {"generator": torch.Generator().manual_seed(T + 10 * B + N), "dtype": dtype}
    delay = lowest + reach * torch.rand((N, N) if synaptic else (N,), **options)
    width = 1 + sigma * (torch.ones(()).to(dtype) if scalar else torch.rand(N, **options))
    arguments = {
        "current": drive * torch.rand(T, B, N, **options),
        "weight": 2 * torch.randn(N, N, **options) / N**0.5,
        "delay": delay.round() if whole else delay,
        "half_width": width.round() if whole else width,
        "mask": 2 * torch.rand(B, N, **options).round() if mask else None,
    }
    return arguments, torch.randn(T, B, N, **options)


def run(engine, arguments, weighting, lif=LIFParameters()):  # noqa: B008
    """Spikes, and the gradients of their weighted sum."""
    leaves = {
        name: value.clone().requires_grad_(name != "mask")
        for name, value in arguments.items()
        if value is not None
    }
    spikes = engine.delayed_recurrence(**leaves, neuron=lif)
    (spikes * weighting).sum().backward()
    leaves.pop("mask", None)
    zeros = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return spikes.detach(), {
        name: zeros[name] if leaf.grad is None else leaf.grad for name, leaf in leaves.items()
    }


def assert_close(grads, expected, tolerance):
    """Each gradient, relative to its own largest entry."""
    for name, grad in grads.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            grad,
            expected[name],
            rtol=0,
            atol=tolerance * scale,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_equals_reference(engine, arguments, weighting, lif=LIFParameters()):  # noqa: B008
    """In float64: the same spikes, and gradients to 1e-9. Returns both."""
    expected_spikes, expected = run(functional, arguments, weighting, lif)
    spikes, grads = run(engine, arguments, weighting, lif)
    assert torch.equal(spikes, expected_spikes)
    assert_close(grads, expected, 1e-9)
    return spikes, grads


def membranes(spikes, current, weight, delay, half_width, mask, lif):
    """Membranes H of neurons that are made to fire as given, in float64, sums written out."""
    arguments = (current, weight, delay, half_width, spikes)
    current, weight, delay, half_width, spikes = (x.double() for x in arguments)
    T = len(current)
    kernel = functional.delay_kernel(delay, half_width, T)
    if delay.ndim == 1:
        kernel = kernel[:, None, :]
    trace, v = [], torch.zeros_like(current[0])
    for t in range(T):
        arrived = torch.zeros_like(v)
        for k in range(1, t + 1):
            arrived += spikes[t - k] @ (weight * kernel[k - 1]).T
        h = lif.leak * v + current[t] + arrived * (1 if mask is None else mask)
        v = h - lif.threshold * spikes[t] if lif.reset == "soft" else (1 - spikes[t]) * h
        trace.append(h)
    return torch.stack(trace)


def assert_first_differences_are_ties(spikes, expected, arguments, lif):
    """In each sample, the first neuron that fires otherwise was at its threshold."""
    h = membranes(expected, **arguments, lif=lif)
    for b in range(spikes.shape[1]):
        differing = (spikes[:, b] != expected[:, b]).nonzero()
        if len(differing):
            t = differing[0, 0]
            first = differing[differing[:, 0] == t, 1]
            assert ((h[t, b, first] - lif.threshold).abs() < 1e-4).all()


@pytest.fixture
def oracles():
    """The functions of this file."""
    return sys.modules[__name__]
