"""The one place where an engine is chosen."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .. import functional
from ..functional import Carried, LIFParameters


class Engine(Protocol):
    """The layers over time that every engine has, with the signatures of ``functional``."""

    def delayed_recurrence(
        self,
        current: Tensor,
        weight: Tensor,
        delay: Tensor,
        half_width: Tensor,
        mask: Tensor | None = None,
        neuron: LIFParameters = ...,
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

    def linear(
        self, events: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """Currents of feed-forward synapses, times a mask, (T, B, C) -> (T, B, N)."""

    def lif(self, current: Tensor, neuron: LIFParameters = ...) -> Tensor:
        """Spikes of a LIF layer without recurrence, (T, B, N) -> (T, B, N)."""

    def continued_recurrence(
        self,
        current: Tensor,
        carried: Carried | None,
        weight: Tensor,
        delay: Tensor,
        half_width: Tensor,
        mask: Tensor | None = None,
        neuron: LIFParameters = ...,
        keep: int = 0,
    ) -> tuple[Tensor, Carried]:
        """A segment of time of ``delayed_recurrence``, and what the next one takes."""

    def continued_lif(
        self, current: Tensor, membrane: Tensor | None, neuron: LIFParameters = ...
    ) -> tuple[Tensor, Tensor]:
        """A segment of time of ``lif``, and the membranes at its end."""

    def column_sums(self, a: Tensor, b: Tensor) -> Tensor:
        """Sums of a and of a b over the rows, (R, N) -> (2, N) float64."""


ENGINES = ("auto", "reference", "cpu", "triton")
"""The names a layer's ``engine`` may have."""


def check_engine(name: str) -> str:
    """Return the name if an engine has it.

    Raises:
        ValueError: if none has; the message lists the valid names.
    """
    if name not in ENGINES:
        raise ValueError(f"engine={name!r} is unknown: choose one of {list(ENGINES)}.")
    return name


def get_engine(name: str = "auto", device: torch.device | str = "cpu") -> Engine:
    """The engine of this name, for tensors on this device.

    An engine passes what it does not compute itself (other surrogates, half precision) to the
    reference.

    Args:
        name: ``"reference"`` is ``snnbreg.functional``. ``"cpu"`` is compiled by numba, and
            ``"triton"``, for GPUs, by Triton; numba and Triton are imported only when needed.
            ``"auto"`` is ``"cpu"`` on the CPU (the reference if numba is missing) and the reference
            on other devices; it is never ``"triton"``, which has been tested only in Triton's
            interpreter.
        device: device of the tensors.

    Returns:
        A module with ``delayed_recurrence``, ``delayed_linear``, ``linear`` and ``lif``.

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


_found: list[Engine | None] = []  # torch.compile warns of functools.cache


def _cpu_engine() -> Engine | None:
    """The engine that numba compiles, or None where numba cannot be imported."""
    if not _found:
        try:
            from . import cpu
        except ImportError:
            _found.append(None)
        else:
            _found.append(cpu)
    return _found[0]


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


def backward_may_follow(*tensors: Tensor | None) -> bool:
    """Whether an engine has to save tensors for a backward pass.

    Inside ``torch.func`` it always has to: there a tensor does not say whether it needs a gradient.
    """
    if torch._C._are_functorch_transforms_active():
        return True
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
