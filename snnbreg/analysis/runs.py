"""Finished and unfinished runs as they lie on disk; nothing here knows how they were trained.

A run folder holds ``config.yaml``, ``metrics.csv`` (a row per epoch), ``summary.json`` (once the
run has ended), ``predictions.npz`` (likewise) and ``checkpoints/{last,best}.pt``.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import yaml

Array = np.ndarray[Any, Any]

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

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config with dotted names: ``{"optim.lam": 0.1, ...}``."""
        return dict(_flat(self.config))

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
        """The data set's config name, ``?`` where the config has none."""
        return str(self.settings.get("dataset.name", "?"))

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
            key: a number of the summary; ``all_density``, the share of all parameters that is not
                a zero weight; or ``last/COLUMN``, a column of the metrics in the last epoch.
        """
        value: Any
        if key.startswith("last/"):
            value = (self.history.get(key[5:]) or [math.nan])[-1]
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
    def predictions_path(self) -> Path:
        """Where ``predictions.npz`` lies, if the run left it."""
        return self.path / "predictions.npz"

    def predictions(self) -> dict[str, Array]:
        """What the best checkpoint predicts: ``valid_ids``, ``valid_labels``, ``valid_deployed``...

        Raises:
            FileNotFoundError: the run left no ``predictions.npz``.
            ValueError: it is damaged.
        """
        try:
            with open(self.predictions_path, "rb") as file:
                return dict(np.load(file, allow_pickle=False))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as e:
            raise ValueError(f"{self.predictions_path} is damaged ({type(e).__name__})") from e

    def checkpoint(self, name: str = "best") -> dict[str, Any]:
        """Load a checkpoint onto the CPU, without executing anything in it.

        Args:
            name: ``best``, ``last`` or another file of ``checkpoints/``.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged.
        """
        path = self.path / "checkpoints" / f"{name}.pt"
        if not path.is_file():
            raise FileNotFoundError(f"There is no checkpoint {path}")
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, EOFError, ValueError, TypeError, UnpicklingError, BadZipFile) as e:
            raise ValueError(f"{path} is damaged ({type(e).__name__})") from e

    @cached_property
    def overrides(self) -> list[str]:
        """What the command line set (``.hydra/overrides.yaml``); empty where unknown."""
        try:
            found = _yaml(self.path / ".hydra" / "overrides.yaml")
        except (OSError, ValueError):
            return []
        return [str(item) for item in found] if isinstance(found, list) else []


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read one run folder.

    Raises:
        FileNotFoundError: there is no ``config.yaml``, or neither metrics nor summary.
        ValueError: a file is damaged; the message names it.
    """
    folder = Path(path)
    config = _yaml(folder / "config.yaml")
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.yaml'} holds no settings")
    history, summary = _metrics(folder / "metrics.csv"), _summary(folder / "summary.json")
    if history is None and summary is None:
        raise FileNotFoundError(f"{folder} holds neither metrics.csv nor summary.json")
    written = (folder / ("config.yaml" if history is None else "metrics.csv")).stat().st_mtime
    return Run(folder, config, history or {}, summary or {}, written)


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


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _yaml(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}")
    try:
        return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable YAML") from error


def _metrics(path: Path) -> dict[str, list[float]] | None:
    if not path.is_file():
        return None
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        header = rows[0] if rows else []
        columns = [[float(v) if v else math.nan for v in c] for c in zip(*rows[1:], strict=True)]
    except (ValueError, csv.Error) as error:  # also UnicodeDecodeError and rows of other lengths
        raise ValueError(f"{path} is damaged: {error}") from error
    if columns and len(columns) != len(header):
        raise ValueError(f"{path} is damaged: {len(header)} names, {len(columns)} columns")
    return dict(zip(header, columns or [[] for _ in header], strict=True))


def _summary(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no summary")
    return found
