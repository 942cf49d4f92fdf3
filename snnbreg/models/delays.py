"""Whole steps: delays as a chip or an evaluation uses them.

Training moves real-valued delays; ``hard_delays`` looks at the network as if they were integers
and gives it back untouched, ``round_delays_`` is the published code's way, which changes them for
good at every validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .delayed import DelayedRecurrentLIF


def delayed_layers(module: nn.Module) -> dict[str, DelayedRecurrentLIF]:
    """The layers of a module that have delays, by name (``delays="none"`` has none).

    Example:
        >>> sorted(delayed_layers(nn.Sequential(DelayedRecurrentLIF(3), nn.ReLU())))
        ['0']
    """
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, DelayedRecurrentLIF) and layer.delays != "none"
    }


@torch.no_grad()
def round_delays_(module: nn.Module) -> None:
    """Round all delays to whole steps >= 0, in place (half to even)."""
    for layer in delayed_layers(module).values():
        layer.delay.round_().clamp_(min=0.0)


@torch.no_grad()
def clamp_delays_(module: nn.Module) -> None:
    """Set negative delays to zero, in place."""
    for layer in delayed_layers(module).values():
        layer.delay.clamp_(min=0.0)


@contextmanager
def hard_delays(module: nn.Module, sigma: float | None = None) -> Iterator[None]:
    """Whole delays inside the context, the module's own again after it, bit for bit.

    Args:
        module: contains ``DelayedRecurrentLIF`` layers, or is one.
        sigma: spread inside the context: None keeps the current one (the papers' way to
            evaluate), 0.0 leaves one integer delay per sender (what a chip runs).

    Yields:
        Nothing; delays and sigma are restored when the block ends, also by an exception.

    Raises:
        ValueError: if ``sigma`` is negative or not finite.

    Example:
        >>> layer = DelayedRecurrentLIF(3, sigma=5.0)
        >>> with hard_delays(layer, sigma=0.0):
        ...     print(layer.sigma, bool((layer.delay % 1 == 0).all()))
        0.0 True
        >>> layer.sigma
        5.0
    """
    layers = delayed_layers(module).values()
    saved = [(layer, layer.delay.detach().clone(), layer.sigma_steps.clone()) for layer in layers]
    try:
        round_delays_(module)
        if sigma is not None:
            for layer in layers:
                layer.sigma = sigma
        yield
    finally:
        with torch.no_grad():
            for layer, delay, sigma_steps in saved:
                layer.delay.copy_(delay)
                layer.sigma_steps.copy_(sigma_steps)
