"""The loop: epochs of a method, evaluations, checkpoints and one row of metrics each."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from snnbreg.runs import RunFolder, load_network, uninterrupted
from snnbreg.training.columns import ordered
from snnbreg.training.evaluation import Loader
from snnbreg.training.loggers import Logger
from snnbreg.training.methods import DivergedError, Method, check_finite
from snnbreg.training.network import weights_of
from snnbreg.training.processes import LostProcessError, Processes
from snnbreg.training.rows import validation_row
from snnbreg.training.supports import Supports
from snnbreg.training.tasks import Task

log = logging.getLogger(__name__)

SELECT = {"published": "val_", "deployed": "deployed_val_", "last": None}
"""What chooses the best checkpoint: the prefix of a column of the task's measure, or the epoch."""


def best_row(history: Sequence[dict[str, Any]], select: str, task: Task) -> dict[str, Any] | None:
    """The row of the epoch that is the best by a choice of ``SELECT``, the last one among equals.

    Args:
        history: rows of ``metrics.csv``.
        select: ``published``, ``deployed`` or ``last``.
        task: names the measure and says which direction is better.
    """
    prefix, sign = SELECT[select], 1 if task.higher_is_better else -1

    def merit(row: dict[str, Any]) -> tuple[float, int]:
        return (0.0 if prefix is None else sign * row[prefix + task.measure], row["epoch"])

    return max(history, key=merit, default=None)


