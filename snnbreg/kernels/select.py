"""The one place where an engine is chosen."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from .. import functional
from ..functional import LIFParameters


class Engine(Protocol):
    """What every engine offers: the layers over time, with the signatures of ``functional``."""

    def delayed_recurrence(
        self,
        current: Tensor,
        weight: Tensor,
        delay: Tensor,
        half_width: Tensor,
        mask: Tensor | None = None,
        lif: LIFParameters = ...,
    ) -> Tensor:
        """Spikes of a recurrent LIF layer with delays, (T, B, N) -> (T, B, N)."""

    def delayed_linear(
        self,
        events: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        delay: Tensor,
        half_width: Tensor,
    ) -> Tensor:
        """Currents of feed-forward synapses with delays, (T, B, C) -> (T, B, N)."""

    def lif(self, current: Tensor, lif: LIFParameters = ...) -> Tensor:
        """Spikes of a LIF layer without recurrence, (T, B, N) -> (T, B, N)."""


ENGINES = ("auto", "reference", "cpu", "triton")
"""The names a layer's ``engine`` may have."""


def check_engine(name: str) -> str:
    """Return the name if there is such an engine.

    Raises:
        ValueError: if there is none; the message lists the valid names.
    """
    if name not in ENGINES:
        raise ValueError(f"engine={name!r} is unknown: choose one of {list(ENGINES)}.")
    return name


def get_engine(name: str = "auto", device: torch.device | str = "cpu") -> Engine:
    """The engine of this name, for tensors on this device.

    What an engine does not compute itself (a surrogate from elsewhere, half precision) it passes
    on to the reference.

    Args:
        name: ``"reference"`` is the readable form in ``snnbreg.functional``; ``"cpu"`` is compiled
            by numba and ``"triton"``, for GPUs, by Triton, which are imported only then; ``"auto"``
            takes ``"cpu"`` on the CPU, and elsewhere the reference: ``"triton"`` is asked for by
            name, since it has been tested in Triton's interpreter only.
        device: where the tensors are.

    Returns:
        A module with ``delayed_recurrence``, ``delayed_linear`` and ``lif``.

    Raises:
        ValueError: for an unknown name (the message lists the valid ones), and for an engine that
            does not run on the device or whose compiler is not installed.

    Example:
        >>> get_engine("reference").__name__
        'snnbreg.functional'
    """
    if check_engine(name) == "triton":
        return _gpu_engine(torch.device(device))
    on_cpu = torch.device(device).type == "cpu"
    if name == "reference" or (name == "auto" and not on_cpu):
        return functional
    if not on_cpu:
        raise ValueError(
            f"engine='cpu' cannot compute on {str(device)!r}: choose 'auto' or 'reference', or "
            "move the network to the CPU."
        )
    compiled = _cpu_engine()
    if compiled is None and name == "cpu":
        raise ValueError(
            "engine='cpu' needs numba, which cannot be imported: pip install numba, or choose "
            "'auto' or 'reference'."
        )
    return compiled or functional


@cache
def _cpu_engine() -> Engine | None:
    """The engine that numba compiles, or None where numba cannot be imported."""
    try:
        from . import cpu
    except ImportError:
        return None
    return cpu


def _gpu_engine(device: torch.device) -> Engine:
    """The engine that Triton compiles."""
    try:
        from . import gpu
    except ImportError as error:
        raise ValueError(
            "engine='triton' needs Triton, which cannot be imported: pip install triton (on "
            "Linux), or choose 'auto' or 'reference'."
        ) from error
    if device.type != ("cpu" if gpu.INTERPRETED else "cuda"):
        raise ValueError(
            f"engine='triton' cannot compute on {str(device)!r}: choose 'auto' or 'reference', or "
            "move the network to a GPU."
        )
    return gpu


def backward_may_follow(*tensors: Tensor) -> bool:
    """Whether an engine has to keep what a backward pass needs."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
