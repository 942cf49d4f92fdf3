"""LIF layers without recurrence, and the leaky integrator of a readout."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch
from torch import Tensor, nn

from .. import functional
from ..functional import LIFParameters, Surrogate
from ..kernels import check_engine, get_engine
from .segments import Carrying
from .surrogates import resolve_surrogate

Layer = TypeVar("Layer", bound=nn.Module)


def in_full_precision(
    forward: Callable[[Layer, Tensor], Tensor],
) -> Callable[[Layer, Tensor], Tensor]:
    """Make a layer that remembers something over time compute in float32 under ``torch.autocast``.

    A membrane rounded in every step would make neurons fire at other times; products of matrices
    outside of the layer stay autocast's.
    """

    @wraps(forward)
    def run(layer: Layer, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return forward(layer, x)
        with torch.autocast(x.device.type, enabled=False):
            return forward(layer, x.float() if x.dtype in (torch.bfloat16, torch.float16) else x)

    return run


class LIF(Carrying):
    """Leaky integrate-and-fire neurons over time; no parameters to train.

    Equations in ``snnbreg.functional.lif``. The membranes start at zero in every call.

    Args:
        tau: membrane time constant in steps, >= 1; the leak is 1 - 1/tau.
        threshold: > 0; a neuron fires when its membrane reaches it.
        reset: ``"soft"`` subtracts the threshold, ``"hard"`` sets the membrane to zero.
        detach_reset: whether the reset passes no gradient to the spike.
        surrogate: ``"triangle"``, ``"atan"`` or ``"snntorch:NAME"``.
        alpha: steepness of ``"atan"``.
        engine: ``"auto"``, ``"reference"``, ``"cpu"`` or ``"triton"``, see ``kernels.get_engine``.

    Shape:
        current (T, B, N) -> spikes (T, B, N), in the type of the input.

    Raises:
        ValueError: for a setting out of range.

    Example:
        >>> import torch
        >>> LIF(tau=2.0)(torch.full((5, 1, 1), 0.75)).flatten()
        tensor([0., 1., 0., 1., 0.])
    """

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: str = "soft",
        detach_reset: bool = False,
        surrogate: str | Surrogate = "triangle",
        alpha: float = 5.0,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.lif = lif_settings(tau, threshold, reset, detach_reset, surrogate, alpha)
        self.engine = check_engine(engine)

    @in_full_precision
    def forward(self, current: Tensor) -> Tensor:
        """Spikes of a current."""
        engine = get_engine(self.engine, current.device)
        if self.carry is None:
            return engine.lif(current, self.lif)
        spikes, self.carry.state = engine.continued_lif(current, self.carry.state, self.lif)
        return spikes

    def extra_repr(self) -> str:
        """The neurons' settings, for ``print(model)``."""
        return describe(self.lif)


class LeakyIntegrator(Carrying):
    """Membranes that leak and never fire, the readout of DelRec's SHD network.

    Args:
        tau: membrane time constant in steps, >= 1; the leak is 1 - 1/tau.

    Shape:
        current (T, B, K) -> membranes (T, B, K).

    Raises:
        ValueError: if ``tau`` is out of range.

    Example:
        >>> import torch
        >>> LeakyIntegrator(tau=2.0)(torch.ones(3, 1, 1)).flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """

    def __init__(self, tau: float = 2.0) -> None:
        super().__init__()
        self.leak = functional.lif_parameters(tau).leak

    @in_full_precision
    def forward(self, current: Tensor) -> Tensor:
        """Membranes of a current."""
        if self.carry is None:
            return functional.leaky_integrator(current, self.leak)
        membranes = functional.leaky_integrator(current, self.leak, self.carry.state)
        self.carry.state = membranes[-1].clone()
        return membranes

    def extra_repr(self) -> str:
        """The leak, for ``print(model)``."""
        return f"leak={self.leak:g}"


def lif_settings(
    tau: float,
    threshold: float,
    reset: str,
    detach_reset: bool,
    surrogate: str | Surrogate,
    alpha: float,
) -> LIFParameters:
    """Check a layer's settings; as ``functional.lif_parameters``, with snntorch's surrogates."""
    return functional.lif_parameters(
        tau, threshold, reset, detach_reset, resolve_surrogate(surrogate), alpha
    )


def describe(lif: LIFParameters) -> str:
    """The settings of LIF neurons in one line."""
    surrogate = lif.surrogate if isinstance(lif.surrogate, str) else "function"
    return (
        f"leak={lif.leak:g}, threshold={lif.threshold:g}, reset={lif.reset}, "
        f"detach_reset={lif.detach_reset}, surrogate={surrogate}"
    )
