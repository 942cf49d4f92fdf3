"""The trainer: epochs of gradient steps, evaluations, checkpoints and one row of metrics each."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from snnbreg.runs import RunFolder, load_network, uninterrupted
from snnbreg.training.evaluation import Loader
from snnbreg.training.loggers import Logger
from snnbreg.training.network import Network
from snnbreg.training.objectives import Objective
from snnbreg.training.rows import settings_row, validation_row

log = logging.getLogger(__name__)

SELECT = {"published": "val_acc", "deployed": "deployed_val_acc", "last": "epoch"}
"""The column of the metrics whose highest value makes a checkpoint the best."""
CHECK_EVERY = {"cpu": 1}  # batches between looks at the loss: each look waits for the device
CHECK_EVERY_ELSEWHERE = 20


def best_row(history: Sequence[dict[str, Any]], select: str) -> dict[str, Any] | None:
    """The row of the epoch that is the best by a choice of ``SELECT``, the last one among equals.

    Args:
        history: rows of ``metrics.csv``.
        select: ``published``, ``deployed`` or ``last``.
    """
    column = SELECT[select]
    return max(history, key=lambda row: (row[column], row["epoch"]), default=None)


class Scheduler(Protocol):
    """What the trainer needs of a schedule; it decides itself which of the two calls moves it."""

    def step_batch(self) -> None:
        """A batch is done."""

    def step_epoch(self, metric: float | None = None) -> None:
        """An epoch is done; ``metric`` is its training loss."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


