import itertools

import pytest
import torch

from snnbreg import functional
from snnbreg.kernels import cpu
from snnbreg.kernels.cpu import event_linear
from snnbreg.kernels.cpu.event_linear import MOST_EVENTS

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def problem(T=20, B=17, C=33, N=35, rate=0.1, density=0.3, mask=True, dtype=torch.float64):
    """Random arguments of ``linear``, frames with counts, and a weighting of the currents."""
    options = {"generator": torch.Generator().manual_seed(T + 10 * B + C + N), "dtype": dtype}
    there = torch.rand(T, B, C, **options) < rate
    weight = torch.randn(N, C, **options) * (torch.rand(N, C, **options) < density)
    arguments = {
        "events": there * (1 + 3 * torch.rand(T, B, C, **options)).floor(),
        "weight": weight,
        "bias": torch.randn(N, **options),
        "mask": 2 * torch.rand(B, N, **options).round() if mask else None,
    }
    return arguments, torch.randn(T, B, N, **options)


def run(engine, arguments, weighting):
    """Currents, the gradients of their weighted sum, and whether events were listed."""
    leaves = {
        name: value if name == "mask" else value.clone().requires_grad_()
        for name, value in arguments.items()
        if value is not None
    }
    out = engine.linear(**{"bias": None, **leaves})
    (out * weighting).sum().backward()
    grads = {name: leaf.grad for name, leaf in leaves.items() if name != "mask"}
    return out.detach(), grads, "LinearOfEvents" in type(out.grad_fn).__name__


def assert_equals_float64(arguments, weighting):
    """Currents and gradients are those of the readable form in float64."""
    out, grads, _ = run(cpu, arguments, weighting)
    double = {name: value if value is None else value.double() for name, value in arguments.items()}
    expected, expected_grads, _ = run(functional, double, weighting.double())
    tolerance = 1e-12 if out.dtype == torch.float64 else 3e-6
    for found, wanted in [(out, expected), *((grads[n], expected_grads[n]) for n in grads)]:
        assert found.dtype == out.dtype
        scale = float(wanted.abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=tolerance * scale + 1e-30)
    return out, grads


@DTYPES
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.4])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.35, 1.0])
def test_equals_the_readable_form_in_float64(rate, density, mask, dtype):
    arguments, weighting = problem(rate=rate, density=density, mask=mask, dtype=dtype)
    assert_equals_float64(arguments, weighting)
    assert run(cpu, arguments, weighting)[2]


@DTYPES
@pytest.mark.parametrize(
    "size",
    [
        {"T": 1, "B": 1, "C": 1, "N": 1, "rate": 1.0},
        {"T": 1, "B": 3, "C": 16, "N": 16},
        {"T": 16, "B": 16, "C": 15, "N": 17},  # one whole chunk
        {"T": 16, "B": 17, "C": 48, "N": 32},  # and one of sixteen rows
        {"T": 9, "B": 63, "C": 70, "N": 212},  # an odd number of blocks of receivers and of rows
        {"T": 257, "B": 1, "C": 5, "N": 3},
    ],
    ids=str,
)
def test_equals_the_readable_form_at_odd_sizes(size, dtype):
    assert_equals_float64(*problem(**size, dtype=dtype))


def test_by_hand():
    """Sample 1 has an event of 2 from sender 1 in step 0; receiver 1 is masked there."""
    events = torch.zeros(2, 2, 2)
    events[0, 1, 1] = 2.0
    weight = torch.tensor([[1.0, 10.0], [0.0, 3.0], [5.0, 0.0]], requires_grad=True)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 4.0]])
    out = cpu.linear(events, weight, torch.tensor([0.5, 0.5, 0.5]), mask)
    half = [0.5, 0.5, 0.5]
    assert out.tolist() == [[half, [20.5, 0.0, 2.0]], [half, [0.5, 0.0, 2.0]]]
    out.sum().backward()
    assert weight.grad.tolist() == [[0.0, 2.0], [0.0, 0.0], [0.0, 8.0]]


def test_weights_that_are_zero_have_their_gradient():
    arguments, weighting = problem(density=0.05)
    _, grads = assert_equals_float64(arguments, weighting)
    zeros = grads["weight"][arguments["weight"] == 0]
    assert len(zeros) > 1000
    assert (zeros != 0).float().mean() > 0.9


def test_many_events_or_other_types_are_computed_by_the_readable_form():
    cases = [
        {"rate": 0.95},
        {"rate": 0.2, "dtype": torch.bfloat16},
    ]
    for case in cases:
        arguments, weighting = problem(**case)
        out, grads, listed = run(cpu, arguments, weighting)
        expected, expected_grads, _ = run(functional, arguments, weighting)
        assert not listed
        assert torch.equal(out, expected)
        assert all(torch.equal(grads[name], expected_grads[name]) for name in grads)


