"""Segments of time change what is kept in memory, and no result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from snnbreg.functional.carried import pack, unpack
from snnbreg.models import SpikingNetwork, segments
from snnbreg.training import GradientSteps
from snnbreg.training.activity import Activity
from snnbreg.training.evaluation import evaluation_mode
from snnbreg.training.penalties import rate_bounds
from snnbreg.training.tasks import TASKS

STEPS = 23
SETTINGS: dict[str, dict[str, Any]] = {
    "axonal": {"learn_spread": True, "readout": "leaky", "tau": 3.0},
    "long": {"delay_init": "uniform", "delay_range": (4.0, 40.0)},
    "synaptic": {"delays": "synaptic", "readout": "spiking"},
    "feedforward": {"feedforward_delays": "axonal", "recurrent": False, "learn_spread": True},
    "both": {"feedforward_delays": ["synaptic", "axonal"], "detach_reset": True, "reset": "hard"},
    "common": {"delays": "common", "dropout_on": "spikes", "tau": 1.0},
}


def made(segments: int, dtype: torch.dtype = torch.float64, **settings: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    given: dict[str, Any] = {"delay_scale": 4.0, "sigma": 3.0, "dropout": 0.2, **settings}
    network = SpikingNetwork(3, 4, (18, 7), weight_init="kaiming", segments=segments, **given)
    return network.to(dtype)


def step(network: SpikingNetwork, batch: int = 5) -> tuple[Tensor, list[Tensor]]:
    """Outputs and gradients of a training step; the same random numbers in every call."""
    generator = torch.Generator().manual_seed(1)
    dtype = network.readout.linear.weight.dtype
    frames = torch.rand(STEPS, batch, 3, generator=generator, dtype=torch.float64).to(dtype)
    weighting = torch.randn(STEPS, batch, 4, generator=generator, dtype=torch.float64).to(dtype)
    torch.manual_seed(2)
    outputs = network(frames)
    outputs.backward(weighting)
    after = torch.rand(1)
    return outputs.detach(), [*(p.grad for p in network.parameters() if p.grad is not None), after]


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", SETTINGS)
def test_segments_compute_what_the_whole_does(name: str, engine: str) -> None:
    """Delays reach over one border and over several; the last segment is shorter."""
    expected, gradients = step(made(1, engine=engine, **SETTINGS[name]))
    assert expected.abs().mean() > 0.02
    for number in (3, 10, 99):
        outputs, found = step(made(number, engine=engine, **SETTINGS[name]))
        torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", ["axonal", "both"])
def test_computing_twice_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the same segments, kept in memory."""
    outputs, gradients = step(made(4, torch.float32, **SETTINGS[name]))

    def kept(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(segments, "checkpoint", kept)
    expected, wanted = step(made(4, torch.float32, **SETTINGS[name]))
    assert torch.equal(outputs, expected)
    assert all(torch.equal(*pair) for pair in zip(gradients, wanted, strict=True))


def test_batch_norm_is_computed_twice_by_layers_and_tracked_once() -> None:
    """The statistics are those of all steps, so that all bits are those of the whole."""
    whole, parts = (made(number, torch.float32, norm="batch") for number in (1, 4))
    (outputs, gradients), (found, others) = step(whole), step(parts)
    assert torch.equal(found, outputs)
    assert all(torch.equal(*pair) for pair in zip(others, gradients, strict=True))
    for one, other in zip(whole.buffers(), parts.buffers(), strict=True):
        assert torch.equal(one, other)
    frames = torch.rand(STEPS, 5, 3)
    with torch.no_grad():
        torch.testing.assert_close(parts.eval()(frames), whole.eval()(frames))


@pytest.mark.parametrize(("settings", "share"), [({}, 0.34), ({"norm": "batch"}, 0.5)])
def test_less_is_kept(settings: dict[str, Any], share: float) -> None:
    kept = []
    for number in (1, 6):
        tensors: dict[int, int] = {}

        def keep(x: Tensor, tensors: dict[int, int] = tensors) -> Tensor:
            tensors[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        network = made(number, delay_init="constant", delay_scale=0.5, sigma=0.0, **settings)
        frames = torch.rand(120, 64, 3, dtype=torch.float64)
        with saved_tensors_hooks(keep, lambda x: x):
            network(frames)
        kept.append(sum(tensors.values()))
    assert kept[1] < share * kept[0]


def test_the_last_segment_is_computed_once() -> None:
    network, calls = made(4), []
    network.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    step(network)
    assert len(calls) == 4 + 3


def test_spikes_are_counted_once() -> None:
    frames = torch.rand(STEPS, 5, 3, dtype=torch.float64)
    found = []
    for number in (1, 4):
        network, activity = made(number), Activity()
        with evaluation_mode(network), activity.of(network):
            network(frames)
        found.append((activity.summary(network), activity.rates(), activity.neuron_steps))
    assert found[0] == found[1]
    assert found[0][0]["firing_rate"] > 0


def test_penalties_see_all_segments() -> None:
    frames = torch.rand(STEPS, 5, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    gradients = []
    for number in (1, 4):
        network = made(number)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        method = GradientSteps(
            network, TASKS["sum_cross_entropy"], {"weights": optimizer},
            penalties=[rate_bounds(100.0, 0.5)],
        )  # fmt: skip
        torch.manual_seed(3)
        method.epoch(0, [(frames, labels)] * 2, lambda: None)
        assert method.penalties._spikes == {}
        gradients.append([p.grad for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def test_a_network_needs_a_segment() -> None:
    with pytest.raises(ValueError, match="segments=0 must be at least 1"):
        SpikingNetwork(3, 4, segments=0)


def test_nothing_is_carried_into_the_next_batch() -> None:
    network = made(3)
    step(network)
    network.segments = 1
    assert torch.equal(step(network)[0], step(made(1))[0])


def test_batch_norm_goes_on_tracking_in_later_steps() -> None:
    whole, parted = (made(number, norm="batch") for number in (1, 4))
    for batch in (5, 6, 7):
        step(whole, batch)
        step(parted, batch)
    for name, buffer in whole.named_buffers():
        torch.testing.assert_close(parted.get_buffer(name), buffer, atol=1e-12, rtol=0)


def test_spikes_wait_as_bytes_and_pass_gradients_on() -> None:
    spikes = torch.tensor([0.0, 1.0, 1.0], requires_grad=True)
    packed, link = pack(spikes)
    assert packed.dtype == torch.uint8
    assert link.untyped_storage().nbytes() == link.element_size()
    back = unpack(packed, link)
    assert torch.equal(back, spikes.detach())
    back.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert spikes.grad is not None
    assert spikes.grad.tolist() == [1.0, 2.0, 3.0]
