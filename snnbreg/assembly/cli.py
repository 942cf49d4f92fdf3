"""Errors on the command line: one clear paragraph for a user's mistake, a traceback for ours."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException, HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from snnbreg.assembly.again import same
from snnbreg.assembly.names import unknown_option
from snnbreg.assembly.parallel import IN_USE
from snnbreg.assembly.schema import RENAMED, takers
from snnbreg.runs import FolderInUseError
from snnbreg.training.processes import LostProcessError

log = logging.getLogger(__name__)

LOST = 74
"""Exit code of a run that lost one of its processes (EX_IOERR of sysexits.h)."""
USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)


def explain(error: BaseException) -> str:
    """What went wrong and what is possible, as one paragraph.

    Args:
        error: as raised by Hydra, OmegaConf or this package.
    """
    cause: BaseException | None = error
    while cause is not None:
        parent = getattr(cause, "parent_node", None)
        if isinstance(error, ConfigCompositionException) and parent is not None:
            return _no_option(str(getattr(cause, "full_key", "")), parent)
        cause = cause.__cause__
    text = str(error).split("Config search path")[0]
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.strerror}: {error.filename}. Check the path and its permissions"
    return " ".join(text.split()) or type(error).__name__


def _no_option(key: str, parent: Any) -> str:
    """Say what lacks an option, and how a sweep gives it to those alone that have it.

    Args:
        key: dotted, as typed.
        parent: the mapping that lacks it.
    """
    group, _, option = key.rpartition(".")
    name = parent.get("name") if group else None
    where = f"of {group}={name}" if name else "of the config" if not group else f"of {group}"
    text = unknown_option(key, where, [str(entry) for entry in parent])
    if option in RENAMED.get(group, {}):
        return f"{key} is now called {group}.{RENAMED[group][option]}"
    others = takers(group, option)
    if others:
        text += f". {group}={', '.join(others)} take it; ++{key}=... gives it to those alone"
    return text


def reported(task: Callable[..., Any]) -> Callable[..., Any]:
    """Log a job's failure where it happens, so that a sweep shows it and goes on."""

    @functools.wraps(task)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return task(*args, **kwargs)
        except USER_ERRORS as error:
            log.error("%s", explain(error))
            log.debug("Where it happened", exc_info=True)
            error.reported = True  # type: ignore[union-attr]
            raise

    return wrapper


class FailedJobs(Callback):
    """Hydra's callback that notes a failed job in its folder, ``failed.txt``, for the sweep's end.

    It also renews the time of each job's folder, finished before or not, by which the sweep's end
    knows its jobs. Both work wherever the job ran: in this process, another one or on another
    machine.
    """

    sweep: Path | None = None
    before: Mapping[Path, int] = {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember where the sweep's jobs will be, and what is there already."""
        FailedJobs.sweep = Path(config.hydra.sweep.dir)
        FailedJobs.before = _times(FailedJobs.sweep)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write the note, or delete the one of an earlier failure."""
        note = Path(config.hydra.runtime.output_dir) / "failed.txt"
        note.unlink(missing_ok=True)
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value
            where = "".join(traceback.format_exception(error))
            note.write_text(f"{type(error).__name__}: {explain(error)}\n\n{where}")
        os.utime(note.parent)


class DetectAnomalies(Callback):
    """Hydra's callback of ``debug=default``: a NaN in a gradient names its operation."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let torch check every gradient from here on (``torch.autograd.set_detect_anomaly``)."""
        torch.autograd.set_detect_anomaly(True)


def failed_jobs() -> dict[Path, str]:
    """The folders in which jobs of this process's sweep failed, with the reasons."""
    notes = [path for path in _new() if path.name == "failed.txt"]
    return {path.parent: path.read_text().split("\n", 1)[0] for path in notes}


def swept_folders() -> list[Path]:
    """The folders of this process's sweep's jobs, finished before, failed or not."""
    return [path for path in _new() if path.is_dir()]


def _new() -> list[Path]:
    """The folders and notes that this process's sweep touched."""
    if FailedJobs.sweep is None:
        return []
    times = _times(FailedJobs.sweep)
    return [path for path, time in times.items() if FailedJobs.before.get(path) != time]


def _times(sweep: Path) -> dict[Path, int]:
    found = [*sweep.glob("[!.]*/"), *sweep.glob("*/failed.txt")]  # a launcher's own is hidden
    return {path: path.stat().st_mtime_ns for path in sorted(found)}


def _terminate(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt(f"signal {signum}")


def run(main: Callable[[], Any]) -> Any:
    """Run a command and leave the process with a fitting exit code where it fails.

    ``HYDRA_FULL_ERROR=1`` shows tracebacks of a user's mistakes too, but not of a folder in use:
    who started this process goes by its exit code. A termination signal ends a
    run like Ctrl-C: with a usable run folder.
    """
    full = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors shall reach us
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return main()
    except KeyboardInterrupt:
        if FailedJobs.sweep is not None:
            print(f"Interrupted. Continue the sweep with:\n  {same()}", file=sys.stderr)
        sys.exit(130)
    except LostProcessError as error:
        print(f"Error: {explain(error)}", file=sys.stderr)
        sys.exit(LOST)
    except USER_ERRORS as error:
        if full and not isinstance(error, FolderInUseError):
            raise
        if not getattr(error, "reported", False):
            text = textwrap.fill(
                f"Error: {explain(error)}", 100, break_long_words=False, break_on_hyphens=False
            )
            print(text, file=sys.stderr)
        sys.exit(IN_USE if isinstance(error, FolderInUseError) else 1)
    finally:
        failed = failed_jobs()
        if failed:
            print(f"{len(failed)} failed:", file=sys.stderr)
        for folder, reason in failed.items():
            print(f"  {folder}: {reason}", file=sys.stderr)