class Trainer:
    """Trains a network into a run folder.

    Randomness is a function of ``(seed, epoch)``, and an epoch's checkpoint is written when it
    ends, so a run that is stopped and continued equals one that was not.

    Args:
        network: any module, frames (T, B, C) -> outputs (T, B, K).
        task: loss and measure of a batch.
        method: moves the weights.
        train: training batches.
        valid: validation batches.
        run: where the run is written.
        config: the resolved config, kept in every checkpoint.
        epochs: that the schedules of the method span.
        seed: of everything random in training.
        select: what chooses the best checkpoint: the task's measure on the validation samples in
            an evaluation, ``published`` or ``deployed``, or ``last``: no choice, so that
            validation samples stay unseen.
        loggers: told of every epoch.
        progress: show a bar when standard error is a terminal.
        sizes: what the network was built for; kept in checkpoints, for those who read them.
        extend: epochs after these; None for none.

    Attributes:
        epochs: of the whole run.
        again: what continues the run on the command line; empty where something else says it.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        method: Method,
        train: Loader,
        valid: Loader,
        run: RunFolder,
        config: Mapping[str, Any],
        *,
        epochs: int,
        seed: int = 0,
        select: str = "published",
        loggers: Sequence[Logger] = (),
        progress: bool = True,
        sizes: Sequence[Any] = (),
        extend: int | None = None,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"trainer.epochs must be at least 1, not {epochs}")
        if extend is not None and extend < 0:
            raise ValueError(f"trainer.extend must be at least 0, or null, not {extend}")
        if select not in SELECT:
            raise ValueError(f"trainer.select={select} must be one of {', '.join(SELECT)}")
        self.network, self.task, self.method = network, task, method
        self.train, self.valid = train, valid
        self.run, self.config = run, dict(config)
        self.epochs, self.seed, self.select = epochs + (extend or 0), seed, select
        self.loggers, self.progress = list(loggers), progress
        self.sizes = tuple(sizes)
        self.supports = Supports(weights_of(network))
        self.history: list[dict[str, Any]] = []
        self.processes = Processes()
        self.again = f"hydra.run.dir={run.path} trainer.resume=true"

    # -- the run -----------------------------------------------------------------------------

    def fit(self) -> str:
        """Train the epochs that are still to do.

        Returns:
            ``completed``, ``diverged`` (the loss became NaN or infinite; the last good checkpoint
            is kept) or ``interrupted`` (Ctrl-C or a termination signal).

        Raises:
            LostProcessError: another process of the run does not answer; the run can be continued
                from its last checkpoint.
        """
        if self.processes.writes:
            self._prepare_folder()
        batches = len(self.train)
        bar = tqdm(
            total=self.epochs * batches,
            initial=len(self.history) * batches,
            unit="batch",
            disable=not (self.progress and self.processes.writes and sys.stderr.isatty()),
            dynamic_ncols=True,
            bar_format="{desc}whole run {percentage:3.0f}%|{bar}{r_bar}",
        )
        try:
            with bar:
                for epoch in range(len(self.history), self.epochs):
                    self._epoch(epoch, bar)
        except DivergedError as error:
            log.error("%s", error)
            return "diverged"
        except KeyboardInterrupt:
            log.warning("Interrupted %s", self._how_to_go_on())
            return "interrupted"
        except LostProcessError as error:
            raise LostProcessError(f"{error}. The run ended {self._how_to_go_on()}") from error
        return "completed"

    def _how_to_go_on(self) -> str:
        done = f"after {len(self.history)} of {self.epochs} epochs"
        return f"{done}. Continue with:\n  {self.again}" if self.again else done

    def _prepare_folder(self) -> None:
        self.run.write_metrics(self.history)
        if not self.history:
            self.run.save(self.run.initial, self.state_dict())
        elif self.best is self.history[-1]:  # by another ``select`` it may not have been
            self.run.save(self.run.best, self.state_dict())

    def _epoch(self, epoch: int, bar: tqdm[Any]) -> None:
        start = time.perf_counter()
        torch.manual_seed((self.seed << 20) + epoch + 1)
        bar.set_description(f"epoch {epoch + 1}/{self.epochs}")
        # All that changes weights comes before the evaluation: the checkpoint holds what it saw.
        row = {
            "epoch": epoch + 1,
            **self.method.epoch(epoch, self.train.epoch(epoch), bar.update),
            **validation_row(self.network, self.valid, self.task, self.processes),
            **self.supports.row(),
        }
        check_finite(epoch, row["val_loss"])
        self.processes.check_equal(self.network)
        row["seconds"] = round(time.perf_counter() - start, 3)
        self._record(ordered(row, self.task.measure))
        if self.processes.writes:
            self._report(self.history[-1], bar)

    # -- recording ---------------------------------------------------------------------------

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the epoch that ``select`` chooses."""
        return best_row(self.history, self.select, self.task)

    def _record(self, row: dict[str, Any]) -> None:
        """Add a row, and write metrics and checkpoints: all of it, or nothing yet."""
        with uninterrupted():
            self.history.append(row)
            if not self.processes.writes:
                return
            self.run.write_metrics(self.history)
            state = self.state_dict()
            if self.best is self.history[-1]:
                self.run.save(self.run.best, state)
            self.run.save(self.run.last, state)

    def _report(self, row: dict[str, Any], bar: tqdm[Any]) -> None:
        for logger in self.loggers:
            logger.log_epoch(row, self.network)
        measure = self.task.measure
        train, valid, deployed = (
            row[f"{prefix}{measure}"] for prefix in ("train_", "val_", "deployed_val_")
        )
        bar.set_postfix_str(
            f"loss {row['train_loss']:.3f} val {valid:.3f} density {row['density']:.3f}"
        )
        with bar.external_write_mode(file=sys.stderr):
            log.info(
                "epoch %*d/%d  loss %.4f  %s %.3f  val %.3f  deployed %.3f  density %.3f  %.1f s",
                len(str(self.epochs)),
                row["epoch"],
                self.epochs,
                row["train_loss"],
                measure,
                train,
                valid,
                deployed,
                row["density"],
                row["seconds"],
            )

    # -- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the run depends on: tensors and plain values."""
        return {
            **self.method.state_dict(),
            "epoch": len(self.history),
            "network": self.network.state_dict(),
            "history": self.history,
            "ever_alive": self.supports.state_dict(),
            "config": self.config,
            "sizes": self.sizes,
        }

    def load_state_dict(self, state: Mapping[str, Any], source: str = "the checkpoint") -> None:
        """Continue from a state.

        Raises:
            ValueError: it belongs to another network or method.
        """
        load_network(self.network, state["network"], source)
        self.method.load_state_dict(state, source)
        self.supports.load_state_dict(state.get("ever_alive", {}))
        self.history = [dict(row) for row in state["history"]]
