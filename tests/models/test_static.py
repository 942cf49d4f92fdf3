"""Networks without spikes against their equations in NumPy, literal loops and published sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from snnbreg.models import MLP, ConvNet, ResNet, StaticNetwork
from snnbreg.models.static import initialise_
from snnbreg.optim import sparsify_

SMALL: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (MLP, dict(inputs=192, outputs=5, hidden=(7,))),
    "convnet": (ConvNet, dict(image=(3, 8, 8), outputs=5, channels=(4,), kernel=3, hidden=(6,))),
    "resnet18": (ResNet, dict(image=(3, 8, 8), outputs=5, width=2, blocks=(1, 1))),
}


def made(name: str, **settings: Any) -> StaticNetwork:
    make, sizes = SMALL[name]
    return make(**{**sizes, **settings})


def weights(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.ndim > 1}


def test_the_published_numbers_of_weights() -> None:
    shapes = [tuple(w.shape) for w in weights(MLP(784, 10)).values()]
    assert shapes == [(200, 784), (80, 200), (10, 80)]
    convnet = weights(ConvNet((1, 28, 28), 10))
    assert sum(w.numel() for w in convnet.values()) == 236_352
    assert sum(w.shape[0] * w.shape[1] for w in convnet.values() if w.ndim == 4) == 4_160
    autoencoder = MLP(784, 784, hidden=[784] * 5)
    assert [tuple(w.shape) for w in weights(autoencoder).values()] == [(784, 784)] * 6
    resnet = ResNet((3, 32, 32), 10)
    assert sum(p.numel() for p in resnet.parameters()) == 11_173_962
    convolutions = [w for w in weights(resnet).values() if w.ndim == 4]
    assert len(convolutions) == 20  # 17 on the way, 3 around blocks; with the readout 18 deep
    sizes = [w.shape[0] for name, w in weights(resnet).items() if "second" in name]
    assert sizes == [64, 64, 128, 128, 256, 256, 512, 512]


@pytest.mark.parametrize("final_relu", [False, True])
def test_the_perceptron_is_its_equation(final_relu: bool) -> None:
    network = MLP(6, 3, hidden=(5, 4), final_relu=final_relu).double()
    frames = torch.randn(2, 7, 6, dtype=torch.float64)
    x = frames.numpy()
    for number, layer in enumerate(network.layers):
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if number < 2 or final_relu:
            x = np.maximum(x, 0)
    np.testing.assert_allclose(network(frames).detach().numpy(), x, rtol=1e-12, atol=1e-12)
    assert bool((x < 0).any()) is not final_relu


def test_the_convolutional_network_is_its_loop() -> None:
    network = made("convnet").double()
    frames = torch.randn(1, 2, 192, dtype=torch.float64)
    (conv,) = network.convs
    kernels, biases = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    features = np.zeros((2, 4, 3, 3))
    for n, f, i, j in np.ndindex(features.shape):
        image = frames[0, n].numpy().reshape(3, 8, 8)
        found = [
            (image[:, y : y + 3, x : x + 3] * kernels[f]).sum() + biases[f]
            for y in (2 * i, 2 * i + 1)
            for x in (2 * j, 2 * j + 1)
        ]
        features[n, f, i, j] = max(0.0, *found)
    first, last = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in network.linears
    )
    hidden = np.maximum(features.reshape(2, -1) @ first[0].T + first[1], 0)
    expected = hidden @ last[0].T + last[1]
    np.testing.assert_allclose(network(frames)[0].detach().numpy(), expected, rtol=1e-10)


def test_a_residual_block_adds_what_went_around_it() -> None:
    network = made("resnet18").eval()
    with torch.no_grad():
        for block in network.blocks:  # what goes through a block is nothing
            block.second.norm.weight.zero_()
    frames = torch.randn(1, 3, 192)
    x = torch.relu(network.stem(frames[0].view(3, 3, 8, 8)))
    for block in network.blocks:
        x = torch.relu(block.shortcut(x))
    assert x.shape == (3, 4, 4, 4)
    expected = x.mean((2, 3)) @ network.readout.weight.T + network.readout.bias
    torch.testing.assert_close(network(frames)[0], expected)


@pytest.mark.parametrize("name", SMALL)
def test_every_step_is_a_sample_of_its_own_and_every_weight_learns(name: str) -> None:
    network = made(name).eval()
    frames = torch.randn(3, 4, 192)
    outputs = network(frames)
    assert outputs.shape == (3, 4, 5)
    for t in range(3):
        torch.testing.assert_close(network(frames[t : t + 1])[0], outputs[t])
    torch.testing.assert_close(network(frames[:, 1:2])[:, 0], outputs[:, 1])
    outputs.square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert bool((parameter.grad != 0).any()), key


@pytest.mark.parametrize(
    ("kind", "deviation"),
    [("kaiming_normal", (2 / 800) ** 0.5), ("xavier_normal", (2 / 1000) ** 0.5)],
)
def test_variances_of_the_initial_weights(kind: str, deviation: float) -> None:
    torch.manual_seed(0)
    network = MLP(800, 200, hidden=(), weight_init=kind, weight_factor=3.0)
    assert network.layers[0].weight.std().item() == pytest.approx(3 * deviation, rel=0.01)
    convs = nn.Conv2d(32, 40, 5)  # 800 inputs, and 1000 outputs of each sender
    initialise_(convs, kind, 1.0, "zeros", 1.0)
    expected = deviation if kind == "kaiming_normal" else (2 / 1800) ** 0.5
    assert convs.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert not convs.bias.any()


def test_a_sparse_start_with_the_published_factor() -> None:
    torch.manual_seed(0)  # 0.7 here and 1 / sqrt(0.01) from the mask make the published 7
    weight = MLP(784, 200, hidden=(), weight_factor=0.7).layers[0].weight
    sparsify_(weight, 0.01)
    kept = weight[weight != 0]
    assert len(kept) == pytest.approx(1568, rel=0.1)
    assert kept.std().item() == pytest.approx(7 * (2 / 784) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("default", -1, 1), ("positive", 0, 1), ("zeros", 0, 0)]
)
def test_ranges_of_the_initial_biases(kind: str, low: float, high: float) -> None:
    bias = MLP(16, 2000, hidden=(), bias_init=kind, bias_factor=2.0).layers[0].bias
    assert bias.min().item() == pytest.approx(low * 2 / 4, abs=0.01)
    assert bias.max().item() == pytest.approx(high * 2 / 4, abs=0.01)


def test_the_default_weights_are_those_of_torch() -> None:
    torch.manual_seed(3)
    expected = [nn.Linear(4, 3), nn.Linear(3, 2)]
    torch.manual_seed(3)
    network = MLP(4, 2, hidden=(3,), weight_init="default")
    for own, theirs in zip(network.layers, expected, strict=True):
        assert torch.equal(own.weight, theirs.weight)
        assert torch.equal(own.bias, theirs.bias)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("option", ["weight_init", "bias_init"])
def test_an_unknown_start_is_named(name: str, option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option}='odd' is unknown.*default"):
        made(name, **{option: "odd"})


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(ValueError, match=r"nothing is left of an image of .* after 2 conv"):
        ConvNet((1, 12, 12), 10)
    assert ConvNet((1, 16, 16), 10)(torch.rand(1, 1, 256)).shape == (1, 1, 10)
    with pytest.raises(ValueError, match="at least one neuron in every layer"):
        MLP(3, 2, hidden=(4, 0))
    for make in (ConvNet, ResNet):
        with pytest.raises(ValueError, match=r"needs whole images.*dataset\.encoder=image"):
            make(None, 10)


def test_positive_biases_let_empty_rows_learn() -> None:
    """A ReLU whose weights are all zero is silent for good where its bias is below zero."""
    torch.manual_seed(0)
    found = {}
    for kind in ("default", "positive"):
        network = MLP(20, 20, hidden=(20,), final_relu=True, bias_init=kind)
        with torch.no_grad():
            network.layers[1].weight.zero_()
        (network(torch.rand(1, 8, 20)) - 1).square().sum().backward()
        found[kind] = int((network.layers[1].weight.grad != 0).any(1).sum())
    assert found["positive"] == 20
    assert found["default"] == pytest.approx(10, abs=6)
