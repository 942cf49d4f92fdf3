"""What a config may say: typed schemas made from the constructors that receive it.

``configs/`` holds values and their meaning; this module holds which keys exist and their types, so
that a misspelt key or a wrong type is refused before anything starts, with the valid names.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import field, is_dataclass, make_dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnbreg.assembly.names import (
    REGISTERED,
    Target,
    is_dotted,
    is_method,
    target_of,
    unknown_option,
)
from snnbreg.models import StaticNetwork
from snnbreg.optim import SPARSIFIERS
from snnbreg.optim.groups import DELAYS

# Keys that no constructor takes but building needs, with their types.
EXTRA: dict[str, dict[str, Any]] = {
    "dataset": {"batch_size": int, "eval_batch_size": int, "epochs": int},
    "model": {"objective": str, "sigma_decay": float},
    "optim": {
        "init_density": float, "init_allocation": str, "init_exact": bool, "delay_lr": float,
        "rules": list[Any], "sparsifier": Any,
    },
    "optim.sparsifier": {},
    "scheduler": {"per": str, "delays": Any, "lam": Any},
    "trainer": {
        "resume": Any, "threads": typing.Optional[int],  # noqa: UP045
        "round_delays_in_place": bool, "clamp_delays": bool,
        "grad_clip": typing.Optional[float], "penalties": list[Any],  # noqa: UP045
        "init_from": typing.Optional[str], "weight_bits": typing.Optional[int],  # noqa: UP045
        "extend_lr": typing.Optional[float],  # noqa: UP045
    },
    "logger": {},
    "method": {},  # of a method in the group optim, which makes no gradient steps
}  # fmt: skip
# Their values where a config may say nothing: that of a run older than the key, and the group of a
# class of the user's own.
EXTRA_DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"objective": "sum_cross_entropy", "sigma_decay": 0.95},
    "optim": {
        "init_density": 1.0,
        "init_allocation": "uniform",
        "init_exact": False,
        "delay_lr": 5e-2,
        "rules": [
            {"pattern": DELAYS, "optimizer": "delays", "optional": True},
            {"pattern": ""},
        ],
        "sparsifier": None,
    },
    "scheduler": {"per": "epoch", "delays": None, "lam": None},
    "trainer": {"penalties": [], "init_from": None, "weight_bits": None, "extend_lr": None},
}
# Keys that a group's file may leave out likewise.
OPTIONAL = {"model": {"sigma_decay"}}
# Keys of earlier versions that decided nothing; where the schema lacks one now, a saved config may
# still say it, and loses it.
FORMER: dict[str, set[str]] = {"dataset": {"binning"}}
# Keys by their former names, which an older config may say.
RENAMED: dict[str, dict[str, str]] = {"trainer": {"start": "init_from"}}
# Arguments that building fills in, or that nobody should set from a config.
FILLED: dict[str, set[str]] = {
    "dataset": set(),
    "model": {"inputs", "outputs", "image"},
    "optim": {
        "params", "foreach", "maximize", "capturable", "differentiable", "fused",
        "decoupled_weight_decay",
    },
    "optim.sparsifier": {"course"},
    "scheduler": {"optimizer", "field", "total", "epochs", "steps_per_epoch"},
    "trainer": {
        "network", "task", "method", "train", "valid", "run", "config", "seed", "loggers", "sizes",
    },
    "logger": {"folder", "config"},
    "method": {"network", "task", "processes", "seed", "epochs"},
}  # fmt: skip
TOP = {"seed": int, "device": str}


def kind_of(group: str, target: Callable[..., Any] | None) -> str:
    """The entry of the tables above for a group: ``method`` for a method in the group optim."""
    return "method" if group == "optim" and is_method(target) else group


def _supported(annotation: Any, default: Any) -> Any:
    """The annotation where OmegaConf can check it, else the default's type, else anything."""
    guesses = [annotation]
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        guesses.append(float)  # torch: float | Tensor, with a default that may be 0
    elif isinstance(default, tuple) and default:
        guesses.append(list[type(default[0])])  # type: ignore[misc]
    for guess in guesses:
        try:
            OmegaConf.structured(make_dataclass("Probe", [("probe", guess, field(default="???"))]))
        except (OmegaConfBaseException, ValueError, TypeError):
            continue
        return guess
    return Any


