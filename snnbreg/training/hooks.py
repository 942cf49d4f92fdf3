"""What happens around gradient steps: annealing, rounding, clamping, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

from snnbreg.training.network import Delayed


class Hook:
    """Told when an epoch starts, a gradient is there, a step is done and an epoch ends.

    By default it does nothing and has no state. A hook that changes parameters tells optimizers
    that hold a dual variable of them (:func:`resync_delays`).
    """

    def before_epoch(self, epoch: int) -> None:
        """An epoch, counted from 0, begins."""

    def after_backward(self) -> None:
        """The gradient is complete; it is not yet clipped, and no optimizer has seen it."""

    def after_step(self) -> None:
        """The optimizers have made a step."""

    def after_epoch(self, epoch: int) -> None:
        """The last step of an epoch is done; its evaluation comes next."""

    def columns(self) -> dict[str, float]:
        """What it has to tell when an epoch is done: columns of the epoch's row."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the run depends on: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""


class AnnealedSigma(Hook):
    """Sets the spread of the delay kernels at the start of every epoch.

    Args:
        network: has delays.
        sigma: spread in steps as a function of the epoch.
    """

    def __init__(self, network: Delayed, sigma: Callable[[int], float]) -> None:
        self.network, self.sigma = network, sigma

    def before_epoch(self, epoch: int) -> None:
        """Write the epoch's value."""
        self.network.sigma = self.sigma(epoch)


class _DelayHook(Hook):
    """Changes the delays of a network, and tells the optimizers that hold them."""

    def __init__(self, network: Delayed, optimizers: Iterable[Optimizer]) -> None:
        self.network, self.optimizers = network, list(optimizers)


class ClampedDelays(_DelayHook):
    """Sets negative delays to zero after every step, as published for SHD."""

    def after_step(self) -> None:
        """Clamp."""
        self.network.clamp_delays_()
        resync_delays(self.network, self.optimizers)


class RoundedDelays(_DelayHook):
    """Rounds delays for good before every evaluation, as the published code does."""

    def after_epoch(self, epoch: int) -> None:
        """Round."""
        self.network.round_delays_()
        resync_delays(self.network, self.optimizers)


def resync_delays(network: Delayed, optimizers: Iterable[Optimizer]) -> None:
    """Tell optimizers that hold a dual variable that delays were written from outside."""
    delays = {delay.data_ptr() for delay in network.delays().values()}
    for optimizer in optimizers:
        groups = optimizer.param_groups
        held = [p for group in groups for p in group["params"] if p.data_ptr() in delays]
        if held and hasattr(optimizer, "resync"):
            optimizer.resync(held)
