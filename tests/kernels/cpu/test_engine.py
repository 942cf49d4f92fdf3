import itertools
import subprocess
import sys

import pytest
import torch

from snnbreg import functional
from snnbreg.functional import LIFParameters
from snnbreg.kernels import cpu
from snnbreg.kernels.cpu import engine as compiled
from snnbreg.kernels.cpu.engine import MAX_FLOAT32_STEPS

SETTINGS = list(itertools.product(("soft", "hard"), (False, True), ("triangle", "atan")))
KINDS = pytest.mark.parametrize("synaptic", [False, True], ids=["axonal", "synaptic"])


@KINDS
@pytest.mark.parametrize(("reset", "detach", "surrogate"), SETTINGS)
def test_equals_the_reference(oracles, synaptic, reset, detach, surrogate):
    lif = LIFParameters(0.4, 0.9, reset, detach, surrogate, 5.0)
    spikes, grads = oracles.assert_equals_reference(cpu, *oracles.problem(synaptic=synaptic), lif)
    assert 0.1 < spikes.mean() < 0.9
    assert all(grad.any() for grad in grads.values())


@KINDS
@pytest.mark.parametrize(
    "case",
    [
        {"T": 1},
        {"T": 2},
        {"B": 1, "N": 1},
        {"B": 16, "N": 16},
        {"B": 33, "N": 35},  # a tile of a single sample, a block of three neurons
        {"mask": False},
        {"scalar": True},
        {"sigma": 0.0},
        {"sigma": 0.0, "scalar": True, "whole": True},  # a plain gather
        {"sigma": 0.06},  # at most two ages
        {"sigma": 25.0},  # wider than the recording, cut at the first step
        {"whole": True},  # spikes exactly on corners and peaks
        {"whole": True, "reach": 1.0, "sigma": 6.0},  # cut triangles
        {"reach": 200.0},  # most delays are longer than the recording
        {"reach": 1e30},  # beyond all whole numbers
        {"lowest": -6.0},  # negative delays lose mass
        {"lowest": -6.0, "whole": True},
        {"T": 40, "whole": True, "drive": 1.6},  # spikes of the first step on peaks
        {"drive": 0.0},  # nobody fires
        {"drive": 400.0},  # nearly everybody fires at every step
        {"T": 120, "N": 4, "sigma": 40.0, "reach": 50.0},
    ],
    ids=str,
)
def test_equals_the_reference_at_the_edges(oracles, case, synaptic):
    spikes, _ = oracles.assert_equals_reference(cpu, *oracles.problem(**case, synaptic=synaptic))
    if case.get("drive") in (0.0, 400.0):
        assert spikes.mean() > 0.99 if case["drive"] else not spikes.any()
    elif "drive" in case:
        assert spikes[0].any()


@KINDS
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_in_float32_it_differs_only_after_a_tie(oracles, synaptic, reset):
    lif = LIFParameters(0.95, 1.0, reset)
    case = {"T": 60, "B": 40, "N": 20, "sigma": 5.0, "synaptic": synaptic, "drive": 0.4}
    arguments, weighting = oracles.problem(**case, dtype=torch.float32)
    expected, expected_grads = oracles.run(functional, arguments, weighting, lif)
    spikes, grads = oracles.run(cpu, arguments, weighting, lif)
    assert spikes.dtype == torch.float32
    assert 0.1 < spikes.mean() < 0.9
    oracles.assert_first_differences_are_ties(spikes, expected, arguments, lif)
    same = (spikes == expected).all(2).all(0)
    assert same.sum() >= 20
    arguments |= {name: arguments[name][:, same] for name in ("current",)}
    arguments["mask"] = arguments["mask"][same]
    _, expected_grads = oracles.run(functional, arguments, weighting[:, same], lif)
    _, grads = oracles.run(cpu, arguments, weighting[:, same], lif)
    oracles.assert_close(grads, expected_grads, 1e-4)


def test_rounding_does_not_add_up_over_a_long_recording(oracles):
    """In float32, against the same in float64."""
    arguments, weighting = oracles.problem(T=4000, B=4, N=6, sigma=20.0, dtype=torch.float32)
    arguments["weight"] *= 0.05
    spikes, grads = oracles.run(cpu, arguments, weighting)
    arguments = {name: value.double() for name, value in arguments.items()}
    expected, expected_grads = oracles.run(cpu, arguments, weighting.double())
    assert torch.equal(spikes.double(), expected)
    difference = (grads["current"] - expected_grads["current"]).abs().max()
    assert difference < 5e-7 * expected_grads["current"].abs().max()


