"""What a ``name`` in a config group stands for: a registered name, or a dotted path."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from snnbreg.admm import ADMM
from snnbreg.datasets import DATASETS
from snnbreg.models import MLP, ConvNet, ResNet, SpikingNetwork
from snnbreg.optim import AdaBreg, LinBreg, ProxAdam, ProxSGD
from snnbreg.schedulers.factory import CURVES
from snnbreg.schedulers.plateau import PlateauScheduler
from snnbreg.training import TensorboardLogger, Trainer, WandbLogger

Target = Callable[..., Any]

REGISTERED: dict[str, dict[str, Target | None]] = {
    "dataset": dict(DATASETS),
    "model": {
        "*": SpikingNetwork,
        "mlp": MLP,
        "autoencoder": MLP,
        "convnet": ConvNet,
        "resnet18": ResNet,
    },
    "optim": {
        "adabreg": AdaBreg,
        "linbreg": LinBreg,
        "proxsgd": ProxSGD,
        "proxadam": ProxAdam,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "admm": ADMM,
    },
    "scheduler": {**CURVES, "plateau": PlateauScheduler},
    "trainer": {"*": Trainer},
    "logger": {"csv": None, "wandb": WandbLogger, "tensorboard": TensorboardLogger},
}
"""For each config group, the names it may have and what its keys are handed to; ``*`` is any."""


def is_dotted(name: str) -> bool:
    """Whether a name is the path of a user's own class or function, such as ``nets.SmallConv``."""
    return "." in name


def is_method(target: Target | None) -> bool:
    """Whether a target of the group optim is a whole method of training, not an optimizer."""
    return hasattr(target, "epoch")


def target_of(group: str, name: str) -> Target | None:
    """The class or function that a group's keys are handed to; None where none is needed.

    Args:
        group: config group.
        name: registered, or the dotted path of a class or function: its module is looked for
            among the installed ones, in the current folder and in that of ``--config-dir``.

    Raises:
        ValueError: there is no such name, module or class.
    """
    choices = REGISTERED[group]
    if name in choices:
        return choices[name]
    if is_dotted(name):
        return _imported(group, name)
    if "*" in choices:
        return choices["*"]
    raise ValueError(
        unknown_option(f"{group}.name={name}", f"of the group {group}", sorted(choices))
        + ", or the dotted path of a class of your own"
    )


def unknown_option(key: str, where: str, valid: list[str]) -> str:
    """Say that a key is no option ``where``, with the nearest valid name and all of them."""
    close = difflib.get_close_matches(re.split(r"[.=]", key)[-1], valid, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"{key} is no option {where}.{hint} Valid names: {', '.join(valid)}"


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """A hash of the file of every dotted name in a config, by group: it may change a result."""
    found = {}
    for group, values in config.items():
        name = str(values.get("name", "")) if isinstance(values, Mapping) else ""
        if group in REGISTERED and is_dotted(name):
            file = inspect.getsourcefile(inspect.unwrap(_imported(group, name)))
            found[group] = hashlib.sha256(Path(file or "").read_bytes()).hexdigest()
    return found


def _imported(group: str, name: str) -> Target:
    module, _, attribute = name.rpartition(".")
    sys.path += [folder for folder in _own_folders() if folder not in sys.path]
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{group}.name={name}: {module} needs {error.name}") from error
        raise ValueError(
            f"{group}.name={name}: there is no module {module} in the current folder, in the "
            "folder of --config-dir or among the installed packages (PYTHONPATH names more folders)"
        ) from error
    if not callable(found):
        raise ValueError(f"{group}.name={name}: {module} has no class or function {attribute}")
    return found


def _own_folders() -> Iterator[str]:
    """Where a user's modules may lie: the current folder, and that of ``--config-dir``."""
    yield os.getcwd()
    options = iter(sys.argv[1:])
    for option in options:
        key, equals, value = option.partition("=")
        if key in ("--config-dir", "-cd"):
            yield os.path.abspath(value if equals else next(options, "."))
    if HydraConfig.initialized():  # in a process that a launcher started
        for source in HydraConfig.get().runtime.config_sources:
            if source.schema == "file" and source.provider == "command-line":
                yield str(source.path)
