"""Settings out of range, explained."""

from __future__ import annotations

CHOICES = {
    "form": ("fast", "published"),
    "multipliers": ("last", "all"),
    "solver": ("fista", "bregman"),
    "init": ("uniform", "network", "active"),
    "readout": ("admm", "exact"),
}


def check_choices(**choices: str) -> None:
    """Every option has one of its values.

    Raises:
        ValueError: it has not.
    """
    for option, value in choices.items():
        if value not in CHOICES[option]:
            raise ValueError(f"{option}={value!r} is unknown: choose one of {CHOICES[option]}")


def check_positive(**numbers: float) -> None:
    """Every option is above zero.

    Raises:
        ValueError: it is not.
    """
    for option, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{option}={value} must be positive")


def check_from_zero(**numbers: float) -> None:
    """Every option is zero or more.

    Raises:
        ValueError: it is not.
    """
    for option, value in numbers.items():
        if not value >= 0:
            raise ValueError(f"{option}={value} must not be negative")


def check_together(form: str, readout: str, restart: int, momentum: float, anderson: int) -> None:
    """Options that need or exclude each other.

    Raises:
        ValueError: they do not go together.
    """
    if not momentum < 1:
        raise ValueError(f"momentum={momentum} must lie in [0, 1)")
    if readout == "exact" and form == "published":
        raise ValueError("form=published has no readout=exact: set readout=admm and restart=0")
    if restart and readout != "exact":
        raise ValueError("restart needs readout=exact")
    if restart == 1 and anderson:
        raise ValueError(
            "anderson mixes states, which restart=1 throws away in every sweep: set restart to 0, "
            "or to 2 or more"
        )