@functools.cache
def schema_of(target: Callable[..., Any] | None, group: str) -> Any:
    """A dataclass with the config keys of ``target``'s constructor and their types.

    Args:
        target: class or function that the keys are handed to; None for a group without one.
        group: config group, which adds the keys of :data:`EXTRA`.
    """
    kind = kind_of(group, target)
    fields: dict[str, Any] = {"name": str, **EXTRA[kind]}
    if target is not None:
        signature = inspect.signature(target)
        function = target.__init__ if inspect.isclass(target) else target
        # a data class knows in which module each of its fields was written, its __init__ does not
        owner = target if is_dataclass(target) else function
        try:
            hints = typing.get_type_hints(owner)
        except NameError:  # of a user's class: a type that is imported for type checkers only
            hints = {}
        for name, parameter in signature.parameters.items():
            rest = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if not rest and name not in FILLED[kind] and name not in fields:
                fields[name] = _supported(hints.get(name, Any), parameter.default)
    return make_dataclass(
        group.replace(".", "_"),
        [(name, annotation, field(default="???")) for name, annotation in fields.items()],
    )


def _defaults(target: Callable[..., Any] | None, keys: list[str]) -> dict[str, Any]:
    parameters = inspect.signature(target).parameters if target is not None else {}
    return {
        key: parameters[key].default
        for key in keys
        if key in parameters and parameters[key].default is not inspect.Parameter.empty
    }


def defaults_of(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a group's keys that have one, whatever its file in ``configs`` says.

    Args:
        group: config group.
        values: its keys, of which ``name`` counts.
    """
    target = target_of(group, str(values["name"]))
    extra = EXTRA_DEFAULTS.get(kind_of(group, target), {})
    defaults = {**extra, **_defaults(target, list(values))}
    return {key: default for key, default in defaults.items() if key in values}


def options(group: str, name: str) -> list[str]:
    """The keys a group may have with this ``name``; none where there is no such name."""
    try:
        target = target_of(group, name)
    except (KeyError, ValueError):
        return []
    return list(OmegaConf.structured(schema_of(target, group)))


def takers(group: str, option: str) -> list[str]:
    """The registered names of a group whose keys include this one."""
    return [name for name in REGISTERED.get(group, {}) if option in options(group, name)]


def check_group(group: str, values: Mapping[str, Any], saved: bool = False) -> dict[str, Any]:
    """Check the values of one group against the schema of its ``name``.

    Args:
        group: config group.
        values: its keys. Those of a class of the user's own may be left out: they take the
            constructor's defaults, or those of :data:`EXTRA_DEFAULTS`.
        saved: they are those of an earlier run, which may be older than some keys: likewise; keys
            that no longer exist (:data:`FORMER`) are left out.

    Returns:
        The values, converted to the schema's types.

    Raises:
        ValueError: an unknown name or key, a missing key or a wrong type.
    """
    name = str(values.get("name", ""))
    target = target_of(group, name)
    optional = OPTIONAL.get(group, set())
    values = {**{key: EXTRA_DEFAULTS[group][key] for key in optional}, **values}
    for old, key in RENAMED.get(group, {}).items():
        if old in values:
            values[key] = values.pop(old)
    if saved or is_dotted(name):
        valid = list(OmegaConf.structured(schema_of(target, group)))
        former = FORMER.get(group, set()) - set(valid) if saved else set()
        values = {key: value for key, value in values.items() if key not in former}
        extra = EXTRA_DEFAULTS.get(kind_of(group, target), {})
        values = {**extra, **_defaults(target, valid), **values}
    checked = _checked(group, target, values)
    if checked.get("sparsifier") is not None and group == "optim":
        checked["sparsifier"] = check_sparsifier(checked["sparsifier"])
    return checked


def check_sparsifier(values: Any) -> dict[str, Any]:
    """Check ``optim.sparsifier``: a name, or a mapping with a name and the method's settings.

    Returns:
        The mapping, with the defaults of what it leaves out.

    Raises:
        ValueError: an unknown name or key, or a wrong type.
    """
    values = {"name": values} if isinstance(values, str) else values
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(
            "optim.sparsifier is a mapping such as {name: gmp, density: 0.1}, or null, "
            f"not {values}"
        )
    if values["name"] not in SPARSIFIERS:
        name = f"optim.sparsifier: name={values['name']}"
        raise ValueError(unknown_option(name, "of a sparsifier", list(SPARSIFIERS)))
    target = SPARSIFIERS[values["name"]]
    valid = list(OmegaConf.structured(schema_of(target, "optim.sparsifier")))
    return _checked("optim.sparsifier", target, {**_defaults(target, valid), **values})


def _checked(group: str, target: Target | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, converted to the types of ``target``'s arguments; every key must be there."""
    name = values.get("name", "")
    schema = OmegaConf.structured(schema_of(target, group))
    valid = list(schema)
    for key in values:
        if key not in valid:
            raise ValueError(unknown_option(f"{group}.{key}", f"of {group}={name}", valid))
    for key, value in values.items():
        try:
            OmegaConf.update(schema, key, _literal(value), merge=False)
        except OmegaConfBaseException as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"{group}.{key}={value} has the wrong type: {reason}") from error
    missing = [key for key in valid if OmegaConf.is_missing(schema, key)]
    if missing:
        raise ValueError(f"The config says nothing about {group}.{missing[0]} ({group}={name})")
    try:
        plain = OmegaConf.to_container(schema, resolve=True)
    except OmegaConfBaseException as error:  # a text with ${ where another type is needed
        reason = str(error).split("\n")[0]
        raise ValueError(f"{group}.{error.full_key} has the wrong type: {reason}") from error
    return dict(plain)  # type: ignore[arg-type]


