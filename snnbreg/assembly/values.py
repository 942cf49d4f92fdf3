"""Values out of range, found before any data is read: everything is made once, on a small scale.

``schema`` knows which keys there are and their types; what values they may have is known to the
constructors alone. So these are called here, with a parameter of one entry and a network of two
inputs in place of the real ones. What depends on the data or on shapes shows when the run is built,
and so does what a class of the user's own says: it is made but once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from snnbreg.assembly.methods import (
    build_method,
    build_penalties,
    make_schedulers,
    make_sparsifier,
)
from snnbreg.assembly.names import is_dotted, is_method
from snnbreg.assembly.objects import build_dataset, build_task, make_network
from snnbreg.assembly.schema import defaults_of
from snnbreg.assembly.settings import Config, arguments, target_named
from snnbreg.optim import ALLOCATIONS, Course, get_regularizer
from snnbreg.training import RunFolder, Trainer

Range = tuple[Callable[[Any], bool], str]

COUNT: Range = (lambda value: value >= 1, "at least 1")
SHARE: Range = (lambda value: 0 < value <= 1, "above 0 and at most 1")
COUNT_OR_NULL: Range = (COUNT[0], "at least 1, or null")
# Of keys that no constructor takes: a test, and what it asks for; null is left to the schema.
RANGES: dict[str, dict[str, Range]] = {
    "dataset": {
        "batch_size": COUNT, "eval_batch_size": COUNT, "epochs": COUNT,
        "limit": COUNT_OR_NULL,
        "valid_fraction": (lambda value: 0 < value < 1, "between 0 and 1"),
    },
    "model": {"sigma_decay": SHARE},
    "optim": {
        "init_density": SHARE,
        "init_allocation": (lambda value: value in ALLOCATIONS, " or ".join(ALLOCATIONS)),
        "delay_lr": (lambda value: 0 <= value < math.inf, "at least 0 and finite"),
    },
    "trainer": {
        "threads": COUNT_OR_NULL,
        "extend_lr": (SHARE[0], f"{SHARE[1]}, or null"),
        "grad_clip": (lambda value: value > 0, "positive, or null"),
        "weight_bits": (lambda value: value in (8, 6, 4), "8, 6, 4 or null"),
    },
}  # fmt: skip
IMAGE = (3, 32, 32)
"""Colours, height and width: no image of the built-in data sets is larger."""
STEPS = 1000
"""Batches per epoch: enough for any share of a run to be at least a step."""


def check_values(config: Config) -> None:
    """Refuse values out of range.

    Args:
        config: checked for keys and types.

    Raises:
        ValueError: names the key, ``group.key``, its value and what it may be.
    """
    for group, ranges in RANGES.items():
        for key, (fits, words) in ranges.items():
            value = config[group].get(key)
            if value is not None and not fits(value):
                raise ValueError(f"{group}.{key}={value} must be {words}")
    build_task(config)
    with torch.random.fork_rng(devices=[]):
        for group, make in TRIALS.items():
            if not is_dotted(str(config[group]["name"])):
                _try(config, group, make)


def _try(config: Config, group: str, make: Callable[[Config], object]) -> None:
    try:
        make(config)
    except ValueError as error:
        text = str(error).removeprefix(f"Config group {group}: ")
        key = _culprit(config, group, make, str(error))
        if key is None:
            raise
        if text.startswith(f"{key}="):
            text = f"{group}.{text}"
        elif f"{group}.{key}" not in text:
            value = config[group][key]
            nested = isinstance(value, Mapping) or "{" in str(value)  # it may be long
            text = f"{group}.{key}: {text}" if nested else f"{group}.{key}={value}: {text}"
        raise ValueError(text) from error


def _culprit(
    config: Config, group: str, make: Callable[[Config], object], message: str
) -> str | None:
    """The key of which a message speaks: with its default value nothing, or something else, fails.

    The constructors of torch do not name their arguments, so it is found by trying.
    """
    found = None
    for key, default in defaults_of(group, config[group]).items():
        if config[group][key] == default:
            continue
        try:
            make({**config, group: {**config[group], key: default}})
        except ValueError as error:
            if found is None and str(error) != message:
                found = key
        else:
            return key
    return found


def _network(config: Config) -> nn.Module:
    return make_network(config, {"inputs": 2, "outputs": 2, "image": IMAGE})


def _optimizers(config: Config) -> tuple[nn.Module, dict[str, Optimizer]]:
    """Optimizers of a network of one weight, which has a regulariser if any weight has."""
    network = nn.Linear(1, 1, bias=False)
    rules = [rule for rule in config["optim"]["rules"] if isinstance(rule, Mapping)]
    names = [config["optim"].get("regularizer", "none")]
    names += [rule["regularizer"] for rule in rules if "regularizer" in rule]
    for name in names:
        get_regularizer(name)
    regularizer = "l1" if set(names) != {"none"} else "none"
    make, settings = target_named(config, "optim"), arguments(config, "optim")
    groups: list[dict[str, Any]] = [{"params": list(network.parameters())}]
    for rule in rules:
        if rule.get("optimizer", "weights") == "weights":
            group = {key: value for key, value in rule.items() if key not in RULE}
            groups.append({**group, "params": [nn.Parameter(torch.zeros(1))]})
    for group in groups if "regularizer" in settings else []:
        group["regularizer"] = regularizer
    optimizers = {
        "weights": make(groups, **settings),
        "delays": torch.optim.Adam([nn.Parameter(torch.zeros(1))]),
    }
    return network, optimizers


RULE = ("pattern", "max_dims", "optimizer", "optional", "regularizer")
"""Keys of a rule that are no options of an optimizer, or were looked at before."""


def _method(config: Config) -> None:
    if is_method(target_named(config, "optim")):
        build_method(config, _network(config), build_task(config), STEPS)
        return
    network, optimizers = _optimizers(config)
    if config["optim"]["sparsifier"] is not None:
        weights = {"weight": cast(torch.Tensor, network.weight)}
        epochs, seed = config["trainer"]["epochs"], config["seed"]
        make_sparsifier(config, Course(network, weights, optimizers, epochs, STEPS, seed))


def _scheduler(config: Config) -> None:
    own = is_dotted(str(config["optim"]["name"]))
    if not own and not is_method(target_named(config, "optim")):
        make_schedulers(config, _optimizers(config)[1], STEPS)


def _trainer(config: Config) -> None:
    build_penalties(config)
    nothing: Any = None
    Trainer(
        nn.Linear(1, 1), build_task(config), nothing, nothing, nothing, RunFolder("."), config,
        seed=config["seed"], **arguments(config, "trainer"),
    )  # fmt: skip


TRIALS: dict[str, Callable[[Config], object]] = {
    "trainer": _trainer,
    "dataset": build_dataset,
    "model": _network,
    "optim": _method,
    "scheduler": _scheduler,
}
