import pytest
import torch
from torch.nn.functional import linear

from snnbreg.functional import delayed_linear, filter_events
from snnbreg.kernels import cpu, get_engine

ENGINES = pytest.mark.parametrize("engine", ["reference", "cpu"])
KINDS = pytest.mark.parametrize("synaptic", [False, True], ids=["axonal", "synaptic"])


def problem(T=12, B=3, C=5, N=4, synaptic=False, sigma=3.0, lowest=0.0, reach=8.0, rate=0.4):
    """Random arguments of delayed_linear in float64."""
    options = {"generator": torch.Generator().manual_seed(T + C), "dtype": torch.float64}
    return {
        "events": (torch.rand(T, B, C, **options) < rate) * torch.randn(T, B, C, **options),
        "weight": torch.randn(N, C, **options),
        "bias": torch.randn(N, **options),
        "delay": lowest + reach * torch.rand((N, C) if synaptic else (C,), **options),
        "half_width": 1 + sigma * torch.rand(C, **options),
    }


def literal(events, weight, bias, delay, half_width):
    """The sums over senders and ages as the equation has them, one term after the other."""
    T, B, C = events.shape
    N = len(weight)
    delay, half_width = delay.expand(N, C), half_width.expand(C)
    currents = []
    for t in range(T):
        for i in range(N):
            current = bias[i].expand(B)
            for j in range(C):
                s = half_width[j]
                for k in range(t + 1):
                    if (k - delay[i, j]).abs() < s:
                        h = (s - (k - delay[i, j]).abs()) / s**2
                        current = current + weight[i, j] * h * events[t - k, :, j]
            currents.append(current)
    return torch.stack(currents).reshape(T, N, B).transpose(1, 2)


def outcome(function, arguments):
    """Currents, and the gradients of a weighted sum of them."""
    leaves = {name: value.clone().requires_grad_() for name, value in arguments.items()}
    currents = function(**leaves)
    weighting = torch.linspace(-1, 1, currents.numel(), dtype=currents.dtype)
    (currents * weighting.reshape(currents.shape)).sum().backward()
    return currents.detach(), {name: leaf.grad for name, leaf in leaves.items()}


@ENGINES
@KINDS
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"T": 1, "B": 1, "C": 1, "N": 1},
        {"sigma": 0.0, "T": 9},
        {"sigma": 0.06, "reach": 4.0, "T": 9},
        {"lowest": -4.0, "T": 9},  # what lies before k = 0 is lost
        {"reach": 40.0, "T": 12},  # most delays are longer than the recording
        {"lowest": 50.0, "T": 4},  # all are
        {"sigma": 30.0, "T": 9},  # wider than the recording
        {"T": 24, "B": 1, "C": 17, "N": 1, "rate": 0.1},  # more than one tile of the engine
        {"T": 5, "B": 50, "C": 3, "N": 17, "reach": 3.0},  # four tiles of samples, the last short
    ],
    ids=str,
)
def test_equals_the_sums_written_out(engine, synaptic, case):
    arguments = problem(**case, synaptic=synaptic)
    expected, grads = outcome(literal, arguments)
    currents, found = outcome(get_engine(engine).delayed_linear, arguments)
    torch.testing.assert_close(currents, expected, rtol=0, atol=1e-12)
    for name, grad in grads.items():
        wanted = torch.zeros_like(arguments[name]) if grad is None else grad
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=1e-9, msg=name)


@ENGINES
@KINDS
def test_whole_delays_move_events_and_zero_is_an_ordinary_layer(engine, synaptic):
    arguments = {name: value.float() for name, value in problem(synaptic=synaptic).items()}
    arguments["half_width"] = torch.tensor(1.0)
    x, w, b = (arguments[name] for name in ("events", "weight", "bias"))
    function = get_engine(engine).delayed_linear
    arguments["delay"] = torch.zeros_like(arguments["delay"])
    torch.testing.assert_close(function(**arguments), linear(x, w, b))
    arguments["delay"] = torch.full_like(arguments["delay"], 3.0)
    currents = function(**arguments)
    torch.testing.assert_close(currents[3:], linear(x, w, b)[:-3])
    torch.testing.assert_close(currents[:3], b.expand(3, 3, 4))


@KINDS
def test_the_engine_computes_in_any_number_of_threads_and_in_float32(synaptic):
    arguments = problem(T=40, B=37, C=35, N=18, synaptic=synaptic)
    expected, grads = outcome(delayed_linear, arguments)
    threads = torch.get_num_threads()
    for number in (1, 3):
        torch.set_num_threads(number)
        try:
            single = {name: value.float() for name, value in arguments.items()}
            currents, found = outcome(cpu.delayed_linear, single)
        finally:
            torch.set_num_threads(threads)
        torch.testing.assert_close(currents.double(), expected, rtol=1e-5, atol=1e-4)
        for name, grad in found.items():
            torch.testing.assert_close(grad.double(), grads[name], rtol=1e-4, atol=1e-3, msg=name)


@KINDS
def test_the_engine_takes_events_that_are_not_contiguous(synaptic):
    arguments = problem(T=20, C=18, synaptic=synaptic)
    expected, grads = outcome(delayed_linear, arguments)
    events = arguments["events"].transpose(0, 1).contiguous().transpose(0, 1)
    currents, found = outcome(cpu.delayed_linear, {**arguments, "events": events})
    torch.testing.assert_close(currents, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found["events"], grads["events"], rtol=0, atol=1e-12)


def test_the_engine_finds_the_gradient_of_a_synapse_whose_weight_is_zero():
    arguments = problem(synaptic=True)
    arguments["weight"][0] = 0.0
    arguments["delay"][0, 0] = 9.0  # the longest
    _, grads = outcome(delayed_linear, arguments)
    _, found = outcome(cpu.delayed_linear, arguments)
    torch.testing.assert_close(found["weight"], grads["weight"], rtol=0, atol=1e-12)
    assert found["weight"][0, 0] != 0


def test_filter_adds_the_past():
    events = torch.tensor([[1.0, 1.0], [0.0, 2.0], [3.0, 0.0]]).reshape(3, 1, 2)
    kernel = torch.tensor([[1.0, 0.0], [10.0, 5.0]])
    expected = torch.tensor([[1.0, 0.0], [10.0, 5.0], [3.0, 10.0]]).reshape(3, 1, 2)
    assert torch.equal(filter_events(events, kernel), expected)


@ENGINES
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"events": torch.rand(12, 3, 6)}, r"events has the shape \(12, 3, 6\): expected"),
        ({"bias": torch.rand(5)}, r"bias has the shape \(5,\): expected \(4,\)"),
        ({"delay": torch.rand(4)}, r"delay has the shape \(4,\): expected \(5,\) or \(4, 5\)"),
        ({"half_width": torch.rand(4)}, r"half_width has the shape \(4,\): expected \(\) or"),
        ({"weight": torch.rand(4, 5).double()}, "weight has the type torch.float64 and the events"),
        ({"delay": torch.full((5,), float("nan"))}, "training has diverged"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(engine, changed, message):
    arguments = {name: value.float() for name, value in problem().items()}
    with pytest.raises(ValueError, match=message):
        get_engine(engine).delayed_linear(**{**arguments, **changed})
