"""What a caller of ``snnbreg.fit`` gives, checked, as the trainer takes it.

Legend: T time steps, B batch, C channels, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from snnbreg.assembly.names import unknown_option
from snnbreg.assembly.schema import EXTRA_DEFAULTS
from snnbreg.datasets import FrameLoader, FrameSet
from snnbreg.datasets.arrays import frame_set, refuse_other_shapes
from snnbreg.datasets.splits import missing_note, split_validation
from snnbreg.optim import AdaBreg, assign_groups, describe, groups_for, unreachable_lam
from snnbreg.optim.groups import RULES
from snnbreg.schedulers import Scheduler, TorchSchedule, annealed_sigma, make_scheduler
from snnbreg.training import TASKS, Task
from snnbreg.training.evaluation import evaluation_mode
from snnbreg.training.hooks import AnnealedSigma, Hook
from snnbreg.training.network import Delayed, weights_of

log = logging.getLogger(__name__)

Pair = tuple[Any, Any]
"""Frames and labels."""


class Data(NamedTuple):
    """The samples of a run; ``test`` is None where nothing is tested."""

    train: FrameSet
    valid: FrameSet
    test: FrameSet | None


def build_data(
    frames: Any, labels: Any, valid: float | Pair, test: Pair | None, names: Any
) -> Data:
    """The arrays, checked; their samples are numbered one behind the other."""
    given = {"train": frame_set(frames, labels, "fit", names)}
    for split, pair in (("valid", valid), ("test", test)):
        if isinstance(pair, (int, float)) or pair is None:
            continue
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(f"fit: {split} must be a pair of frames and labels")
        part = frame_set(*pair, f"fit, {split}", names)
        first = sum(len(other) for other in given.values())
        given[split] = replace(part, first=first)
    refuse_other_shapes(given)
    if "valid" not in given:
        fraction = valid if isinstance(valid, (int, float)) else 0.0
        given["train"], given["valid"] = split_validation(given["train"], fraction, 0, "valid")
    classes = max(int(part.labels.max()) for part in given.values()) + 1
    note = missing_note(given["train"].targets, classes)
    if note:
        log.warning("%s", note)
    return Data(given["train"], given["valid"], given.get("test"))


def chosen_task(task: str | Task | None, train: FrameSet) -> tuple[str, Task]:
    """Its name for the config, and the task."""
    if isinstance(task, Task):
        return type(task).__name__, task
    steps = train.labels.ndim > 1
    wanted = task or ("step_cross_entropy" if steps else "sum_cross_entropy")
    valid = [key for key in TASKS if TASKS[key].measure == "acc"]
    if wanted not in valid:
        raise ValueError(unknown_option(f"task={wanted}", "of snnbreg.fit", valid))
    return wanted, TASKS[wanted]


def outputs_of(network: nn.Module, data: Data) -> int:
    """K, after showing the network two samples; it and torch's generator stay as they are.

    Raises:
        ValueError: the network has no weights, or does not fit the samples.
    """
    if not weights_of(network) or not any(p.requires_grad for p in network.parameters()):
        raise ValueError("The network has no weight matrix to train")
    few = data.train.subset(torch.arange(min(2, len(data.train))))
    shown, _ = next(FrameLoader(few, 2, device=device_of(network)).epoch(0))
    shape = tuple(shown.shape)
    try:
        with evaluation_mode(network), torch.random.fork_rng():
            outputs = network(shown)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"The network cannot take frames (T, B, C) = {shape}: {error}") from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 3 or outputs.shape[1] != shape[1]:
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs)
        raise ValueError(
            f"The network must map frames (T, B, C) = {shape} to a tensor (T, B, K) of outputs at "
            f"every step, not to {found}"
        )
    largest = max(int(part.labels.max()) for part in data if part is not None)
    if largest >= outputs.shape[2]:
        raise ValueError(
            f"The network has {outputs.shape[2]} outputs, but there is the label {largest}: it "
            f"needs at least {largest + 1}"
        )
    return outputs.shape[2]


def device_of(network: nn.Module) -> torch.device:
    """Where its weights lie."""
    return weights_of(network)[0].weight.device


def default_optimizers(network: nn.Module) -> dict[str, Optimizer]:
    """AdaBreg of the weights (lr 0.01, lam 0.1), and Adam of delays and spreads if there are any.

    Biases and norms have no regulariser.
    """
    assignments = assign_groups(network.named_parameters(), RULES)
    weights = AdaBreg(groups_for(assignments, "weights"), lr=1e-2, lam=0.1)
    log.info("%s", describe(assignments, weights.defaults))
    delays = groups_for(assignments, "delays")
    if not delays:
        return {"weights": weights}
    lr = EXTRA_DEFAULTS["optim"]["delay_lr"]
    return {"weights": weights, "delays": torch.optim.Adam(delays, lr=lr)}


def checked_optimizer(network: nn.Module, optimizer: Optimizer) -> dict[str, Optimizer]:
    """An optimizer of this network's parameters.

    Raises:
        ValueError: it is another network's, or lacks the weights.
    """
    own = {id(p): name for name, p in network.named_parameters() if p.requires_grad}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held - own.keys():
        raise ValueError(
            "The optimizer has parameters that are not the network's: make it after the network, of"
            " network.parameters()"
        )
    left = ", ".join(name for number, name in own.items() if number not in held)
    if id(weights_of(network)[0].weight) not in held:
        raise ValueError(f"The optimizer lacks weights of the network: {left}")
    if left:
        log.warning("The optimizer leaves %s as they are", left)
    return {"weights": optimizer}


def build_schedules(
    given: Any, per: str | None, optimizers: Mapping[str, Optimizer], epochs: int, batches: int
) -> list[Any]:
    """What :func:`~snnbreg.fit` was given as ``scheduler``, as objects of one kind.

    Args:
        given: see there.
        per: when torch's schedulers move, see :class:`~snnbreg.schedulers.TorchSchedule`.
        optimizers: by name. Learning rates of all follow a schedule that is given by name.
        epochs: of the run.
        batches: per epoch.

    Raises:
        ValueError: one of them is no scheduler, of another optimizer, or does not fit the run.
    """
    if given is None:
        return []
    if isinstance(given, (list, tuple)):
        parts = (build_schedules(one, per, optimizers, epochs, batches) for one in given)
        return [schedule for part in parts for schedule in part]
    if isinstance(given, (str, Mapping)):
        wanted = {"per": "step"} | ({"name": given} if isinstance(given, str) else dict(given))
        kind, field = str(wanted.pop("name", "?")), wanted.pop("field", "lr")
        wanted = {**wanted, "per": "epoch"} if kind in ("plateau", "target") else wanted
        return [
            make_scheduler(kind, optimizer, epochs, batches, field=field, **wanted)
            for name, optimizer in optimizers.items()
            if field == "lr" or name == "weights"
        ]
    if isinstance(given, LRScheduler):
        if given.optimizer not in optimizers.values():
            raise ValueError("The scheduler moves another optimizer than the one that is given")
        return [TorchSchedule(given, epochs, batches, per)]
    if hasattr(given, "step_batch") and hasattr(given, "step_epoch"):
        return [given]
    raise ValueError(
        "scheduler must be one of torch.optim.lr_scheduler or of snnbreg.schedulers, a name, a "
        f"mapping with a name, or a list of these, not {given!r}"
    )


def warn_of_reach(
    optimizer: Optimizer, schedules: Sequence[Any], epochs: int, batches: int
) -> None:
    """Warn where lambda lies beyond what the learning rates can move the dual variable.

    Not where something else than this package's schedules moves them, which nobody can foresee.
    """
    own = [schedule for schedule in schedules if isinstance(schedule, Scheduler)]
    if len(own) < len(schedules):
        return
    moving = [s for s in own if any(one.field == "lr" for one in s.schedules)]
    known = [s for s in moving if all(one.optimizer is optimizer for one in s.schedules)]
    constant = Scheduler([], "step", epochs, batches)
    for message in unreachable_lam(optimizer, (known or [constant])[0].lr_sums(optimizer)):
        log.warning("%s", message)


def described(scheduler: Any) -> dict[str, Any]:
    """The same in plain values, for a config: a name, and settings where they are known."""
    if isinstance(scheduler, (list, tuple)):
        first, *rest = [described(one) for one in scheduler] or [{"name": "none"}]
        return first | ({"more": rest} if rest else {})
    if isinstance(scheduler, Mapping):
        return dict(scheduler)
    named = scheduler is None or isinstance(scheduler, str)
    return {"name": scheduler or "none"} if named else {"name": type(scheduler).__name__}


def build_annealing(network: nn.Module, config: Mapping[str, Any]) -> list[Hook]:
    """The annealing of sigma, where the network has delays."""
    if not isinstance(network, Delayed):
        return []

    def sigma(epoch: int) -> float:
        model, epochs = config["model"], config["trainer"]["epochs"]  # a continued run's by now
        return annealed_sigma(epoch, epochs, model["sigma"], model["sigma_decay"])

    return [AnnealedSigma(network, sigma)]
