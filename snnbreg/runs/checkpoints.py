"""Checkpoints: read without executing anything, and loaded into a network that fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol
from zipfile import BadZipFile

import torch


class Stateful(Protocol):
    """A network, as far as its state is concerned."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without executing anything in it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated, damaged or something else than a checkpoint of this package.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, TypeError, UnpicklingError, BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}). Use the other one of "
            "best.pt and last.pt, or start the run anew in another folder"
        ) from error
    if not isinstance(state, dict) or not {"epoch", "network", "config"} <= set(state):
        raise ValueError(f"{path} is no checkpoint of snnbreg: epoch, network or config is missing")
    return state


def load_network(network: Stateful, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load a network's state, or say where the two networks differ.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    own = network.state_dict()
    differences = [f"{name} is missing" for name in own if name not in state]
    differences += [f"{name} is unknown to the network" for name in state if name not in own]
    differences += [
        f"{name} is {tuple(state[name].shape)}, the network's {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ValueError(
            f"{source} belongs to another network: {'; '.join(differences[:3])}{more}. "
            "Build the network with the model and dataset settings of that run's config.yaml"
        )
    network.load_state_dict(state)
