"""The Triton kernels against the reference: interpreted without a GPU, on it where there is one."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snnbreg import functional
from snnbreg.functional import LIFParameters
from snnbreg.kernels import get_engine, select

triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402

from snnbreg.kernels import gpu  # noqa: E402
from snnbreg.kernels.gpu import autograd  # noqa: E402
from snnbreg.kernels.gpu.equations import kernel_ages, load_kernel  # noqa: E402

SETTINGS = list(itertools.product(("soft", "hard"), (False, True), ("triangle", "atan")))
DEVICE = "cpu" if gpu.INTERPRETED else "cuda"
interpreted = pytest.mark.skipif(not gpu.INTERPRETED, reason="float64 is for the interpreter")


@interpreted
@pytest.mark.parametrize(("reset", "detach", "surrogate"), SETTINGS)
def test_equals_the_reference(oracles, reset, detach, surrogate):
    lif = LIFParameters(0.4, 0.9, reset, detach, surrogate, 5.0)
    spikes, grads = oracles.assert_equals_reference(gpu, *oracles.problem(T=9, reach=4.0), lif)
    assert 0.1 < spikes.mean() < 0.9
    assert all(grad.any() for grad in grads.values())


@interpreted
@pytest.mark.parametrize(
    "case",
    [
        {"T": 1},
        {"T": 2},
        {"B": 1, "N": 1},
        {"B": 16, "N": 16, "T": 6},
        {"B": 18, "N": 33, "T": 6},  # two tiles, W streamed in two blocks
        {"B": 3, "N": 65, "T": 5, "mask": False},
        {"mask": False},
        {"scalar": True},
        {"sigma": 0.0},
        {"sigma": 0.0, "scalar": True, "whole": True},  # a plain gather
        {"sigma": 0.06},  # at most two ages: kernels are summed directly
        {"sigma": 25.0},  # wider than the recording, cut at the first step
        {"whole": True},  # spikes exactly on corners and peaks
        {"whole": True, "reach": 1.0, "sigma": 6.0},  # cut triangles
        {"T": 24, "reach": 8.0, "sigma": 7.0},  # all taps in use
        {"reach": 200.0},  # most delays are longer than the recording
        {"reach": 1e30},  # beyond all whole numbers
        {"lowest": -6.0},  # negative delays lose mass
        {"lowest": -6.0, "whole": True},
        {
            "lowest": -2.5,
            "reach": 2.0,
            "sigma": 15.0,
            "N": 9,
        },  # their taps next to those of the peak
        {"drive": 0.0},  # nobody fires
        {"drive": 400.0},  # nearly everybody fires at every step
    ],
    ids=str,
)
def test_equals_the_reference_at_the_edges(oracles, case):
    arguments, weighting = oracles.problem(**{"T": 10, "reach": 4.0, **case})
    spikes, _ = oracles.assert_equals_reference(gpu, arguments, weighting)
    if "drive" in case:
        assert spikes.mean() > 0.99 if case["drive"] else not spikes.any()


@triton.jit
def write_ages(delay, width, out, N: tl.constexpr):
    j = tl.arange(0, N)
    d, s, _ = load_kernel(delay, width, j, N)
    enter, _, _, leave = kernel_ages(d, s)
    tl.store(out + j, enter)
    tl.store(out + N + j, leave)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=interpreted)], ids=str
)
def test_the_ages_inside_a_kernel_are_those_that_count_in_the_reference(dtype):
    """Also where rounding decides, at kernels that start or end on a step, nearly."""
    generator = torch.Generator().manual_seed(0)
    N = 4096
    delay = 40 * torch.rand(N, generator=generator, dtype=dtype) - 2
    delay[::4] = delay[::4].round()
    delay[1::8] = delay[1::8].frac().abs()
    width = 1 + 10 * torch.rand(N, generator=generator, dtype=dtype)
    whole = torch.randint(2, 12, (N,), generator=generator)
    width[1::4] = whole[1::4] - delay[1::4].frac()
    width[2::4] = whole[2::4] + delay[2::4].frac()
    width = torch.nextafter(width, width + torch.arange(N) % 3 - 1).clamp(min=1)
    ages = torch.zeros(2, N, dtype=torch.int32, device=DEVICE)
    write_ages[(1,)](delay.to(DEVICE), width.to(DEVICE), ages, N=N)
    enter, leave = ages.cpu()
    k = torch.arange(1, 81)[:, None]
    assert torch.equal(functional.delay_kernel(delay, width, 80) > 0, (k >= enter) & (k < leave))


@pytest.mark.parametrize("size", [{"T": 14, "B": 14, "N": 20}, {"T": 6, "B": 4, "N": 80}], ids=str)
def test_in_float32_it_differs_only_after_a_tie(oracles, size):
    lif = LIFParameters(0.9, 1.0, "soft")
    arguments, weighting = oracles.problem(
        **size, sigma=4.0, reach=4.0, drive=0.6, dtype=torch.float32
    )
    compare(oracles, arguments, weighting, lif, gpu, samples=size["B"] // 2)


def compare(oracles, arguments, weighting, lif, engine, samples):
    """In float32: spikes equal up to a tie; gradients of the samples that have none, to 1e-4."""
    expected, _ = oracles.run(functional, arguments, weighting, lif)
    spikes = moved(oracles, engine, arguments, weighting, lif)[0]
    assert spikes.dtype == torch.float32
    assert 0.02 < spikes.mean() < 0.9
    oracles.assert_first_differences_are_ties(spikes, expected, arguments, lif)
    same = (spikes == expected).all(2).all(0)
    assert same.sum() >= samples
    arguments = {**arguments, "current": arguments["current"][:, same]}
    arguments["mask"] = arguments["mask"][same]
    weighting = weighting[:, same]
    _, expected_grads = oracles.run(functional, arguments, weighting, lif)
    again, grads = moved(oracles, engine, arguments, weighting, lif)
    assert torch.equal(again, expected[:, same])
    oracles.assert_close(grads, expected_grads, 1e-4)


def moved(oracles, engine, arguments, weighting, lif):
    """``oracles.run`` where the engine computes, with results on the CPU."""
    there = {name: value.to(DEVICE) for name, value in arguments.items()}
    spikes, grads = oracles.run(engine, there, weighting.to(DEVICE), lif)
    return spikes.cpu(), {name: grad.cpu() for name, grad in grads.items()}


@interpreted
def test_bfloat16_products_are_near(oracles, monkeypatch):
    """Senders that fire drive neurons below their threshold, so that no spike can flip."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def widened(handle):
        bits = handle.data.astype(np.uint32) << 16
        return TensorHandle(bits.view(np.float32), tl.float32)

    def multiply(self, a, b, *rest):  # the interpreter multiplies bfloat16 as whole numbers
        types.append(a.dtype)
        return product(self, widened(a), widened(b), *rest)

    types, product = [], InterpreterBuilder.create_dot
    arguments, weighting = oracles.problem(T=12, reach=4.0, mask=False, dtype=torch.float32)
    arguments["weight"][3:] = 0.05 + 0.01 * arguments["weight"][3:]
    arguments["weight"][:3] = 0.0
    arguments["current"][:, :, 3:] = 0.0
    expected_spikes, expected = oracles.run(functional, arguments, weighting)
    monkeypatch.setattr(InterpreterBuilder, "create_dot", multiply)
    torch.set_float32_matmul_precision("medium")
    try:
        spikes, grads = oracles.run(gpu, arguments, weighting)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(spikes, expected_spikes)
    assert set(types) == {tl.bfloat16}
    oracles.assert_close(grads, expected, 2e-2)
    assert all(grad.any() for grad in grads.values())


