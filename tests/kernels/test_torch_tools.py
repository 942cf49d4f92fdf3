"""torch's own tools on networks that the CPU engine computes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call, grad, vmap

from snnbreg import functional
from snnbreg.functional import LIFParameters
from snnbreg.kernels import cpu
from snnbreg.kernels.cpu.lanes import LANES
from snnbreg.kernels.cpu.operators import scalars
from snnbreg.models import SpikingNetwork

SETTINGS: dict[str, dict[str, Any]] = {
    "axonal": {"dropout": 0.2},
    "batch norm": {"norm": "batch"},
    "synaptic": {"delays": "synaptic"},
    "plain": {"recurrent": False, "dropout_on": "spikes", "readout": "spiking"},
    "delayed inputs": {"recurrent": False, "feedforward_delays": "axonal"},
    "delays of inputs per synapse": {"recurrent": False, "feedforward_delays": "synaptic"},
}
KINDS = pytest.mark.parametrize("name", SETTINGS)


def made(name: str = "axonal", **settings: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    given: dict[str, Any] = {"sigma": 3.0, "delay_scale": 4.0, "learn_spread": True}
    given |= {"weight_init": "kaiming", **SETTINGS[name], **settings}
    return SpikingNetwork(20, 4, (18,), **given)


def frames(batch: int = 5, rate: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return (torch.rand(12, batch, 20, generator=generator) < rate).float()


def step(
    network: SpikingNetwork, form: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, ...]:
    """Outputs and gradients; the same dropout in every call."""
    torch.manual_seed(1)
    network.zero_grad()
    outputs = form(x)
    outputs.float().square().sum().backward()
    return (outputs.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None))


def same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by dynamo
@KINDS
def test_compiled_it_takes_the_same_step(name: str) -> None:
    """Without a break of the graph, the same bits, for many events too, and for another sigma."""
    network, counter = made(name), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(network, backend=counter, fullgraph=True)
    expected = step(network, network, frames())
    assert all(part.any() for part in expected)
    assert same(step(network, compiled, frames()), expected)
    graphs = counter.frame_count
    network.sigma = 1.0
    assert name == "plain" or not same(expected, step(network, network, frames()))
    for x in (frames(), frames(rate=0.9)):
        assert same(step(network, compiled, x), step(network, network, x))
    assert counter.frame_count == graphs > 0  # not compiled again


def test_compiled_it_evaluates_and_refuses_what_is_not_finite() -> None:
    network = made().eval()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with torch.no_grad(), network.hard_delays(0.0):
        assert torch.equal(compiled(frames()), network(frames()))
        network.layers[0].neuron.weight[0, 0] = float("nan")  # type: ignore[union-attr, index]
        with pytest.raises(ValueError, match=r"recurrent weights.* contain NaN"):
            compiled(frames())


@KINDS
def test_an_export_computes_other_frames_and_trains(name: str) -> None:
    """Also after it was saved, and for another batch size."""
    network = made(name).eval()
    sizes = {"frames": {1: torch.export.Dim.AUTO}}
    file = BytesIO()
    torch.export.save(torch.export.export(network, (frames(),), dynamic_shapes=sizes), file)
    file.seek(0)
    module = torch.export.load(file).module()
    x = frames(17, 0.1)
    expected = step(network, network, x)
    module.zero_grad()
    outputs = module(x)
    assert torch.equal(outputs, expected[0])
    outputs.square().sum().backward()
    names = [key for key, _ in network.named_parameters()]
    found = dict(module.named_parameters())
    for key, gradient in zip(names, expected[1:], strict=True):
        torch.testing.assert_close(found[key].grad, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@KINDS
def test_a_trace_computes_other_frames(name: str) -> None:
    network = made(name).eval()
    traced = torch.jit.trace(network, (frames(),))
    assert torch.equal(traced(frames(17, 0.1)), network(frames(17, 0.1)))


@KINDS
def test_torch_func_gives_the_gradients_of_the_batch_and_of_each_sample(name: str) -> None:
    network, x = made(name).eval(), frames()
    _, *expected = step(network, network, x)
    parameters = {key: p.detach() for key, p in network.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, parameters, (x,))
        return outputs.square().sum()

    together = grad(loss)(parameters, x)
    by_sample = vmap(grad(loss), in_dims=(None, 1))(parameters, x.unsqueeze(2))
    for key, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(together[key], gradient, rtol=1e-5, atol=1e-6)
        assert by_sample[key].shape == (5, *gradient.shape)
        torch.testing.assert_close(by_sample[key].sum(0), gradient, rtol=1e-4, atol=1e-4)
    assert torch.equal(vmap(network, 1, 1)(x.unsqueeze(2)).squeeze(2), network(x))


def test_torch_func_inside_a_compiled_function_is_refused() -> None:
    parameters = (torch.rand(6, 2, 3), torch.rand(4, 3))
    compiled = torch.compile(
        grad(lambda x, w: cpu.linear(x, w, None).sum()), backend="aot_eager", fullgraph=True
    )
    with pytest.raises(Exception, match=r"Leave torch\.compile out"):
        compiled(*parameters)


@KINDS
def test_autocast_rounds_products_and_no_membrane(name: str) -> None:
    """Against the network whose currents alone are rounded, by hand."""
    network = made(name, readout="leaky", dropout=0.0, recurrent_dropout=0.0)
    seen = {}
    layer = network.layers[0]
    layer.neuron.register_forward_hook(lambda _, x, y: seen.update(current=x[0], spikes=y))
    outputs, *gradients = step(network, _in_bfloat16(network), frames())
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)
    current, spikes = seen["current"], seen["spikes"]
    product = torch.float32 if "per synapse" in name else torch.bfloat16  # there it is the filter
    assert (current.dtype, spikes.dtype) == (product, torch.float32)
    assert torch.equal(spikes, layer.neuron(current.float()))  # type: ignore[operator]
    assert 0.005 < spikes.mean() < 0.9
    bfloat16 = [x.bfloat16() for x in (spikes, *network.readout.linear.parameters())]
    currents = torch.nn.functional.linear(*bfloat16).float()
    assert torch.equal(outputs, functional.leaky_integrator(currents))


@KINDS
def test_autocast_takes_frames_of_half_precision(name: str) -> None:
    network = made(name).eval()
    x = frames()  # zeros and ones, exact in bfloat16
    assert torch.equal(_in_bfloat16(network)(x.bfloat16()), _in_bfloat16(network)(x))


def test_autocast_compiled_takes_the_same_step() -> None:
    network = made()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    expected = step(network, _in_bfloat16(network), frames())
    assert same(step(network, _in_bfloat16(compiled), frames()), expected)


def _in_bfloat16(form: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return form(x)

    return run


def _cases() -> dict[str, tuple[Any, ...]]:
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).requires_grad_()

    neuron = scalars(LIFParameters())
    events = (torch.rand(7, 3, 4, generator=generator) < 0.2).float().requires_grad_()
    spikes = torch.ones(1, 2, 5, LANES, dtype=torch.uint8)
    recurrent = rand(7, 3, 5), rand(5, 5), rand(5), 1 + rand(5).detach()
    return {
        "axonal": (*recurrent, torch.ones(3, 5), None, None, None, 0, *neuron),
        "axonal, continued": (*recurrent, None, rand(3, 5), rand(2, 3, 5), spikes, 3, *neuron),
        "synaptic": (rand(7, 3, 5), rand(6, 5, 5), torch.tensor(3.5), None, *neuron),
        "lif": (rand(7, 3, 5), rand(3, 5), *neuron),
        "filter": (rand(7, 3, 4), rand(4, 4)),
        "convolve": (rand(7, 3, 4), rand(6, 5, 4)),
        "linear": (events, rand(5, 4), rand(5), torch.ones(3, 5)),
        "linear, many events": (rand(7, 3, 4), rand(5, 4), None, None),
    }


@pytest.mark.parametrize("name", _cases())
def test_operators_are_registered_as_torch_asks(name: str) -> None:
    operator = getattr(torch.ops.snnbreg, name.split(",")[0]).default
    torch.library.opcheck(operator, _cases()[name])
