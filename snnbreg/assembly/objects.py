"""From a checked config to the objects of a run, in the order the data takes."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from snnbreg.assembly.names import Target, target_of, unknown_option
from snnbreg.assembly.schema import EXTRA
from snnbreg.datasets import FrameLoader, Splits
from snnbreg.optim import (
    SPARSIFIERS,
    Course,
    Sparsifier,
    assign_groups,
    describe,
    get_regularizer,
    groups_for,
    layer_densities,
    sparsify_,
    unreachable_lam,
)
from snnbreg.schedulers import Scheduler, annealed_sigma, make_scheduler
from snnbreg.training import TASKS, GradientSteps, Logger, RunFolder, Task, Trainer
from snnbreg.training.hooks import AnnealedSigma, ClampedDelays, Hook, RoundedDelays
from snnbreg.training.network import Delayed, weights_of
from snnbreg.training.penalties import PENALTIES, Penalty

log = logging.getLogger(__name__)

Config = Mapping[str, Any]
CPU = torch.device("cpu")


def _arguments(config: Config, group: str) -> dict[str, Any]:
    """A group's values without the keys that building itself uses."""
    return {k: v for k, v in config[group].items() if k != "name" and k not in EXTRA[group]}


def _target(config: Config, group: str) -> Target:
    """What a group's keys are handed to."""
    target = target_of(group, str(config[group]["name"]))
    if target is None:
        raise ValueError(f"{group}={config[group]['name']} makes no object")
    return target


