"""``snnbreg.fit``: a network and arrays in memory, trained into a run folder like any other.

Legend: n samples, T time steps, B batch, C channels, K classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from snnbreg.assembly.given import (
    Data,
    Pair,
    build_annealing,
    build_data,
    build_schedules,
    checked_optimizer,
    chosen_task,
    default_optimizers,
    described,
    device_of,
    outputs_of,
    warn_of_reach,
)
from snnbreg.assembly.load import TrainedRun, load_run
from snnbreg.assembly.resume import refuse_changes, write_yaml
from snnbreg.datasets import FrameLoader
from snnbreg.runs import FolderInUseError, RunFolder
from snnbreg.training import GradientSteps, Task, Trainer, summarise, summary_table
from snnbreg.training.network import Delayed
from snnbreg.training.processes import Processes

PLAIN = (bool, int, float, str, tuple, type(None))


def fit(
    network: nn.Module,
    frames: Any,
    labels: Any,
    *,
    valid: float | Pair = 0.2,
    test: Pair | None = None,
    task: str | Task | None = None,
    optimizer: Optimizer | None = None,
    scheduler: Any = None,
    per: str | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    eval_batch_size: int = 256,
    grad_clip: float | None = None,
    select: str = "published",
    sigma_decay: float = 0.95,
    folder: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    name: str = "arrays",
    class_names: Sequence[str] = (),
    progress: bool = True,
) -> TrainedRun:
    """Train a network on arrays; what it leaves is a run folder, for ``snnbreg report`` too.

    The network is trained in place, on the device it lies on, and has the weights of the best
    checkpoint afterwards. Where it has delays their kernels' sigma is annealed, and validation and
    test are evaluated as published and as deployed (whole delays, sigma 0). On a CPU the same call
    on a network of the same weights gives the same numbers.

    Args:
        network: any module, frames (T, B, C) float32 -> outputs (T, B, K).
        frames: arrays or tensors (n, T, C); whole numbers from 0 to 255 are kept as bytes.
        labels: integers (n,); or (n, T), a class at every step, negative where there is none.
        valid: the part of the samples that is held out for validation, the same whatever the seed;
            or frames and labels of others.
        test: frames and labels that are evaluated once, at the end; None: nothing is tested.
        task: a name of ``snnbreg.training.TASKS`` or a task; None: ``sum_cross_entropy``, or
            ``step_cross_entropy`` for a class at every step.
        optimizer: of the network's parameters, torch's or this package's; None: :class:`AdaBreg`
            (lr 0.01, lam 0.1, l1) of the weights, without a regulariser of biases and norms, and
            Adam (lr 0.05) of delays and spreads.
        scheduler: of torch, or of this package; a name such as ``"cosine"`` or a mapping of
            :func:`~snnbreg.schedulers.make_scheduler`'s settings, of which ``per`` is ``step``
            where it is not given (``{"name": "target", "field": "lam", "density": 0.1}``); or
            several in a list. None: ``"onecycle"`` of the default optimizer, nothing for another.
        per: ``step`` or ``epoch``, when torch's schedulers move; None: as torch documents them.
        epochs: of the whole run.
        batch_size: training samples per step.
        eval_batch_size: samples per batch of an evaluation.
        grad_clip: largest gradient norm; None for no clipping.
        select: what chooses the best checkpoint: the validation score ``published`` or
            ``deployed``, or ``last``.
        sigma_decay: sigma is multiplied by it at every hundredth of the training.
        folder: of the run; None: a new one in ``outputs/fit``.
        resume: continue the run in ``folder`` that was stopped or killed, or start it.
        seed: of the order of samples, and of dropout.
        name: what reports call the data.
        class_names: of class 0, 1, ...
        progress: show a bar where standard error is a terminal, and print the result.

    Returns:
        The run, as :func:`load_run` reads it; its ``network`` is the one given.

    Raises:
        ValueError: arrays, network, optimizer or scheduler do not go together, or the folder holds
            a finished or another run.
        OSError: the folder is in use or cannot be written.
        KeyboardInterrupt: the training was interrupted; the folder can be continued.

    Example:
        >>> import tempfile
        >>> import torch
        >>> frames, labels = torch.randint(0, 2, (20, 5, 3)), torch.arange(20) % 2
        >>> place = tempfile.TemporaryDirectory()
        >>> run = fit(
        ...     nn.Linear(3, 2), frames, labels, epochs=2, folder=place.name, progress=False
        ... )
        >>> run.history["epoch"], run.summary["status"], run.summary["test_acc"]
        ([1.0, 2.0], 'completed', None)
        >>> place.cleanup()
    """
    if Processes().count > 1:
        raise ValueError("snnbreg.fit is of one process: use snnbreg train under torchrun")
    data = build_data(frames, labels, valid, test, tuple(class_names))
    task_name, task = chosen_task(task, data.train)
    outputs = outputs_of(network, data)
    if class_names and len(class_names) != outputs:
        raise ValueError(
            f"The network has {outputs} outputs, but there are {len(class_names)} names"
        )
    if optimizer is None:
        optimizers, scheduler = default_optimizers(network), scheduler or "onecycle"
    else:
        optimizers = checked_optimizer(network, optimizer)
    fraction = valid if isinstance(valid, (int, float)) else None
    sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "classes": outputs}
    config = {
        "dataset": {
            "name": "own",
            "title": name,
            **_described_data(data),
            "valid_fraction": fraction,
            **sizes,
        },
        "model": {**_described_network(network, sigma_decay), "objective": task_name},
        "optim": _described_optimizer(optimizers["weights"]),
        "scheduler": described(scheduler),
        "trainer": {"name": "fit", "epochs": epochs, "select": select, "grad_clip": grad_clip},
        "logger": {"name": "csv"},
        "seed": seed,
        "device": str(device_of(network)),
    }
    config = json.loads(json.dumps(config))  # tuples as lists, as a file has them
    run = RunFolder(folder or Path("outputs/fit") / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    loader = partial(FrameLoader, seed=seed, device=device_of(network))
    train, valid_loader = (
        loader(data.train, batch_size, shuffle=True),
        loader(data.valid, eval_batch_size),
    )
    schedules = build_schedules(scheduler, per, optimizers, epochs, len(train))
    warn_of_reach(optimizers["weights"], schedules, epochs, len(train))
    hooks = build_annealing(network, config)
    method = GradientSteps(network, task, optimizers, schedules, hooks, grad_clip=grad_clip)
    trainer = Trainer(
        network, task, method, train, valid_loader, run, config,
        epochs=epochs, seed=seed, select=select, progress=progress,
        sizes=(data.train.frames.shape[2], outputs, None),
    )  # fmt: skip
    trainer.again = "the same call and resume=True"
    test_loader = None if data.test is None else loader(data.test, eval_batch_size)
    summary = _trained(trainer, config, resume, test_loader, class_names)
    if summary["status"] == "interrupted":
        raise KeyboardInterrupt
    if progress:
        print(summary_table(summary), f"Run folder: {run.path}", sep="\n")
    result = load_run(run.path)
    result.__dict__["network"] = network.eval()  # where the property keeps what it has built
    return result


def _trained(
    trainer: Trainer,
    config: dict[str, Any],
    resume: bool,
    test: FrameLoader | None,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Train into the run's folder, locked; returns the summary."""
    run = trainer.run
    with _locked(run):
        checkpoint = _settled(run, config, resume)
        if checkpoint is not None:
            trainer.load_state_dict(checkpoint, str(run.path))
        write_yaml(run.config, config)
        if class_names:
            run.write_classes(class_names)
        return summarise(trainer, trainer.fit(), test)