@interpreted
@pytest.mark.parametrize(("reset", "detach", "surrogate"), SETTINGS)
def test_feed_forward_layers_equal_the_reference(reset, detach, surrogate):
    lif = LIFParameters(0.4, 0.9, reset, detach, surrogate, 3.0)
    generator = torch.Generator().manual_seed(0)
    for shape in ((5, 3, 7), (1, 1, 1), (8, 10, 20)):
        current = 1.5 * torch.rand(shape, generator=generator, dtype=torch.float64)
        a, b = current.clone().requires_grad_(), current.clone().requires_grad_()
        weighting = torch.randn(shape, generator=generator, dtype=torch.float64)
        spikes, expected = gpu.lif(a, lif), functional.lif(b, lif)
        assert torch.equal(spikes, expected)
        (spikes * weighting).sum().backward()
        (expected * weighting).sum().backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            assert torch.equal(gpu.lif(a, lif), expected)


@interpreted
def test_without_gradients_the_spikes_are_the_same_and_nothing_is_kept(oracles, monkeypatch):
    arguments, weighting = oracles.problem(T=12, N=33)
    expected, _ = oracles.run(gpu, arguments, weighting)
    arguments["weight"].requires_grad_()
    sizes = []
    launched = autograd.run_axonal

    class Watched:
        def __getitem__(self, grid):
            def launch(*tensors, **options):
                sizes.extend(tensors[i].numel() for i in (7, 8))  # membranes and z
                launched[grid](*tensors, **options)

            return launch

    monkeypatch.setattr(autograd, "run_axonal", Watched())
    with torch.no_grad():
        spikes = gpu.delayed_recurrence(**arguments)
    assert torch.equal(spikes, expected)
    assert spikes.grad_fn is None
    assert sizes == [0, 5 * 33]


