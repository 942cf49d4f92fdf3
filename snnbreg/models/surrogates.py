"""Surrogate gradients by name: our own, and those of snntorch.

snntorch's compute in float32 whatever the input and fire above the threshold, not at it
(x > 0); ours keep the input's type and fire at x >= 0, as the published code does. It is imported
when one of its surrogates is asked for, not before.
"""

from __future__ import annotations

from ..functional import SURROGATES, Surrogate

PREFIX = "snntorch:"
SNNTORCH_SURROGATES = (
    "atan",
    "fast_sigmoid",
    "heaviside",
    "sigmoid",
    "spike_rate_escape",
    "straight_through_estimator",
    "triangular",
    "SFS",
    "SSO",
)
"""Names that may follow ``snntorch:``; each is taken with snntorch's own default steepness."""


def resolve_surrogate(name: str | Surrogate) -> Surrogate:
    """Turn the name of a surrogate into what ``functional.spike`` takes.

    Args:
        name: ``"triangle"``, ``"atan"``, ``"snntorch:NAME"`` with a name of
            ``SNNTORCH_SURROGATES``, or a function x -> spikes, which is returned as it is.

    Returns:
        The name itself for our own surrogates, a function for those of snntorch.

    Raises:
        ValueError: for an unknown name; the message lists the valid ones.

    Example:
        >>> resolve_surrogate("triangle")
        'triangle'
    """
    if callable(name) or name in SURROGATES:
        return name
    if name.startswith(PREFIX) and name.removeprefix(PREFIX) in SNNTORCH_SURROGATES:
        from snntorch import surrogate

        return getattr(surrogate, name.removeprefix(PREFIX))()
    valid = [*sorted(SURROGATES), *(PREFIX + other for other in SNNTORCH_SURROGATES)]
    raise ValueError(f"surrogate={name!r} is unknown: choose one of {valid}.")
