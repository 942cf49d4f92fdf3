"""The small dense network, against the formula of two delayed recurrent layers."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest
import torch

from snnbreg import assembly
from snnbreg.commands import width
from snnbreg.training.network import weights_of

Composed = Callable[..., Any]


@pytest.mark.parametrize(("density", "neurons"), [(0.1, 67), (0.05, 42), (1.0, 256)])
def test_two_recurrent_layers_of_the_spoken_digits(density: float, neurons: int) -> None:
    """3 h^2 + 150 h weights: 140 channels, 10 classes."""

    def count(sizes: dict[str, Any]) -> int:
        h = sizes["hidden"][0]
        assert sizes["hidden"] == [h, h]
        return int(3 * h**2 + 150 * h)

    found = width.closest({"hidden": [256, 256]}, round(density * 235_008), count)
    assert found == {"hidden": [neurons, neurons]}
    everyone = [abs(count({"hidden": [h, h]}) - density * 235_008) for h in range(1, 257)]
    assert everyone.index(min(everyone)) + 1 == neurons


@pytest.mark.parametrize(
    ("overrides", "shape"),
    [
        (["model.hidden=[30,20]", "model.delays=synaptic"], (28, 10, None)),
        (["dataset=mnist", "model=mlp"], (784, 10, (1, 28, 28))),
        (
            ["dataset=fashion_mnist", "model=convnet", "model.channels=[8,6]"],
            (784, 10, (1, 28, 28)),
        ),
        (["dataset=cifar10", "model=resnet18", "model.width=4"], (3072, 10, (3, 32, 32))),
    ],
)
def test_what_is_counted_is_what_is_built(overrides: list[str], shape: Any) -> None:
    config = assembly.check(width.composed(overrides))
    sizes = {key: config["model"][key] for key in width.SIZES if key in config["model"]}
    config["model"] |= width.resized(sizes, 1, 2)
    network = assembly.build_network(config, *shape[:2], torch.device("cpu"), shape[2])
    weights = sum(entry.weight.numel() for entry in weights_of(network))
    parameters = sum(p.numel() for p in network.parameters())
    assert assembly.count_parameters(config, *shape) == (weights, parameters)


def test_the_table_says_what_to_train(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["model.hidden=[256,256]", "dataset.bin_ms=50"]
    width.run(Namespace(overrides=overrides, densities=[0.1, 0.05]))
    _, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] + line[4:] for line in lines] == [
        ["0.1", "23501", "23517", "model.hidden=[67,67]"],
        ["0.05", "11750", "11592", "model.hidden=[42,42]"],
    ]
    biases, delays, spreads = 2 * 67 + 10, 2 * 67, 2 * 67
    assert int(lines[0][3]) == 23517 + biases + delays + spreads


def test_what_cannot_be_narrower_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"Invalid density: 0\.0"):
        width.run(Namespace(overrides=["dataset.bin_ms=50"], densities=[0.0]))
    monkeypatch.setattr(width, "SIZES", ("breadth",))
    with pytest.raises(ValueError, match="has none of the keys breadth"):
        width.run(Namespace(overrides=[], densities=[0.1]))


def test_a_target_beyond_the_full_width_makes_layers_wider() -> None:
    found = width.closest({"hidden": [4, 2]}, 90, lambda sizes: 10 * sizes["hidden"][0])
    assert found == {"hidden": [9, 4]}
