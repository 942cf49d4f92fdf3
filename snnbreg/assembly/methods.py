"""From a checked config to what moves the weights: optimizers, schedules, hooks, methods."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from torch.optim import Optimizer

from snnbreg.assembly.names import is_method, unknown_option
from snnbreg.assembly.schema import FILLED
from snnbreg.assembly.settings import Config, arguments, naming, target_named
from snnbreg.deploy import RoundedWeights, convert
from snnbreg.models import SpikingNetwork
from snnbreg.optim import (
    SPARSIFIERS,
    Course,
    Sparsifier,
    assign_groups,
    describe,
    groups_for,
    unreachable_lam,
)
from snnbreg.schedulers import Scheduler, annealed_sigma, make_scheduler
from snnbreg.training import GradientSteps, Method, Task
from snnbreg.training.hooks import AnnealedSigma, ClampedDelays, Hook, RoundedDelays
from snnbreg.training.network import Delayed, weights_of
from snnbreg.training.penalties import PENALTIES, Penalty
from snnbreg.training.processes import Processes

log = logging.getLogger(__name__)

EXTEND_LR = 0.1
"""``trainer.extend_lr`` where that is null."""
LONG = 1 << 16  # steps: no weight is so late that it matters to nobody


def build_optimizers(config: Config, network: nn.Module) -> dict[str, Optimizer]:
    """Optimizers by name, ``weights`` and, where there are delays to learn, ``delays``.

    Raises:
        ValueError: the rules leave a parameter out, match nothing or name another optimizer.
    """
    settings = config["optim"]
    assignments = assign_groups(network.named_parameters(), settings["rules"])
    unknown = {entry.optimizer for entry in assignments} - {"weights", "delays"}
    if unknown:
        raise ValueError(f"optim.rules: optimizer must be weights or delays, not {unknown.pop()}")
    groups = {name: groups_for(assignments, name) for name in ("weights", "delays")}
    if not groups["weights"]:
        raise ValueError("optim.rules leaves no parameter to the optimizer of the weights")
    make = target_named(config, "optim")
    with naming("optim"):
        optimizers = {"weights": make(groups["weights"], **arguments(config, "optim"))}
        if groups["delays"]:
            optimizers["delays"] = torch.optim.Adam(groups["delays"], lr=settings["delay_lr"])
    for name, optimizer in optimizers.items():
        held = [entry for entry in assignments if entry.optimizer == name]
        log.info("%s", describe(held, optimizer.defaults))
    return optimizers


def build_sparsifier(
    config: Config, network: nn.Module, optimizers: Mapping[str, Optimizer], steps_per_epoch: int
) -> Sparsifier | None:
    """What ``optim.sparsifier`` asks for, with its first masks; None where it asks for nothing."""
    if config["optim"]["sparsifier"] is None:
        return None
    parameters = dict(network.named_parameters())
    weights = {w.name: parameters[w.name] for w in weights_of(network)}
    course = Course(
        network, weights, optimizers, config["trainer"]["epochs"], steps_per_epoch, config["seed"]
    )
    return make_sparsifier(config, course)


def make_sparsifier(config: Config, course: Course) -> Sparsifier:
    """What ``optim.sparsifier`` asks for, which is something, in a course."""
    settings = config["optim"]["sparsifier"]
    options = {key: value for key, value in settings.items() if key != "name"}
    with naming("optim"):
        return SPARSIFIERS[settings["name"]](course, **options)


def build_schedulers(
    config: Config,
    optimizers: Mapping[str, Optimizer],
    steps_per_epoch: int,
    epochs: int | None = None,
) -> list[Scheduler]:
    """Schedules of the learning rates and, where asked for, of lambda.

    They span ``epochs``, by default ``trainer.epochs``. In those that ``trainer.extend`` adds
    curves keep their last values, learning rates at least the share ``trainer.extend_lr`` of their
    groups' own; rules that react to what happens (plateau, target) go on.

    The delays' optimizer follows ``scheduler.delays``, or the weights' schedule where that is
    null. Warns where lambda lies beyond what the learning rates can move the dual variable.
    """
    schedulers = make_schedulers(config, optimizers, steps_per_epoch, epochs)
    sums = schedulers[0].lr_sums(optimizers["weights"])
    for message in unreachable_lam(optimizers["weights"], sums):
        log.warning("%s", message)
    _extend(config, schedulers)
    return schedulers


def make_schedulers(
    config: Config,
    optimizers: Mapping[str, Optimizer],
    steps_per_epoch: int,
    epochs: int | None = None,
) -> list[Scheduler]:
    """The schedules as they are without ``trainer.extend``, see :func:`build_schedulers`."""
    own = config["scheduler"]
    weights = {"name": own["name"], "per": own["per"], **arguments(config, "scheduler")}
    wanted = [("weights", "lr", weights)]
    if "delays" in optimizers:
        wanted.append(("delays", "lr", own["delays"] or weights))
    if own["lam"]:
        wanted.append(("weights", "lam", own["lam"]))
    epochs = epochs or config["trainer"]["epochs"]
    schedulers = []
    for name, field, settings in wanted:
        if not isinstance(settings, Mapping) or "name" not in settings:
            raise ValueError(
                f"A schedule is a mapping such as {{name: cosine, per: epoch}}, not {settings}"
            )
        values = dict(settings)
        kind = values.pop("name")
        with naming("scheduler"):
            schedulers.append(
                make_scheduler(
                    kind, optimizers[name], epochs, steps_per_epoch, field=field, **values
                )
            )
    return schedulers


def _extend(config: Config, schedulers: list[Scheduler]) -> None:
    """Let the network go on learning in the epochs that ``trainer.extend`` adds; tell how."""
    trainer = config["trainer"]
    share = EXTEND_LR if trainer["extend_lr"] is None else trainer["extend_lr"]
    if not trainer["extend"]:
        return
    for scheduler in schedulers:
        scheduler.hold_lr(share)
    log.info(
        "trainer.extend=%d: epochs %d to %d come after the schedule. Learning rates stay as it "
        "left them, but at least %g x optim.lr and optim.delay_lr (trainer.extend_lr); sigma and "
        "lambda stay; a target density is held",
        trainer["extend"], trainer["epochs"] + 1, trainer["epochs"] + trainer["extend"], share,
    )  # fmt: skip


def build_penalties(config: Config) -> list[Penalty]:
    """The terms of the loss on hidden spikes that ``trainer.penalties`` lists."""
    penalties = []
    for entry in config["trainer"]["penalties"]:
        if not isinstance(entry, Mapping) or "name" not in entry:
            raise ValueError(
                "trainer.penalties is a list of mappings such as {name: spike_count, weight: 0.01}"
                f", not of {entry}"
            )
        options = {key: value for key, value in entry.items() if key != "name"}
        if entry["name"] not in PENALTIES:
            name = f"trainer.penalties: name={entry['name']}"
            raise ValueError(unknown_option(name, "of a penalty", list(PENALTIES)))
        make = PENALTIES[entry["name"]]
        try:
            penalties.append(make(**options))
        except TypeError as error:
            valid = ", ".join(inspect.signature(make).parameters)
            raise ValueError(
                f"trainer.penalties: {entry['name']} takes {valid}, not {', '.join(options)}"
            ) from error
    return penalties


def build_hooks(
    config: Config,
    network: nn.Module,
    optimizers: Mapping[str, Optimizer],
    sparsifier: Sparsifier | None = None,
) -> list[Hook]:
    """What happens to weights and delays around gradient steps.

    A sparsifier comes first: what it sets back, the annealed spread too, the others set anew.

    Raises:
        ValueError: something is asked of delays in a network that has none.
    """
    model, trainer = config["model"], config["trainer"]
    # It offers the methods of a hook; its package knows nothing of training.
    first = [] if sparsifier is None else [cast(Hook, sparsifier)]
    wanted = {"clamp_delays": ClampedDelays, "round_delays_in_place": RoundedDelays}
    if not isinstance(network, Delayed):
        for key in wanted:
            if trainer[key]:
                raise ValueError(f"trainer.{key}=true needs a network with delays")
        return [*first, *_rounded(config, network, optimizers)]
    length = trainer["epochs"] if sparsifier is None else sparsifier.length
    annealed = functools.partial(
        annealed_sigma,
        epochs=length,
        initial=model.get("sigma", network.sigma),
        decay=model["sigma_decay"],
    )

    def sigma(epoch: int) -> float:
        place = epoch if sparsifier is None else sparsifier.place(epoch)
        return annealed(min(place, length - 1))  # in added epochs it stays

    hooks = [make(network, optimizers.values()) for key, make in wanted.items() if trainer[key]]
    return [*first, AnnealedSigma(network, sigma), *hooks, *_rounded(config, network, optimizers)]


def _rounded(config: Config, network: nn.Module, optimizers: Mapping[str, Optimizer]) -> list[Hook]:
    """The hook of ``trainer.weight_bits``, where that is asked for."""
    bits = config["trainer"]["weight_bits"]
    if bits is None:
        return []
    if bits not in (8, 6, 4):
        raise ValueError(f"trainer.weight_bits={bits} must be 8, 6, 4 or null")
    if hasattr(optimizers["weights"], "resync"):
        name = config["optim"]["name"]
        raise ValueError(
            f"trainer.weight_bits trains the weights that are not zero, and optim={name} chooses "
            "these itself: take optim=adam, adamw or sgd"
        )
    deployed = convert(network, LONG, config["model"]["objective"]).network
    spiking = cast(SpikingNetwork, network)  # as convert has seen
    spiking.round_delays_()
    # a hook by its methods alone: deploy knows nothing of training
    return [cast(Hook, RoundedWeights(spiking, deployed, bits))]


def build_gradient_steps(
    config: Config, network: nn.Module, task: Task, steps_per_epoch: int
) -> GradientSteps:
    """Gradient steps of the optimizers, with their schedules, sparsifier, hooks and penalties."""
    optimizers = build_optimizers(config, network)
    sparsifier = build_sparsifier(config, network, optimizers, steps_per_epoch)
    length = None if sparsifier is None else sparsifier.length
    schedulers = build_schedulers(config, optimizers, steps_per_epoch, length)
    if sparsifier is not None:
        sparsifier.follow(schedulers)
    hooks = build_hooks(config, network, optimizers, sparsifier)
    penalties, clip = build_penalties(config), config["trainer"]["grad_clip"]
    return GradientSteps(network, task, optimizers, schedulers, hooks, penalties, clip)


def build_method(
    config: Config, network: nn.Module, task: Task, steps_per_epoch: int
) -> GradientSteps | Method:
    """What moves the weights: gradient steps of an optimizer, or a method of another kind.

    Such a method is a class with ``epoch`` under a name of the group optim. Of ``network``,
    ``task``, ``processes``, ``seed`` and ``epochs`` it gets what its constructor has arguments
    for.

    Raises:
        ValueError: a setting of gradient steps is given to a method that makes none.
    """
    make = target_named(config, "optim")
    if not is_method(make):
        return build_gradient_steps(config, network, task, steps_per_epoch)
    _refuse_gradient_settings(config)
    run = {"seed": config["seed"], "epochs": config["trainer"]["epochs"]}
    objects = {"network": network, "task": task, "processes": Processes(), **run}
    taken = inspect.signature(make).parameters.keys() & FILLED["method"]
    with naming("optim"):
        method: Method = make(
            **{name: objects[name] for name in taken}, **arguments(config, "optim")
        )
    return method


def _refuse_gradient_settings(config: Config) -> None:
    """Say which settings a method without gradient steps does not use; refuse those asked for."""
    method, trainer = config["optim"]["name"], config["trainer"]
    keys = (
        "grad_clip", "penalties", "round_delays_in_place", "clamp_delays", "weight_bits",
        "extend_lr",
    )  # fmt: skip
    given = [f"trainer.{key}" for key in keys if trainer[key]]
    given += [f"scheduler.{key}" for key in ("lam", "delays") if config["scheduler"][key]]
    if given:
        raise ValueError(f"optim={method} makes no gradient steps: leave out {', '.join(given)}")
    log.info(
        "optim=%s makes no gradient steps: scheduler=%s is not used",
        method,
        config["scheduler"]["name"],
    )