def test_a_spike_at_the_threshold_counts():
    """One neuron, driven exactly to its threshold by its own spike 1 + 2 steps earlier."""
    current = torch.zeros(8, 1, 1)
    current[0] = 1.0
    spikes = cpu.delayed_recurrence(
        current, torch.ones(1, 1), torch.tensor([2.0]), torch.tensor(1.0)
    )
    assert spikes.flatten().tolist() == [1, 0, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(("reset", "detach", "surrogate"), SETTINGS)
@pytest.mark.parametrize("shape", [(20, 3, 7), (1, 1, 1), (9, 16, 40)], ids=str)
def test_feed_forward_layers_equal_the_reference(shape, reset, detach, surrogate):
    lif = LIFParameters(0.4, 0.9, reset, detach, surrogate, 3.0)
    generator = torch.Generator().manual_seed(0)
    currents = torch.rand(shape, generator=generator, dtype=torch.float64).expand(2, *shape)
    a, b = (current.clone().requires_grad_() for current in currents)
    weighting = torch.randn(shape, generator=generator, dtype=torch.float64)
    spikes, expected = cpu.lif(a, lif), functional.lif(b, lif)
    assert torch.equal(spikes, expected)
    (spikes * weighting).sum().backward()
    (expected * weighting).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


@KINDS
def test_without_gradients_the_spikes_are_the_same_and_nothing_is_kept(oracles, synaptic):
    arguments, weighting = oracles.problem(synaptic=synaptic)
    expected, _ = oracles.run(cpu, arguments, weighting)
    with torch.no_grad():
        spikes = cpu.delayed_recurrence(**arguments)
        leaf = {**arguments, "weight": arguments["weight"].clone().requires_grad_()}
        assert cpu.delayed_recurrence(**leaf).grad_fn is None
    assert torch.equal(spikes, expected)
    assert not cpu.delayed_recurrence(**arguments).requires_grad


@pytest.mark.parametrize("name", ["current", "weight", "delay", "half_width"])
@KINDS
def test_any_argument_may_be_the_only_one_with_a_gradient(oracles, name, synaptic):
    arguments, weighting = oracles.problem(synaptic=synaptic, T=12)
    _, expected = oracles.run(functional, arguments, weighting)
    leaf = {**arguments, name: arguments[name].clone().requires_grad_()}
    (cpu.delayed_recurrence(**leaf) * weighting).sum().backward()
    oracles.assert_close({name: leaf[name].grad}, expected, 1e-9)


@KINDS
def test_the_backward_pass_can_be_repeated(oracles, synaptic):
    arguments, weighting = oracles.problem(synaptic=synaptic)
    arguments["weight"].requires_grad_()
    loss = (cpu.delayed_recurrence(**arguments) * weighting).sum()
    first, second = (
        torch.autograd.grad(loss, arguments["weight"], retain_graph=True)[0] for _ in range(2)
    )
    assert torch.equal(first, second)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_bits_again_with_several_threads(oracles, synaptic, dtype):
    arguments, weighting = oracles.problem(B=50, N=18, synaptic=synaptic, dtype=dtype)
    _, alone = oracles.run(cpu, arguments, weighting)
    torch.set_num_threads(3)
    spikes, grads = oracles.run(cpu, arguments, weighting)
    for _ in range(3):
        spikes_again, grads_again = oracles.run(cpu, arguments, weighting)
        assert torch.equal(spikes, spikes_again)
        assert all(torch.equal(grads[name], grads_again[name]) for name in grads)
    oracles.assert_close(grads, alone, 1e-4 if dtype == torch.float32 else 1e-9)


@KINDS
def test_memory_layout_does_not_matter(oracles, synaptic):
    arguments, weighting = oracles.problem(B=20, N=17, synaptic=synaptic)
    expected, expected_grads = oracles.run(
        cpu, arguments, weighting.new_ones(()).expand(30, 20, 17)
    )
    strided = {
        name: value if value is None or value.ndim < 2 else value.mT.contiguous().mT
        for name, value in arguments.items()
    }
    assert not strided["current"].is_contiguous()
    leaves = {k: v.requires_grad_(k != "mask") for k, v in strided.items()}
    spikes = cpu.delayed_recurrence(**leaves)
    spikes.sum().backward()  # an expanded gradient
    assert torch.equal(spikes, expected)
    for name, grad in expected_grads.items():
        torch.testing.assert_close(leaves[name].grad, grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lif", [{"surrogate": lambda x: functional.spike(x, "atan", 2.0)}, {}])
@KINDS
def test_what_it_does_not_compute_goes_to_the_reference(oracles, lif, synaptic):
    parameters = LIFParameters(**lif)
    arguments, weighting = oracles.problem(synaptic=synaptic)
    if not lif:
        arguments = {name: value.to(torch.bfloat16) for name, value in arguments.items()}
    expected, expected_grads = oracles.run(functional, arguments, weighting, parameters)
    spikes, grads = oracles.run(cpu, arguments, weighting, parameters)
    assert torch.equal(spikes, expected)
    assert all(torch.equal(grads[name], expected_grads[name]) for name in grads)
    current = arguments["current"]
    assert torch.equal(cpu.lif(current, parameters), functional.lif(current, parameters))


def test_long_recordings_in_float32_go_to_the_reference():
    current = torch.zeros(MAX_FLOAT32_STEPS + 1, 1, 1)
    assert not cpu.supports(current, LIFParameters())
    assert cpu.supports(current[1:], LIFParameters())
    assert cpu.supports(current.double(), LIFParameters())


def test_an_empty_batch_is_no_error(oracles):
    arguments, _ = oracles.problem(B=3)
    arguments |= {"current": arguments["current"][:, :0], "mask": arguments["mask"][:0]}
    assert cpu.delayed_recurrence(**arguments).shape == (30, 0, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"current": torch.zeros(2, 3)}, r"expected \(T, B, 7\)"),
        ({"current": torch.tensor(1.0)}, r"expected \(T, B, 7\)"),
        ({"weight": torch.zeros(7, 4)}, r"weight has the shape \(7, 4\): expected \(7, 7\)"),
        ({"delay": torch.zeros(2)}, r"delay has the shape \(2,\)"),
        ({"delay": torch.full((7,), float("nan"))}, "NaN or infinite"),
        ({"mask": torch.ones(3)}, r"mask has the shape \(3,\)"),
        ({"mask": torch.ones(5, 7).double()}, "mask has the type torch.float64"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_like_by_the_reference(oracles, change, message):
    arguments, _ = oracles.problem(dtype=torch.float32)
    for engine in (cpu, functional):
        with pytest.raises(ValueError, match=message):
            engine.delayed_recurrence(**{**arguments, **change})
    with pytest.raises(ValueError, match="expected"):
        cpu.lif(torch.zeros(3, 2))


def test_works_where_no_compiled_code_can_be_kept():
    """A package folder and a home that cannot be written, as in a container."""
    code = (
        "import numba.core.caching as c\n"
        "def refuse(*a, **k): raise RuntimeError('no locator available')\n"
        "c.CacheImpl.__init__ = refuse\n"
        "import torch\n"
        "from snnbreg.kernels import cpu\n"
        "print(cpu.lif(torch.full((5, 1, 1), 0.75)).flatten().tolist())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[0.0, 1.0, 0.0, 1.0, 0.0]", result.stderr


def test_a_forked_process_makes_its_own_threads():
    code = (
        "import multiprocessing, torch\n"
        "from snnbreg.kernels import cpu\n"
        "torch.set_num_threads(2)\n"
        "def f(_=0): return cpu.lif(torch.full((5, 8, 8), 0.75))[:, 7, 7].tolist()\n"
        "f()\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(pool.map(f, [0])[0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert result.stdout.strip() == "[0.0, 1.0, 0.0, 1.0, 0.0]", result.stderr


@pytest.mark.parametrize("computed", [(True, False), (False, True)])
def test_a_segment_goes_on_where_the_reference_ended_and_the_reverse(
    computed: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float32 recordings are computed by the engine up to a length, so that a last part may be."""
    torch.manual_seed(0)
    current = torch.rand(14, 5, 4, dtype=torch.float64).requires_grad_()
    weight, delay, width = torch.randn(4, 4), 4 * torch.rand(4), torch.tensor(2.5)
    synapses = weight.double().requires_grad_(), delay.double(), width.double()
    weighting = torch.randn(14, 5, 4, dtype=torch.float64)

    def gradients(spikes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((spikes * weighting).sum(), (current, synapses[0]))

    whole = functional.delayed_recurrence(current, *synapses)
    carried, parts = None, []
    for part, supported in zip(current.split(9), computed, strict=True):
        monkeypatch.setattr(compiled, "supports", lambda *_, now=supported: now)
        spikes, carried = cpu.continued_recurrence(part, carried, *synapses, keep=7)
        parts.append(spikes)
    assert torch.equal(torch.cat(parts), whole)
    for found, expected in zip(gradients(torch.cat(parts)), gradients(whole), strict=True):
        torch.testing.assert_close(found, expected)