def test_events_that_only_the_sampled_rows_lack_are_too_many():
    arguments, weighting = problem(rate=1.0)
    arguments["events"].flatten(0, 1)[:: event_linear.SAMPLED] = 0
    assert arguments["events"].count_nonzero() > MOST_EVENTS * arguments["events"].numel()
    assert not run(cpu, arguments, weighting)[2]
    assert_equals_float64(arguments, weighting)


def test_a_weight_that_is_not_finite_is_not_hidden_by_a_silent_sender():
    arguments, _ = problem(rate=0.0)
    arguments["weight"][3, 4] = float("inf")
    out = cpu.linear(**arguments)
    assert out[..., 3].isnan().any()


def test_an_empty_batch_is_no_error():
    arguments, weighting = problem(B=0)
    assert run(cpu, arguments, weighting)[0].shape == (20, 0, 35)


@pytest.mark.parametrize("wanted", list(itertools.product([False, True], repeat=3)))
def test_any_argument_may_be_the_only_one_with_a_gradient(wanted):
    arguments, weighting = problem()
    _, expected, _ = run(functional, arguments, weighting)
    for name, needed in zip(("events", "weight", "bias"), wanted, strict=True):
        arguments[name] = arguments[name].clone().requires_grad_(needed)
    out = cpu.linear(**arguments)
    assert out.requires_grad == any(wanted)
    if any(wanted):
        (out * weighting).sum().backward()
    for name, grad in expected.items():
        if arguments[name].requires_grad:
            torch.testing.assert_close(arguments[name].grad, grad, rtol=1e-11, atol=1e-11)
        else:
            assert arguments[name].grad is None


@DTYPES
def test_the_same_bits_again_with_several_threads(dtype):
    arguments, weighting = problem(T=60, dtype=dtype)
    alone, alone_grads, _ = run(cpu, arguments, weighting)
    torch.set_num_threads(3)
    out, grads, _ = run(cpu, arguments, weighting)
    again, grads_again, _ = run(cpu, arguments, weighting)
    assert torch.equal(out, alone)
    assert torch.equal(out, again)
    assert torch.equal(grads["events"], alone_grads["events"])
    for name, grad in grads.items():
        assert torch.equal(grad, grads_again[name])
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(grad, alone_grads[name], rtol=tolerance, atol=100 * tolerance)


def test_the_number_of_threads_may_change_before_the_backward_pass():
    arguments, weighting = problem(T=60)
    _, expected, _ = run(functional, arguments, weighting)
    leaf = arguments["weight"].clone().requires_grad_()
    torch.set_num_threads(3)
    out = cpu.linear(**{**arguments, "weight": leaf})
    torch.set_num_threads(2)
    (out * weighting).sum().backward()
    torch.testing.assert_close(leaf.grad, expected["weight"], rtol=1e-11, atol=1e-11)


def test_memory_layout_does_not_matter():
    arguments, weighting = problem()
    expected, expected_grads, _ = run(cpu, arguments, weighting)
    strided = {
        name: value.mT.contiguous().mT if value.ndim > 1 else value
        for name, value in arguments.items()
    }
    assert not strided["events"].is_contiguous()
    leaves = {name: value.requires_grad_(name != "mask") for name, value in strided.items()}
    out = cpu.linear(**leaves)
    assert torch.equal(out, expected)
    out.backward(weighting.mT.contiguous().mT)
    for name, grad in expected_grads.items():
        torch.testing.assert_close(leaves[name].grad, grad, rtol=1e-12, atol=1e-12)


def test_weights_changed_before_the_backward_pass_are_noticed():
    arguments, weighting = problem()
    arguments["weight"].requires_grad_()
    out = cpu.linear(**arguments)
    with torch.no_grad():
        arguments["weight"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward(weighting)


def test_events_changed_before_the_backward_pass_do_not_matter():
    arguments, weighting = problem()
    _, expected, _ = run(functional, arguments, weighting)
    weight = arguments["weight"].clone().requires_grad_()
    out = cpu.linear(**{**arguments, "weight": weight})
    arguments["events"].zero_()
    out.backward(weighting)
    torch.testing.assert_close(weight.grad, expected["weight"], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": torch.zeros(2, 3)}, r"expected \(T, B, 33\)"),
        ({"bias": torch.zeros(4)}, r"bias has the shape \(4,\): expected \(35,\)"),
        ({"mask": torch.zeros(4, 35)}, r"mask has the shape \(4, 35\): expected \(17, 35\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments, _ = problem()
    for engine in (cpu, functional):
        with pytest.raises(ValueError, match=message):
            engine.linear(**{**arguments, **change})
