"""The settings of a config group, as they are handed to its constructor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from snnbreg.assembly.names import Target, target_of
from snnbreg.assembly.schema import EXTRA, kind_of

Config = Mapping[str, Any]


def arguments(config: Config, group: str) -> dict[str, Any]:
    """A group's values without the keys that building itself uses."""
    used = EXTRA[kind_of(group, target_of(group, str(config[group]["name"])))]
    return {k: v for k, v in config[group].items() if k != "name" and k not in used}


def target_named(config: Config, group: str) -> Target:
    """What a group's keys are handed to."""
    target = target_of(group, str(config[group]["name"]))
    if target is None:
        raise ValueError(f"{group}={config[group]['name']} makes no object")
    return target


@contextmanager
def naming(group: str) -> Iterator[None]:
    """Say in which config group a wrong value stands."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Config group {group}: {error}") from error