class Trainer:
    """Trains a network into a run folder.

    Randomness is a function of ``(seed, epoch)``, and an epoch's checkpoint is written when it
    ends, so a run that is stopped and continued equals one that was not.

    Args:
        network: any network of :mod:`snnbreg.models`.
        objective: loss and scores of a batch.
        train: training batches.
        valid: validation batches.
        optimizers: by name; ``weights`` has the weight matrices.
        schedulers: their ``step_batch`` and ``step_epoch`` are called in order.
        run: where the run is written.
        config: the resolved config, kept in every checkpoint.
        epochs: epochs of the whole run.
        seed: of everything random in training.
        sigma: delay-kernel spread (steps) at an epoch, set before it starts; None leaves it.
        select: what chooses the best checkpoint: the validation accuracy of an evaluation,
            ``published`` or ``deployed``, or ``last``: no choice, so that validation samples stay
            unseen.
        round_delays_in_place: validate as the published code does: delays are rounded for good.
        clamp_delays: clamp delays to >= 0 after every step (published for SHD).
        grad_clip: largest gradient norm; None for no clipping.
        loggers: told of every epoch.
        progress: show a bar when standard error is a terminal.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        train: Loader,
        valid: Loader,
        optimizers: Mapping[str, Optimizer],
        schedulers: Sequence[Scheduler],
        run: RunFolder,
        config: Mapping[str, Any],
        *,
        epochs: int,
        seed: int = 0,
        sigma: Callable[[int], float] | None = None,
        select: str = "published",
        round_delays_in_place: bool = False,
        clamp_delays: bool = False,
        grad_clip: float | None = None,
        loggers: Sequence[Logger] = (),
        progress: bool = True,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"trainer.epochs must be at least 1, not {epochs}")
        if select not in SELECT:
            raise ValueError(f"trainer.select={select} must be one of {', '.join(SELECT)}")
        if grad_clip is not None and not grad_clip > 0:
            raise ValueError(f"trainer.grad_clip must be positive or null, not {grad_clip}")
        self.network, self.objective = network, objective
        self.train, self.valid = train, valid
        self.optimizers, self.schedulers = dict(optimizers), list(schedulers)
        self.run, self.config = run, dict(config)
        self.epochs, self.seed, self.sigma = epochs, seed, sigma
        self.select, self.grad_clip = select, grad_clip
        self.round_delays_in_place, self.clamp_delays = round_delays_in_place, clamp_delays
        self.loggers, self.progress = list(loggers), progress
        self.history: list[dict[str, Any]] = []
        self._parameters = [p for p in network.parameters() if p.requires_grad]

    # -- the run -----------------------------------------------------------------------------

    def fit(self) -> str:
        """Train the epochs that are still to do.

        Returns:
            ``completed``, ``diverged`` (the loss became NaN or infinite; the last good checkpoint
            is kept) or ``interrupted`` (Ctrl-C or a termination signal).
        """
        self.run.write_metrics(self.history)
        if not self.history:
            self.run.save(self.run.initial, self.state_dict())
        elif self.best is self.history[-1]:  # by another ``select`` it may not have been
            self.run.save(self.run.best, self.state_dict())
        batches = len(self.train)
        bar = tqdm(
            total=self.epochs * batches,
            initial=len(self.history) * batches,
            unit="batch",
            disable=not (self.progress and sys.stderr.isatty()),
            dynamic_ncols=True,
        )
        try:
            with bar:
                for epoch in range(len(self.history), self.epochs):
                    self._epoch(epoch, bar)
        except DivergedError as error:
            log.error("%s", error)
            return "diverged"
        except KeyboardInterrupt:
            log.warning(
                "Interrupted after %d of %d epochs; continue with hydra.run.dir=%s "
                "trainer.resume=true",
                len(self.history),
                self.epochs,
                self.run.path,
            )
            return "interrupted"
        return "completed"

    def _epoch(self, epoch: int, bar: tqdm[Any]) -> None:
        start = time.perf_counter()
        torch.manual_seed((self.seed << 20) + epoch + 1)
        if self.sigma is not None:
            self.network.sigma = self.sigma(epoch)
        settings = settings_row(self.network, self.optimizers["weights"])
        bar.set_description(f"epoch {epoch + 1}/{self.epochs}")
        row: dict[str, Any] = {"epoch": epoch + 1, **self._train_epoch(epoch, bar)}
        # All that changes weights comes before the evaluation: the checkpoint holds what it saw.
        if self.round_delays_in_place:
            self.network.round_delays_()
            self._resync_delays()
        for scheduler in self.schedulers:
            scheduler.step_epoch(row["train_loss"])
        row |= validation_row(self.network, self.valid, self.objective)
        self._check(row["val_loss"])
        row |= settings
        row["seconds"] = round(time.perf_counter() - start, 3)
        row |= row.pop("layers")
        self._record(row)
        bar.set_postfix_str(
            f"loss {row['train_loss']:.3f} val {row['val_acc']:.3f} density {row['density']:.3f}"
        )
        self._report(row, bar)

    def _train_epoch(self, epoch: int, bar: tqdm[Any]) -> dict[str, float]:
        device = self._parameters[0].device
        check_every = CHECK_EVERY.get(device.type, CHECK_EVERY_ELSEWHERE)
        loss_sum = correct = norm_sum = torch.zeros((), dtype=torch.float64, device=device)
        samples = 0
        self.network.train()
        for batch, (frames, labels) in enumerate(self.train.epoch(epoch), 1):
            loss, scores = self.objective(self.network(frames), labels)
            for optimizer in self.optimizers.values():
                optimizer.zero_grad()
            loss.backward()
            norm = self._clip()
            if batch % check_every == 0:  # before the step, so that no parameter becomes NaN
                self._check(float(loss.detach()), float(norm))
            for optimizer in self.optimizers.values():
                optimizer.step()
            if self.clamp_delays:
                self.network.clamp_delays_()
                self._resync_delays()
            for scheduler in self.schedulers:
                scheduler.step_batch()
            samples += len(labels)
            loss_sum = loss_sum + loss.detach().double() * len(labels)
            correct = correct + (scores.detach().argmax(-1) == labels).sum()
            norm_sum = norm_sum + norm
            bar.update()
        if samples == 0:
            raise ValueError("There is nothing to train on: the training split holds no samples")
        self._check(float(loss_sum), float(norm_sum))
        return {
            "train_loss": float(loss_sum) / samples,
            "train_acc": float(correct) / samples,
            "grad_norm": float(norm_sum) / batch,
        }

    def _clip(self) -> torch.Tensor:
        """The norm of the whole gradient, which is scaled down to ``grad_clip`` where larger."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self.grad_clip, norm)
        return norm.double()

    def _resync_delays(self) -> None:
        """Tell optimizers that hold a dual variable that delays were written from outside."""
        delays = {d.data_ptr() for d in self.network.delays().values()}
        for optimizer in self.optimizers.values():
            groups = optimizer.param_groups
            held = [p for group in groups for p in group["params"] if p.data_ptr() in delays]
            if held and hasattr(optimizer, "resync"):
                optimizer.resync(held)

    def _check(self, loss: float, gradient: float = 0.0) -> None:
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            what = "gradient" if math.isfinite(loss) else "loss"
            raise DivergedError(
                f"The {what} became infinite or NaN in epoch {len(self.history) + 1}. The "
                "checkpoints of the epochs before are kept. Try a smaller optim.lr, "
                "optim.delay_lr or optim.lam, or trainer.grad_clip=1"
            )

    # -- measuring and recording -------------------------------------------------------------

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the epoch that ``select`` chooses."""
        return best_row(self.history, self.select)

    def _record(self, row: dict[str, Any]) -> None:
        """Add a row, and write metrics and checkpoints: all of it, or nothing yet."""
        with uninterrupted():
            self.history.append(row)
            self.run.write_metrics(self.history)
            state = self.state_dict()
            if self.best is self.history[-1]:
                self.run.save(self.run.best, state)
            self.run.save(self.run.last, state)

    def _report(self, row: dict[str, Any], bar: tqdm[Any]) -> None:
        for logger in self.loggers:
            logger.log_epoch(row, self.network)
        with bar.external_write_mode(file=sys.stderr):
            log.info(
                "epoch %*d/%d  loss %.4f  acc %.3f  val %.3f  deployed %.3f  density %.3f  %.1f s",
                len(str(self.epochs)),
                row["epoch"],
                self.epochs,
                row["train_loss"],
                row["train_acc"],
                row["val_acc"],
                row["deployed_val_acc"],
                row["density"],
                row["seconds"],
            )

    # -- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the run depends on: tensors and plain values."""
        return {
            "epoch": len(self.history),
            "network": self.network.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "history": self.history,
            "config": self.config,
        }

    def load_state_dict(self, state: Mapping[str, Any], source: str = "the checkpoint") -> None:
        """Continue from a state.

        Raises:
            ValueError: it belongs to another network, optimizer or schedule.
        """
        load_network(self.network, state["network"], source)
        if set(state["optimizers"]) != set(self.optimizers):
            names = ", ".join(state["optimizers"])
            raise ValueError(f"{source} was made with other optimizers: {names}")
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if len(state["schedulers"]) != len(self.schedulers):
            raise ValueError(f"{source} was made with another number of schedules")
        for scheduler, scheduler_state in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(scheduler_state)
        self.history = [dict(row) for row in state["history"]]
