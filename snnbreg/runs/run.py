"""Finished and unfinished runs as they lie on disk; nothing here knows how they were trained."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from snnbreg.runs.checkpoints import load_checkpoint
from snnbreg.runs.folder import Array, RunFolder, read_yaml

AnyRun = TypeVar("AnyRun", bound="Run")

ACCURACY = "acc"
"""The measure of classifications, a fraction; no other measure is known here."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        path: its folder.
        config: the resolved config, nested.
        history: a column of ``metrics.csv`` per name, a value per epoch (NaN where empty).
        summary: the result at the best checkpoint; empty where the run has not ended.
        written: when the metrics were last written, seconds since 1970.
    """

    path: Path
    config: dict[str, Any] = field(repr=False)
    history: dict[str, list[float]] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    written: float = 0.0

    @classmethod
    def read(cls: type[AnyRun], path: str | os.PathLike[str]) -> AnyRun:
        """Read one run folder.

        Raises:
            FileNotFoundError: there is no ``config.yaml``, or neither metrics nor summary.
            ValueError: a file is damaged; the message names it.
        """
        folder = RunFolder(path)
        config, history = folder.read_config(), folder.read_metrics()
        summary = folder.read_summary()
        if history is None and summary is None:
            raise FileNotFoundError(f"{folder.path} holds neither metrics.csv nor summary.json")
        written = (folder.config if history is None else folder.metrics).stat().st_mtime
        return cls(folder.path, config, history or {}, summary or {}, written)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config with dotted names: ``{"optim.lam": 0.1, ...}``.

        Own data without a title have the name of their folder.
        """
        found = flat(self.config)
        if "dataset.title" in found and not found["dataset.title"]:
            folder = Path(found.get("dataset.root") or "data").expanduser()
            found["dataset.title"] = folder.resolve().name
        return found

    def without(self: AnyRun, names: Collection[str]) -> AnyRun:
        """The run without some settings, given by dotted names; others keep their values."""

        def pruned(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
            return {
                key: pruned(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
                for key, value in config.items()
                if f"{prefix}{key}" not in names
            }

        return replace(self, config=pruned(self.config))

    @property
    def seed(self) -> int:
        """The run's seed, 0 where the config has none."""
        return int(self.config.get("seed", 0))

    @property
    def fold(self) -> int:
        """Which part of the data the run was tested on, 0 where the config has no folds."""
        return int(self.settings.get("dataset.fold") or 0)

    @property
    def dataset(self) -> str:
        """The data set's config name, ``?`` where the config has none: what runs share a panel.

        ``dataset.limit`` stands behind it where there is one, ``shd_limit100``: what a part of the
        data teaches does not compare with what all of it does. Likewise the measure where that is
        not accuracy, ``mnist_mse``: an autoencoder and a classifier do not compare. A person's own
        data, whose config name is the same whatever they are, have their title or their folder's
        name behind it: ``own_TITLE``.
        """
        name = str(self.settings.get("dataset.name", "?"))
        if self.title is not None:
            name += "_" + re.sub(r"[^\w.+-]+", "_", self.title)
        limit = self.settings.get("dataset.limit")
        name += "" if limit is None else f"_limit{limit}"
        return name if self.measure == ACCURACY else f"{name}_{self.measure}"

    @property
    def title(self) -> str | None:
        """What a person's own data are called; None of others."""
        title = self.settings.get("dataset.title")
        return None if title is None else str(title)

    @property
    def measure(self) -> str:
        """What the task is scored by, as columns name it; accuracy where nothing says it."""
        columns = (name[4:] for name in self.history if name.startswith("val_"))
        found = next((name for name in columns if name != "loss"), ACCURACY)
        return str(self.summary.get("measure", found))

    @property
    def higher_is_better(self) -> bool:
        """The direction of the measure; older summaries do not say it."""
        return bool(self.summary.get("higher_is_better", self.measure == ACCURACY))

    @property
    def scheduler(self) -> str:
        """The schedule's config name, ``none`` where the config has none."""
        return str(self.settings.get("scheduler.name", "none"))

    @property
    def status(self) -> str:
        """``completed``, ``diverged``, ``interrupted`` or ``unfinished`` (no summary yet)."""
        return str(self.summary.get("status", "unfinished"))

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.status in ("completed", "diverged")

    def figure(self, key: str) -> float | None:
        """A figure of the result, at the best checkpoint.

        Args:
            key: a number of the summary, ``{measure}`` in it standing for the run's own;
                ``all_density``, the share of all parameters that is not
                a zero weight; ``last/COLUMN``, a column of the metrics in the last epoch, or
                ``best/COLUMN``, in that of the best checkpoint.
        """
        value: Any
        key = key.replace("{measure}", self.measure)
        if key.startswith("last/"):
            value = (self.history.get(key[5:]) or [math.nan])[-1]
        elif key.startswith("best/"):
            rows = zip(self.history["epoch"], self.history.get(key[5:], []), strict=False)
            best = self.summary.get("best_epoch")
            value = next((value for epoch, value in rows if epoch == best), None)
        elif key == "all_density":
            nonzero, density, parameters = (
                self.summary.get(name) for name in ("nonzero", "density", "parameters")
            )
            if not (nonzero and density and parameters):
                return None
            value = 1.0 - (nonzero / density - nonzero) / parameters
        else:
            value = self.summary.get(key)
        return float(value) if value is not None and math.isfinite(value) else None

    @property
    def lam_course(self) -> str:
        """How lambda moves during training, in words; empty where it stays."""
        kind = self.settings.get("scheduler.lam.name")
        if kind == "target":
            return f"λ steered to {100 * self.settings.get('scheduler.lam.density', 0.1):g} %"
        return f"λ {kind}" if kind else ""

    @property
    def lam_words(self) -> str:
        """Lambda in words, for titles: its value, or how it moves."""
        return self.lam_course or f"λ = {self.settings['optim.lam']:g}"

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder(self.path)

    def predictions(self) -> dict[str, Array]:
        """See :meth:`RunFolder.read_predictions`."""
        return self.folder.read_predictions()

    def checkpoint(self, name: str = "best") -> dict[str, Any]:
        """Load the checkpoint ``best``, ``last`` or ``initial``, see :func:`load_checkpoint`."""
        return load_checkpoint(self.folder.checkpoint(name))

    @cached_property
    def overrides(self) -> list[str]:
        """What the command line set (``.hydra/overrides.yaml``); empty where unknown."""
        try:
            found = read_yaml(self.path / ".hydra" / "overrides.yaml")
        except (OSError, ValueError):
            return []
        return [str(item) for item in found] if isinstance(found, list) else []


def chosen_key(summary: Mapping[str, Any]) -> str:
    """The figure of a summary that ``trainer.select`` chose the checkpoint by.

    With ``select=last``, where none chose, the published one. ``best_val_acc`` where the summary
    is older than the choice or the measure.
    """
    evaluation = "deployed_" if summary.get("select") == "deployed" else ""
    return f"best_{evaluation}val_{summary.get('measure', ACCURACY)}"


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read one run folder, see :meth:`Run.read`."""
    return Run.read(path)


def read_runs(folder: str | os.PathLike[str], problems: list[str] | None = None) -> list[Run]:
    """Read every run at or below a folder, sorted by path.

    Args:
        folder: searched recursively; hidden folders and ``checkpoints`` are not entered.
        problems: a message per damaged run is appended here; None logs them as warnings.

    Returns:
        The runs that could be read; folders that only hold a ``config.yaml`` are no runs.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no folder {folder}")
    runs, found = [], []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f[0] != "." and f not in ("checkpoints", "wandb"))
        if "config.yaml" not in files or not {"metrics.csv", "summary.json"} & set(files):
            continue
        try:
            runs.append(read_run(place))
        except (OSError, ValueError) as error:
            found.append(f"Skipped {place}: {error}")
    if problems is None:
        for problem in found:
            log.warning("%s", problem)
    else:
        problems.extend(found)
    return runs


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config with dotted names.

    Example:
        >>> flat({"seed": 0, "optim": {"lam": 0.1}})
        {'seed': 0, 'optim.lam': 0.1}
    """
    pairs: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            pairs |= flat(value, f"{prefix}{key}.")
        else:
            pairs[f"{prefix}{key}"] = value
    return pairs
