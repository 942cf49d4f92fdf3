"""snnbreg: sparse spiking neural networks with learned delays, trained by Bregman iterations.

The packages, in the order the data takes: ``datasets`` (recordings to frames), ``functional`` and
``kernels`` (the equations and their fast forms), ``models`` (networks), ``training`` (the loop),
``optim`` and ``schedulers`` (how parameters move), ``runs`` (what a training leaves). Importing
this package imports none of them; :func:`load_run` does when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnbreg.assembly.load import load_run as load_run

__version__ = "0.1.0"
__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """``load_run``, with what it needs, at its first use."""
    if name == "load_run":
        from snnbreg.assembly.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
