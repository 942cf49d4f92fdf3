"""How wide a dense network is that has as many weights as a sparse one has non-zeros.

A small dense network is a rival of every sparse one. Its layers are those of the configured
network, all narrower by the same factor; the printed settings on a command line of ``train``, with
an optimizer that makes no zeros, train it. It has fewer biases and delays, which are counted too.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from snnbreg import assembly
from snnbreg.assembly.configs import composed

SIZES = ("channels", "hidden", "width")
"""Keys of the group model that say how wide layers are: a number, or one per layer."""

Sizes = dict[str, Any]


def resized(sizes: Sizes, numerator: int, denominator: int) -> Sizes:
    """Layers of ``numerator / denominator`` of the width, rounded, of at least one neuron.

    Example:
        >>> resized({"hidden": [200, 80]}, 10, 200)
        {'hidden': [10, 4]}
    """

    def scaled(size: int) -> int:
        return max(1, round(size * numerator / denominator))

    return {
        key: [scaled(s) for s in size] if isinstance(size, list) else scaled(size)
        for key, size in sizes.items()
    }


def closest(sizes: Sizes, target: int, count: Callable[[Sizes], int]) -> Sizes:
    """The layers, all narrower or wider by one factor, whose count is closest to a target.

    Args:
        sizes: of the full network.
        target: a number of weights or parameters.
        count: that number of a network with such layers; it grows with their width.
    """
    widest = max(max(s) if isinstance(s, list) else s for s in sizes.values())
    low, high = 1, widest  # the first width with at least the target lies in between
    while count(resized(sizes, high, widest)) < target:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if count(resized(sizes, middle, widest)) < target:
            low = middle + 1
        else:
            high = middle
    near = [resized(sizes, width, widest) for width in (low - 1, low) if width]
    return min(near, key=lambda each: abs(count(each) - target))


def sizes_of(config: dict[str, Any]) -> Sizes:
    """The widths that the configured network lets be set, as they are."""
    return {key: config["model"][key] for key in SIZES if key in config["model"]}


def overrides_of(sizes: Sizes) -> list[str]:
    """Widths as settings on a command line."""
    return [f"model.{key}={size}".replace(" ", "") for key, size in sizes.items()]


def counts(config: dict[str, Any], splits: Any, sizes: Sizes) -> tuple[int, int]:
    """Weights and all parameters of the configured network with layers of other sizes."""
    changed = {**config, "model": config["model"] | sizes}
    return assembly.count_parameters(changed, splits.channels, splits.classes, splits.image)


def equally_many(config: dict[str, Any], splits: Any, sizes: Sizes, density: float) -> Sizes:
    """The layers of the dense network whose weights are closest to a share of the full one's.

    Args:
        config: of the full network, checked.
        splits: of the data, which say how many channels and classes there are.
        sizes: the keys of the network that are made smaller, as they are.
        density: the share.
    """

    def count(each: Sizes) -> int:
        return counts(config, splits, each)[0]

    return closest(sizes, round(density * count(sizes)), count)


def with_parameters(config: dict[str, Any], splits: Any, parameters: int) -> Sizes:
    """The layers of the configured network with which its parameters are closest to a number."""

    def count(each: Sizes) -> int:
        return counts(config, splits, each)[1]

    return closest(sizes_of(config), parameters, count)


def run(options: Namespace) -> None:
    """Print a line per density.

    Raises:
        ValueError: a density outside (0, 1], or a network whose layers have no widths to set.
    """
    config = assembly.check(composed(options.overrides))
    sizes = sizes_of(config)
    if not sizes:
        raise ValueError(
            f"model={config['model']['name']} has none of the keys {', '.join(SIZES)} to make "
            "narrower"
        )
    splits = assembly.build_splits(config)
    full, _ = counts(config, splits, sizes)
    print("density  non-zeros    weights  parameters  settings")
    for density in options.densities:
        if not 0 < density <= 1:
            raise ValueError(f"Invalid density: {density!r}. It must be in (0, 1].")
        found = equally_many(config, splits, sizes, density)
        weights, parameters = counts(config, splits, found)
        words = " ".join(overrides_of(found))
        print(f"{density:7g}  {round(density * full):9d}  {weights:9d}  {parameters:10d}  {words}")
