"""The folder of one run: its config, metrics, summary and checkpoints, each written atomically."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout

from snnbreg.runs.checkpoints import load_checkpoint

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


class FolderInUseError(OSError):
    """Another process writes the run folder."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside: Ctrl-C and termination signals wait until the block is done."""
    if threading.current_thread() is not threading.main_thread():  # signals reach that one alone
        yield
        return
    waiting: list[tuple[int, Any]] = []
    handlers = {
        number: signal.signal(number, lambda *arguments: waiting.append(arguments))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    for number, _ in waiting[:1]:
        signal.raise_signal(number)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that its old content stays until the new one is complete on disk.

    Raises:
        OSError: the folder cannot be written or the disk is full; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            f"Could not write {path} ({error}). What was there before is untouched: free some "
            "space or choose another folder with hydra.run.dir, then go on with trainer.resume=true"
        ) from error


class RunFolder:
    """Paths, readers and writers of one run folder (see ``outputs/`` and the README).

    ``config.yaml``, ``classes.json`` (the classes' names, where they have any) and ``metrics.csv``
    (a row per finished epoch) are there while it trains;
    ``predictions.npz`` (classes of the validation and test samples, or some patterns, see
    :func:`~snnbreg.training.summarise`) and then ``summary.json`` when it ends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.summary = self.path / "summary.json"
        self.predictions = self.path / "predictions.npz"
        self.classes = self.path / "classes.json"
        self.initial = self.checkpoint("initial")
        self.last = self.checkpoint("last")
        self.best = self.checkpoint("best")

    @contextmanager
    def locked(self, wait: bool = False) -> Iterator[None]:
        """Inside: no other process has the folder locked; the system frees it when this one ends.

        Args:
            wait: until the folder is free, instead of an error.

        Raises:
            FolderInUseError: another process has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout as error:
            raise FolderInUseError(
                f"Another process is writing {self.path}. Wait until it ends, or choose another "
                "folder with hydra.run.dir"
            ) from error
        except NotImplementedError:  # some network file systems
            log.warning("%s cannot be locked: start no second run in it", self.path)
        try:
            yield
        finally:
            lock.release()

    def in_use(self) -> bool:
        """Whether a process, this one too, is writing the folder."""
        try:
            with self.locked():
                return False
        except FolderInUseError:
            return True

    def write_metrics(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write one row per finished epoch; a cell stays empty where a row lacks the column."""
        text = io.StringIO()
        if history:
            names = dict.fromkeys(name for row in history for name in row)
            writer = csv.DictWriter(text, fieldnames=list(names))
            writer.writeheader()
            writer.writerows(history)
        write_atomically(self.metrics, lambda file: file.write(text.getvalue().encode()))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the run's result as JSON (a NaN becomes null)."""
        plain = {key: None if value != value else value for key, value in summary.items()}
        text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
        write_atomically(self.summary, lambda file: file.write(text.encode()))

    def write_predictions(self, arrays: Mapping[str, Any]) -> None:
        """Write what the best checkpoint predicts, an array (numpy) per name."""
        write_atomically(self.predictions, lambda file: np.savez_compressed(file, **arrays))

    def write_classes(self, names: Sequence[str]) -> None:
        """Write the names of the classes."""
        text = json.dumps(list(names), ensure_ascii=False) + "\n"
        write_atomically(self.classes, lambda file: file.write(text.encode()))

    def read_classes(self) -> list[str]:
        """The names of the classes; empty where they are only numbers.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            names = json.loads(self.classes.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise ValueError(f"{self.classes} is not readable JSON ({error})") from error
        return [str(name) for name in names]

    def read_config(self) -> dict[str, Any]:
        """The resolved config, nested.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged.
        """
        config = read_yaml(self.config)
        if not isinstance(config, dict):
            raise ValueError(f"{self.config} holds no settings")
        return config

    def read_metrics(self) -> dict[str, list[float]] | None:
        """A column of ``metrics.csv`` per name, a value per epoch (NaN where empty), or None.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.metrics
        try:
            with open(path, newline="", encoding="utf-8") as file:
                header, *rows = list(csv.reader(file)) or [[]]
            columns = [[float(v) if v else math.nan for v in c] for c in zip(*rows, strict=True)]
            return dict(zip(header, columns or [[] for _ in header], strict=True))
        except FileNotFoundError:
            return None
        except (ValueError, csv.Error) as error:  # or UnicodeDecodeError, uneven rows
            raise ValueError(f"{path} is damaged: {error}") from error

    def read_summary(self) -> dict[str, Any] | None:
        """The summary, or None where the run has not ended.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            summary = json.loads(self.summary.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{self.summary} is not readable JSON ({error}); delete it") from error
        if not isinstance(summary, dict):
            raise ValueError(f"{self.summary} holds no summary; delete it")
        return summary

    def read_predictions(self) -> dict[str, Array]:
        """What the best checkpoint predicts: ``valid_ids``, ``valid_labels``, ``valid_deployed``...

        Raises:
            FileNotFoundError: the run left no ``predictions.npz``.
            ValueError: it is damaged.
        """
        try:
            with open(self.predictions, "rb") as file:
                return dict(np.load(file, allow_pickle=False))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
            raise ValueError(f"{self.predictions} is damaged ({type(error).__name__})") from error

    def checkpoint(self, name: str) -> Path:
        """The file of the checkpoint ``best``, ``last`` or ``initial``."""
        return self.path / "checkpoints" / f"{name}.pt"

    def finished(self) -> bool:
        """Whether there is nothing left to do: the run completed, or its loss diverged."""
        summary = self.read_summary()
        return summary is not None and summary.get("status") in ("completed", "diverged")

    def latest(self) -> dict[str, Any] | None:
        """The checkpoint to continue from: the later one of last.pt and best.pt, or None.

        A new best.pt is written before last.pt, and each holds the whole state: a run that was
        killed between the two continues from best.pt, which becomes last.pt too.

        Raises:
            ValueError: last.pt is damaged, or best.pt where there is no last.pt.
        """
        last = load_checkpoint(self.last) if self.last.is_file() else None
        try:
            best = load_checkpoint(self.best) if self.best.is_file() else None
        except ValueError:
            if last is None:
                raise
            return last
        if best is None or (last is not None and best["epoch"] <= last["epoch"]):
            return last
        self.save(self.last, best)
        return best

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        content = io.BytesIO()  # torch.save hides what went wrong with a file
        torch.save(dict(state), content)
        write_atomically(path, lambda file: file.write(content.getbuffer()))


def read_yaml(path: Path) -> Any:
    """Read plain values from a YAML file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}")
    try:
        return yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