@interpreted
@pytest.mark.parametrize("name", ["current", "weight", "delay", "half_width"])
def test_any_argument_may_be_the_only_one_with_a_gradient(oracles, name):
    arguments, weighting = oracles.problem(T=8)
    _, expected = oracles.run(functional, arguments, weighting)
    leaf = {**arguments, name: arguments[name].clone().requires_grad_()}
    loss = (gpu.delayed_recurrence(**leaf) * weighting).sum()
    first, second = (torch.autograd.grad(loss, leaf[name], retain_graph=True)[0] for _ in "ab")
    assert torch.equal(first, second)
    oracles.assert_close({name: first}, expected, 1e-9)


@interpreted
def test_memory_layout_does_not_matter(oracles):
    arguments, weighting = oracles.problem(T=8, N=17)
    expected, expected_grads = oracles.run(gpu, arguments, torch.ones_like(weighting))
    strided = {
        name: value if value.ndim < 2 else value.mT.contiguous().mT
        for name, value in arguments.items()
    }
    leaves = {k: v.requires_grad_(k != "mask") for k, v in strided.items()}
    spikes = gpu.delayed_recurrence(**leaves)
    spikes.sum().backward()  # an expanded gradient
    assert torch.equal(spikes, expected)
    for name, grad in expected_grads.items():
        torch.testing.assert_close(leaves[name].grad, grad, rtol=1e-12, atol=1e-12)


@interpreted
def test_what_it_does_not_compute_goes_to_the_reference(oracles):
    own = LIFParameters(surrogate=lambda x: functional.spike(x, "atan", 2.0))
    for options, lif in (({}, own), ({"synaptic": True}, LIFParameters())):
        arguments, weighting = oracles.problem(T=6, **options)
        expected, expected_grads = oracles.run(functional, arguments, weighting, lif)
        spikes, grads = oracles.run(gpu, arguments, weighting, lif)
        assert torch.equal(spikes, expected)
        assert all(torch.equal(grads[name], expected_grads[name]) for name in grads)
    assert not gpu.supports(arguments["current"].to(torch.bfloat16), LIFParameters())
    assert not gpu.supports(arguments["current"][:, :0], LIFParameters())


@interpreted
@pytest.mark.parametrize("name", ["delay", "half_width", "weight"])
def test_values_that_are_not_finite_reach_the_gradients(oracles, name):
    """Where the trainer finds them: the kernels run through without an error."""
    arguments, weighting = oracles.problem(T=3, mask=False)
    arguments[name][-1] = float("nan" if name != "half_width" else "inf")
    leaves = {k: v.requires_grad_() for k, v in arguments.items() if v is not None}
    (gpu.delayed_recurrence(**leaves) * weighting).sum().backward()
    assert not leaves["current" if name == "weight" else "weight"].grad.isfinite().all()


def test_shapes_are_checked(oracles):
    arguments, _ = oracles.problem(T=4)
    with pytest.raises(ValueError, match=r"delay has the shape \(2,\)"):
        gpu.delayed_recurrence(**{**arguments, "delay": torch.zeros(2)})
    with pytest.raises(ValueError, match="expected"):
        gpu.lif(torch.zeros(3, 2))


def test_it_is_chosen_by_name(monkeypatch):
    here, elsewhere = DEVICE, "cuda" if gpu.INTERPRETED else "cpu"
    assert get_engine("triton", here) is gpu
    with pytest.raises(ValueError, match=f"engine='triton' cannot compute on '{elsewhere}'"):
        get_engine("triton", elsewhere)
    code = (
        "import sys; sys.modules['triton'] = None;"  # importing it fails
        "from snnbreg.kernels import get_engine; get_engine('triton', 'cuda')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ValueError: engine='triton' needs Triton" in result.stderr
    assert select.ENGINES[-1] == "triton"


def test_the_kernels_compile_for_a_gpu(tmp_path):
    """For a Hopper GPU, which needs none: W resident or streamed, exact or bfloat16."""
    script = Path(__file__).with_name("compile.py")
    settings = ("33:highest", "65:highest", "33:medium")
    result = subprocess.run(
        [sys.executable, script, *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
    )
    kernels = [
        "run_axonal",
        "axonal_backward",
        "kernel_gradients",
        "run_lif",
        "lif_backward",
    ]
    assert result.stdout.split() == len(settings) * kernels, result.stderr
