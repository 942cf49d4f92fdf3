"""The Triton kernels on a real GPU, at the size of the SSC network."""

import pytest
import torch

from snnbreg import functional
from snnbreg.functional import LIFParameters

pytest.importorskip("triton")

from snnbreg.kernels import gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(gpu.INTERPRETED or not torch.cuda.is_available(), reason="needs a GPU"),
]
SSC = {"T": 250, "B": 128, "N": 256, "sigma": 10.0, "reach": 30.0, "drive": 0.7}
PSMNIST = {"T": 784, "B": 16, "N": 212, "sigma": 10.0, "reach": 30.0, "drive": 0.7}


def on_gpu(oracles, **case):
    """A problem of float32 on the GPU, with weights that neither silence nor saturate."""
    arguments, weighting = oracles.problem(**case, dtype=torch.float32)
    arguments["weight"] = arguments["weight"] / 2
    return {name: value.cuda() for name, value in arguments.items()}, weighting.cuda()


@pytest.mark.parametrize(
    "case", [SSC, PSMNIST, {**SSC, "B": 37, "N": 100}], ids=["SSC", "PS", "odd"]
)
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_differs_from_the_reference_only_after_a_tie(oracles, case, reset):
    lif = LIFParameters(0.5, 1.0, reset)
    arguments, weighting = on_gpu(oracles, **case)
    expected, _ = oracles.run(functional, arguments, weighting, lif)
    spikes, _ = oracles.run(gpu, arguments, weighting, lif)
    assert 0.01 < spikes.mean() < 0.9
    oracles.assert_first_differences_are_ties(spikes, expected, arguments, lif)
    same = (spikes == expected).all(2).all(0)
    assert same.any(), "no sample is free of ties: take fewer steps"
    arguments |= {"current": arguments["current"][:, same], "mask": arguments["mask"][same]}
    expected, expected_grads = oracles.run(functional, arguments, weighting[:, same], lif)
    spikes, grads = oracles.run(gpu, arguments, weighting[:, same], lif)
    assert torch.equal(spikes, expected)
    oracles.assert_close(grads, expected_grads, 1e-4)


def test_the_same_bits_again_without_waiting_for_the_device(oracles):
    arguments, weighting = on_gpu(oracles, **SSC)
    first = oracles.run(gpu, arguments, weighting)
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = oracles.run(gpu, arguments, weighting)
        with torch.no_grad():
            gpu.lif(gpu.delayed_recurrence(**arguments))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_coarser_products_change_few_spikes_of_the_first_steps(oracles, precision):
    arguments, _ = on_gpu(oracles, **{**SSC, "T": 20})
    exact = gpu.delayed_recurrence(**arguments)
    torch.set_float32_matmul_precision(precision)
    try:
        coarse = gpu.delayed_recurrence(**arguments)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (exact != coarse).float().mean() < 0.02
    assert coarse.mean() == pytest.approx(float(exact.mean()), rel=0.02)


@pytest.mark.parametrize("shape", [(250, 128, 256), (7, 3, 5)])
def test_feed_forward_layers(shape):
    current = 1.5 * torch.rand(shape, device="cuda")
    a, b = current.clone().requires_grad_(), current.clone().requires_grad_()
    lif = LIFParameters()
    spikes, expected = gpu.lif(a, lif), functional.lif(b, lif)
    same = (spikes == expected).all(0)
    assert same.float().mean() > 0.99
    spikes.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(a.grad[:, same], b.grad[:, same], rtol=1e-4, atol=1e-4)
