"""From a checked config to the objects of a run, in the order the data takes."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from snnbreg.assembly.methods import build_method
from snnbreg.assembly.names import is_method, unknown_option
from snnbreg.assembly.settings import Config, arguments, naming, target_named
from snnbreg.assembly.torchrun import most_threads, on_this_machine
from snnbreg.datasets import FrameLoader, Splits
from snnbreg.optim import (
    assign_groups,
    get_regularizer,
    layer_densities,
    sparsify_,
)
from snnbreg.optim.ranking import layer_counts
from snnbreg.training import TASKS, Logger, RunFolder, Task, Trainer
from snnbreg.training.evaluation import Loader, SameBatches
from snnbreg.training.network import weights_of

log = logging.getLogger(__name__)

CPU = torch.device("cpu")


def build_device(config: Config) -> torch.device:
    """The device named by ``device``; ``auto`` is a GPU where there is one.

    Raises:
        ValueError: there is no such device here.
    """
    name = config["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    rank, local = on_this_machine()
    if name == "cuda" and local > 1:  # one GPU for each process
        name = f"cuda:{rank}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"device={name} cannot be used here: {reason}. Try device=cpu") from error
    return device


def build_dataset(config: Config) -> Any:
    """The data set, nothing of it loaded yet."""
    with naming("dataset"):
        return target_named(config, "dataset")(**arguments(config, "dataset"))


def make_network(config: Config, sizes: Mapping[str, Any]) -> nn.Module:
    """A network with its own initial weights.

    Args:
        config: checked.
        sizes: by the argument of the constructor, see :func:`build_network`.
    """
    make = target_named(config, "model")
    taken = inspect.signature(make).parameters
    filled = {name: size for name, size in sizes.items() if name in taken}
    with naming("model"):
        network: nn.Module = make(**filled, **arguments(config, "model"))
    return network


def build_splits(config: Config, device: torch.device = CPU) -> Splits:
    """Load (at first: bin) the recordings; says what there is to know about them.

    On a GPU the frames move there once, if they take less than half of its free memory.
    """
    with naming("dataset"):
        splits: Splits = build_dataset(config).load()
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
    config: Config,
    splits: Splits,
    split: str,
    device: torch.device,
    training: bool = False,
    shuffle: bool = True,
) -> FrameLoader:
    """Batches of a split: in order, or for training, shuffled and augmented unless told not to."""
    size = config["dataset"]["batch_size" if training else "eval_batch_size"]
    shuffle = training and shuffle
    return splits.loader(split, size, shuffle=shuffle, seed=config["seed"], device=device)


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
    network = make_network(config, {"inputs": channels, "outputs": classes, "image": image})
    if not is_method(target_named(config, "optim")):
        with naming("optim"):
            _start_sparse(network, config["optim"])
    return network.to(device)


def count_parameters(
    config: Config, channels: int, classes: int, image: tuple[int, int, int] | None = None
) -> tuple[int, int]:
    """The numbers of weights and of all learned parameters; see :func:`build_network`."""
    meta = torch.device("meta")  # shapes alone, no memory
    with meta:
        network = build_network(config, channels, classes, meta, image)
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return sum(entry.weight.numel() for entry in weights_of(network)), learned


def _start_sparse(network: nn.Module, settings: Config) -> None:
    """Mask the weight matrices that carry a regulariser; all of them where none does, as in Adam.

    The rule that claims a matrix says which regulariser, and with it what is kept or dropped
    together. ``init_density`` is that of the masked matrices together; those whose groups span
    them share one density. With ``init_exact`` the number of weights (of groups in a matrix) is
    the nearest one, otherwise it is left to chance.
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
    exact, wanted = settings["init_exact"], (settings["init_density"], settings["init_allocation"])
    densities = layer_densities(shapes, *wanted)
    if exact:
        pairs = zip(layer_counts(shapes, *wanted), masked, strict=True)
        densities = [count / entry.weight.numel() for count, entry in pairs]
    shares: dict[tuple[str, ...], list[tuple[float, int]]] = {}  # of weights masked together
    for entry, density in zip(masked, densities, strict=True):
        regularizer = names.get(entry.name, "none")
        if get_regularizer(regularizer).joint is None:
            sparsify_(entry.weight, density, regularizer=regularizer, exact=exact)
        else:
            part = (density, entry.weight.numel())
            shares.setdefault(claims[entry.name].names, []).append(part)
    for family, parts in shares.items():
        density = sum(share * size for share, size in parts) / sum(size for _, size in parts)
        sparsify_(claims[family[0]].params, density, regularizer=names[family[0]], exact=exact)


def build_task(config: Config) -> Task:
    """What the network is asked, by the name of its loss."""
    name = config["model"]["objective"]
    if name not in TASKS:
        raise ValueError(unknown_option(f"model.objective={name}", "of a loss", list(TASKS)))
    return TASKS[name]


def build_loggers(config: Config, run: RunFolder) -> list[Logger]:
    """Loggers beside the files that every run writes."""
    if config["logger"]["name"] == "csv":
        return []
    run.path.mkdir(parents=True, exist_ok=True)
    return [target_named(config, "logger")(run.path, config, **arguments(config, "logger"))]


def build_trainer(
    config: Config, network: nn.Module, splits: Splits, run: RunFolder, device: torch.device
) -> Trainer:
    """The trainer with everything it needs but the loggers."""
    same = getattr(target_named(config, "optim"), "same_batches", False)
    train: Loader = build_loader(config, splits, "train", device, training=True, shuffle=not same)
    train = SameBatches(train) if same else train
    task = build_task(config)
    method = build_method(config, network, task, len(train))
    valid = build_loader(config, splits, "valid", device)
    settings = arguments(config, "trainer")
    return Trainer(
        network, task, method, train, valid, run, config,
        seed=config["seed"], sizes=splits.sizes, **settings,
    )  # fmt: skip


@contextmanager
def using_threads(config: Config) -> Iterator[None]:
    """Inside: ``trainer.threads`` CPU threads, or as many as the process has where it is null.

    Several processes of one machine have no more than its cores together.

    Raises:
        ValueError: the number is not positive.
    """
    threads, before = config["trainer"]["threads"], torch.get_num_threads()
    if threads is not None and threads < 1:
        raise ValueError(f"trainer.threads={threads} must be at least 1, or null for all")
    threads = threads or before
    torch.set_num_threads(min(threads, most_threads()) if on_this_machine()[1] > 1 else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def logging_to(config: Config, run: RunFolder, trainer: Trainer) -> Iterator[None]:
    """Give the trainer its loggers; they are closed whatever happens inside."""
    trainer.loggers = build_loggers(config, run) if trainer.processes.writes else []
    try:
        yield
    except BaseException:
        for logger in trainer.loggers:
            logger.finish(None)
        raise