@contextmanager
def _naming(group: str) -> Iterator[None]:
    """Say in which config group a wrong value stands."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Config group {group}: {error}") from error


def build_device(config: Config) -> torch.device:
    """The device named by ``device``; ``auto`` is a GPU where there is one.

    Raises:
        ValueError: there is no such device here.
    """
    name = config["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"device={name} cannot be used here: {reason}. Try device=cpu") from error
    return device


def build_splits(config: Config, device: torch.device = CPU) -> Splits:
    """Load (at first: bin) the recordings; says what there is to know about them.

    On a GPU the frames move there once, if they take less than half of its free memory.
    """
    with _naming("dataset"):
        splits = _target(config, "dataset")(**_arguments(config, "dataset")).load()
    for note in splits.notes:
        log.info("%s", note)
    log.info(
        "%s: %d training, %d validation, %d test samples; %d steps of %d channels, %d classes",
        splits.name, len(splits.train), len(splits.valid), len(splits.test),
        splits.steps, splits.channels, splits.classes,
    )  # fmt: skip
    if device.type == "cuda" and splits.nbytes() < torch.cuda.mem_get_info(device)[0] / 2:
        return splits.to(device)
    return splits


def build_loader(
    config: Config, splits: Splits, split: str, device: torch.device, training: bool = False
) -> FrameLoader:
    """Batches of a split: in order, or shuffled and augmented for training."""
    size = config["dataset"]["batch_size" if training else "eval_batch_size"]
    return splits.loader(split, size, shuffle=training, seed=config["seed"], device=device)


def build_network(
    config: Config,
    channels: int,
    classes: int,
    device: torch.device,
    image: tuple[int, int, int] | None = None,
) -> nn.Module:
    """The network with its initial weights, which depend on the seed alone.

    A network gets ``inputs`` (channels), ``outputs`` (classes) and ``image`` (colours, height,
    width; None where steps are no whole images) where its constructor has arguments of these names.
    """
    torch.manual_seed(config["seed"])
    make = _target(config, "model")
    sizes = {"inputs": channels, "outputs": classes, "image": image}
    taken = inspect.signature(make).parameters
    filled = {name: size for name, size in sizes.items() if name in taken}
    with _naming("model"):
        network: nn.Module = make(**filled, **_arguments(config, "model"))
    with _naming("optim"):
        _start_sparse(network, config["optim"])
    return network.to(device)


def _start_sparse(network: nn.Module, settings: Config) -> None:
    """Mask the weight matrices that carry a regulariser; all of them where none does, as in Adam.

    The rule that claims a matrix says which regulariser, and with it what is kept or dropped
    together. ``init_density`` is that of the masked matrices together; those whose groups span
    them share one density.
    """
    default = settings.get("regularizer", "none")
    claims = {
        name: entry
        for entry in assign_groups(network.named_parameters(), settings["rules"])
        if entry.optimizer == "weights"
        for name in entry.names
    }
    names = {name: entry.settings.get("regularizer", default) for name, entry in claims.items()}
    weights = weights_of(network)
    masked = [w for w in weights if names.get(w.name, "none") != "none"] or weights
    shapes = [entry.weight.shape for entry in masked]
    densities = layer_densities(shapes, settings["init_density"], settings["init_allocation"])
    shares: dict[tuple[str, ...], list[tuple[float, int]]] = {}  # of weights masked together
    for entry, density in zip(masked, densities, strict=True):
        regularizer = names.get(entry.name, "none")
        if get_regularizer(regularizer).joint is None:
            sparsify_(entry.weight, density, regularizer=regularizer)
        else:
            part = (density, entry.weight.numel())
            shares.setdefault(claims[entry.name].names, []).append(part)
    for family, parts in shares.items():
        density = sum(share * size for share, size in parts) / sum(size for _, size in parts)
        sparsify_(claims[family[0]].params, density, regularizer=names[family[0]])


def build_task(config: Config) -> Task:
    """What the network is asked, by the name of its loss."""
    name = config["model"]["objective"]
    if name not in TASKS:
        raise ValueError(unknown_option(f"model.objective={name}", "of a loss", list(TASKS)))
    return TASKS[name]


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
    make = _target(config, "optim")
    with _naming("optim"):
        optimizers = {"weights": make(groups["weights"], **_arguments(config, "optim"))}
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
    settings = config["optim"]["sparsifier"]
    if settings is None:
        return None
    parameters = dict(network.named_parameters())
    weights = {w.name: parameters[w.name] for w in weights_of(network)}
    course = Course(
        network, weights, optimizers, config["trainer"]["epochs"], steps_per_epoch, config["seed"]
    )
    options = {key: value for key, value in settings.items() if key != "name"}
    with _naming("optim"):
        return SPARSIFIERS[settings["name"]](course, **options)


def build_schedulers(
    config: Config,
    optimizers: Mapping[str, Optimizer],
    steps_per_epoch: int,
    epochs: int | None = None,
) -> list[Scheduler]:
    """Schedules of the learning rates and, where asked for, of lambda.

    They span ``epochs``, by default those of the run.

    The delays' optimizer follows ``scheduler.delays``, or the weights' schedule where that is
    null. Warns where lambda lies beyond what the learning rates can move the dual variable.
    """
    own = config["scheduler"]
    weights = {"name": own["name"], "per": own["per"], **_arguments(config, "scheduler")}
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
        with _naming("scheduler"):
            schedulers.append(
                make_scheduler(
                    kind, optimizers[name], epochs, steps_per_epoch, field=field, **values
                )
            )
    sums = schedulers[0].lr_sums(optimizers["weights"])
    for message in unreachable_lam(optimizers["weights"], sums):
        log.warning("%s", message)
    return schedulers


def build_loggers(config: Config, run: RunFolder) -> list[Logger]:
    """Loggers beside the files that every run writes."""
    if config["logger"]["name"] == "csv":
        return []
    run.path.mkdir(parents=True, exist_ok=True)
    return [_target(config, "logger")(run.path, config, **_arguments(config, "logger"))]


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
        return first
    annealed = functools.partial(
        annealed_sigma,
        epochs=trainer["epochs"] if sparsifier is None else sparsifier.length,
        initial=model.get("sigma", network.sigma),
        decay=model["sigma_decay"],
    )

    def sigma(epoch: int) -> float:
        return annealed(epoch if sparsifier is None else sparsifier.place(epoch))

    hooks = [make(network, optimizers.values()) for key, make in wanted.items() if trainer[key]]
    return [*first, AnnealedSigma(network, sigma), *hooks]


def build_trainer(
    config: Config, network: nn.Module, splits: Splits, run: RunFolder, device: torch.device
) -> Trainer:
    """The trainer with everything it needs but the loggers."""
    optimizers = build_optimizers(config, network)
    train = build_loader(config, splits, "train", device, training=True)
    task = build_task(config)
    sparsifier = build_sparsifier(config, network, optimizers, len(train))
    length = None if sparsifier is None else sparsifier.length
    schedulers = build_schedulers(config, optimizers, len(train), length)
    if sparsifier is not None:
        sparsifier.follow(schedulers)
    method = GradientSteps(
        network,
        task,
        optimizers,
        schedulers,
        build_hooks(config, network, optimizers, sparsifier),
        build_penalties(config),
        config["trainer"]["grad_clip"],
    )
    valid = build_loader(config, splits, "valid", device)
    settings = _arguments(config, "trainer")
    return Trainer(
        network, task, method, train, valid, run, config,
        seed=config["seed"], sizes=splits.sizes, **settings,
    )  # fmt: skip


@contextmanager
def using_threads(config: Config) -> Iterator[None]:
    """Inside: ``trainer.threads`` CPU threads, or as many as the process has where it is null.

    Raises:
        ValueError: the number is not positive.
    """
    threads, before = config["trainer"]["threads"], torch.get_num_threads()
    if threads is not None and threads < 1:
        raise ValueError(f"trainer.threads={threads} must be at least 1, or null for all")
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def logging_to(config: Config, run: RunFolder, trainer: Trainer) -> Iterator[None]:
    """Give the trainer its loggers; they are closed whatever happens inside."""
    trainer.loggers = build_loggers(config, run)
    try:
        yield
    except BaseException:
        for logger in trainer.loggers:
            logger.finish(None)
        raise