def _described_data(data: Data) -> dict[str, Any]:
    """What tells these samples from others; no config that ``check`` reads says ``in_memory``."""
    digest = hashlib.sha256()
    for part in data:
        if part is not None:
            digest.update(f"{tuple(part.frames.shape)} {part.frames.dtype}".encode())
            digest.update(part.frames.numpy().data)
            digest.update(part.labels.numpy().data)
    steps, channels = data.train.frames.shape[1:]
    found = {"sha256": digest.hexdigest()[:16], "steps": steps, "channels": channels}
    return {"in_memory": True, **found}


def _described_network(network: nn.Module, sigma_decay: float) -> dict[str, Any]:
    kind = type(network)
    found = {"name": f"{kind.__module__}.{kind.__qualname__}"}
    if not isinstance(network, Delayed):
        return found
    return {**found, "sigma": float(network.sigma), "sigma_decay": sigma_decay}


def _described_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    settings = {key: v for key, v in optimizer.defaults.items() if isinstance(v, PLAIN)}
    return {"name": type(optimizer).__name__.lower(), **settings}


@contextmanager
def _locked(run: RunFolder) -> Iterator[None]:
    """The folder locked, with a message that fits a call."""
    try:
        with run.locked():
            yield
    except FolderInUseError as error:
        raise FolderInUseError(
            f"Another process is writing {run.path}. Wait until it ends, or give fit another folder"
        ) from error


def _settled(run: RunFolder, config: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """The checkpoint to continue from, or None; the config takes over the sigma of the start.

    Raises:
        ValueError: the folder holds a finished run, another one, or one nobody asked to continue.
    """
    if not (run.metrics.is_file() or run.last.is_file()):
        return None
    if run.finished():
        raise ValueError(
            f"{run.path} holds a finished run, which stays as it is: read it with "
            "snnbreg.load_run, or give fit another folder"
        )
    if not resume:
        raise ValueError(
            f"{run.path} already holds a run, which stays as it is: continue it with resume=True, "
            "or give fit another folder"
        )
    saved = run.read_config()
    if not saved.get("dataset", {}).get("in_memory"):
        raise ValueError(f"{run.path} holds a run of snnbreg train: continue it with that")
    if "sigma" in config["model"]:
        config["model"]["sigma"] = saved["model"].get("sigma")  # the network's may be annealed
    was, now = saved["trainer"]["epochs"], config["trainer"]["epochs"]
    if was != now:
        raise ValueError(
            f"{run.path} is a run of {was} epochs, not {now}: continue it with epochs={was}; "
            "to train a network further, give fit another folder"
        )
    refuse_changes(saved, config, str(run.path))
    if saved["trainer"]["select"] != config["trainer"]["select"]:
        select = saved["trainer"]["select"]
        raise ValueError(f"{run.path} was started with select={select}: continue it so")
    return run.latest()
