"""Loggers besides the CSV and JSON files that every run writes."""

from __future__ import annotations

import json
import logging
import netrc
import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from snnbreg.training.network import delays_of, weights_of

log = logging.getLogger(__name__)


class Logger(Protocol):
    """Told of every finished epoch and of the end."""

    def log_epoch(self, row: Mapping[str, Any], network: nn.Module) -> None:
        """An epoch is done: its row of ``metrics.csv``, and the network to look at."""

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """The run is over; ``summary`` is None where it ended in an error."""


def wandb_mode(mode: str | None) -> Any:
    """How W&B shall run: as asked for, else online where a key is found, else offline.

    Args:
        mode: ``online``, ``offline``, ``disabled`` or None; ``WANDB_MODE`` counts where it is None.
    """
    chosen = mode or os.environ.get("WANDB_MODE")
    if chosen:
        return chosen
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        hosts = {}
    return "online" if "api.wandb.ai" in hosts else "offline"


def _densities(row: Mapping[str, Any], network: nn.Module) -> dict[str, float]:
    """The density of each weight matrix after an epoch."""
    return {
        f"density/{weights.name}": row[f"nonzero/{weights.name}"] / weights.weight.numel()
        for weights in weights_of(network)
    }


class WandbLogger:
    """Weights & Biases: metrics against the epoch, densities per layer and histograms of delays.

    Args:
        folder: run folder; W&B's files lie in ``folder/wandb``.
        config: the run's resolved config.
        project: W&B project.
        entity: user or team; None for the account's own.
        group: runs that belong together; None for the folder that holds the run's folder.
        run_name: None for the folder's name.
        tags: words to filter runs by.
        mode: ``online``, ``offline``, ``disabled``; None is online with a key and offline without.

    Raises:
        ValueError: W&B refuses the settings or cannot be reached.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        project: str = "snnbreg",
        entity: str | None = None,
        group: str | None = None,
        run_name: str | None = None,
        tags: Sequence[str] = (),
        mode: str | None = None,
    ) -> None:
        import wandb  # takes a second to import, so only when asked for

        marker = folder / "wandb" / "run_id"
        marker.parent.mkdir(parents=True, exist_ok=True)
        run_id = marker.read_text().strip() if marker.exists() else secrets.token_hex(4)
        marker.write_text(run_id)
        self._wandb, self._folder = wandb, marker.parent
        try:
            self._run = wandb.init(
                dir=str(folder),
                config=dict(config),
                project=project,
                entity=entity,
                group=group or folder.parent.name,
                name=run_name or folder.name,
                tags=list(tags),
                id=run_id,
                resume="allow" if wandb_mode(mode) == "online" else None,
                mode=wandb_mode(mode),
                reinit="finish_previous",
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            raise ValueError(
                f"W&B could not start: {error}. Use logger=csv or logger.mode=offline"
            ) from error
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")

    def log_epoch(self, row: Mapping[str, Any], network: nn.Module) -> None:
        """Log a row, densities per weight matrix and a histogram of each layer's delays."""
        delays = {
            f"delay/{name}": self._wandb.Histogram(delay.detach().cpu().flatten().tolist())
            for name, delay in delays_of(network).items()
        }
        self._run.log({**row, **_densities(row, network), **delays})

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Write the summary and close the W&B run, so that the next one is a new one."""
        if summary is not None:
            self._run.summary.update(dict(summary))
        self._run.finish(exit_code=0 if summary is not None else 1)
        if self._run.offline:
            # a run that was continued has a folder of each time, and W&B joins them by its id
            folders = sorted(str(path) for path in self._folder.glob("offline-run-*"))
            log.info(
                "W&B ran offline. To upload the run:\n  %s", shlex.join(["wandb", "sync", *folders])
            )


class TensorboardLogger:
    """TensorBoard: metrics against the epoch, densities per layer and histograms of delays.

    Args:
        folder: run folder.
        config: the run's resolved config.
        directory: where the event files go; None for ``folder/tensorboard``.

    Raises:
        ValueError: TensorBoard is not installed.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], directory: str | None = None
    ) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # not everyone has it
        except ImportError as error:
            raise ValueError(
                "logger=tensorboard needs the package tensorboard: pip install tensorboard"
            ) from error
        self._open: Any = SummaryWriter
        self._directory = directory or str(folder / "tensorboard")
        self._config = json.dumps(dict(config), indent=2, default=str)
        self._writer: Any = None

    def log_epoch(self, row: Mapping[str, Any], network: nn.Module) -> None:
        """Log a row, densities per weight matrix and a histogram of each layer's delays.

        A run that continues hides what was logged beyond its checkpoint.
        """
        epoch = row["epoch"]
        if self._writer is None:
            self._writer = self._open(self._directory, purge_step=epoch)
            self._writer.add_text("config", f"```\n{self._config}\n```", epoch)
        for name, value in {**row, **_densities(row, network)}.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, epoch)
        for name, delay in delays_of(network).items():
            self._writer.add_histogram(f"delay/{name}", delay.detach().cpu(), epoch)
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Write the summary and close the files."""
        if self._writer is not None:
            if summary is not None:
                text = json.dumps(dict(summary), indent=2)
                self._writer.add_text("summary", f"```\n{text}\n```", summary["epochs"])
            self._writer.close()
