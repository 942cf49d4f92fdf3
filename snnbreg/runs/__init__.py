"""Run folders: what training writes, and what everybody else reads."""

from snnbreg.runs.checkpoints import load_checkpoint, load_network
from snnbreg.runs.folder import (
    Array,
    FolderInUseError,
    RunFolder,
    uninterrupted,
    write_atomically,
)
from snnbreg.runs.run import ACCURACY, Run, chosen_key, flat, read_run, read_runs

__all__ = [
    "ACCURACY",
    "Array",
    "FolderInUseError",
    "Run",
    "RunFolder",
    "chosen_key",
    "flat",
    "load_checkpoint",
    "load_network",
    "read_run",
    "read_runs",
    "uninterrupted",
    "write_atomically",
]
