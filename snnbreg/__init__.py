"""snnbreg: sparse spiking neural networks with learned delays, trained by Bregman iterations.

The packages, in the order the data takes: ``datasets`` (recordings to frames), ``functional`` and
``kernels`` (the equations and their fast forms), ``models`` (networks), ``training`` (the loop),
``optim`` and ``schedulers`` (how parameters move), ``runs`` (what a training leaves). Importing
this package imports none of them; :func:`load_run` and :func:`fit` do when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnbreg.assembly.fitting import fit as fit
    from snnbreg.assembly.load import load_run as load_run

__version__ = "0.1.0"
__all__ = ["fit", "load_run"]


def __getattr__(name: str) -> Any:
    """``fit`` and ``load_run``, with what they need, at their first use."""
    if name in __all__:
        from snnbreg import assembly

        return getattr(assembly, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