def _literal(value: Any) -> Any:
    """A plain value as OmegaConf gives it back: a text with ``${`` stays that text."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, Mapping):
        return {key: _literal(entry) for key, entry in value.items()}
    return [_literal(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def check(cfg: Any, saved: bool = False) -> dict[str, Any]:
    """Check a whole config.

    Args:
        cfg: as composed by Hydra, or plain values read from a run's ``config.yaml``.
        saved: it is that of an earlier run: plain values, of which nothing is resolved (the folder
            may be somebody else's), and which may lack keys that did not exist then.

    Returns:
        Plain values, every interpolation resolved.

    Raises:
        ValueError: says which key is wrong and what it may be.
    """
    try:
        plain: Any = (
            dict(cfg) if saved else OmegaConf.to_container(OmegaConf.create(cfg), resolve=True)
        )
    except OmegaConfBaseException as error:
        raise ValueError(f"The config cannot be resolved: {str(error).splitlines()[0]}") from error
    except (TypeError, ValueError) as error:
        raise ValueError("The config holds no settings") from error
    if isinstance(plain.get("dataset"), Mapping) and plain["dataset"].get("in_memory"):
        raise ValueError(
            "This run was made by snnbreg.fit, from a network and arrays that the calling program "
            "has: evaluate or continue it there. Its weights load into such a network with "
            'network.load_state_dict(snnbreg.load_run(FOLDER).checkpoint()["network"])'
        )
    groups = REGISTERED
    plain.pop("experiment", None)
    for key in plain:
        if key not in groups and key not in TOP:
            raise ValueError(unknown_option(str(key), "of the config", [*groups, *TOP]))
    for key in (*groups, *TOP):
        if plain.get(key) is None:
            raise ValueError(f"The config says nothing about {key}")
    for key, kind in TOP.items():
        if type(plain[key]) is not kind:
            raise ValueError(f"{key}={plain[key]} must be of type {kind.__name__}")
    if not 0 <= plain["seed"] < 2**40:
        raise ValueError(f"seed={plain['seed']} must lie between 0 and 2^40")
    checked = {
        key: check_group(key, value, saved) if key in groups else value
        for key, value in plain.items()
    }
    checked["dataset"] |= _what_images_are_for(checked)
    return checked


def _what_images_are_for(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys of an image data set that are ``auto``: they follow from the network's group."""
    network = target_of("model", config["model"]["name"])
    static = isinstance(network, type) and issubclass(network, StaticNetwork)
    reconstructs = config["model"]["objective"] == "mean_squared_error"
    settled = {
        "encoder": "image" if static else "rate",
        "target": "image" if reconstructs else "label",
    }
    return {key: value for key, value in settled.items() if config["dataset"].get(key) == "auto"}
