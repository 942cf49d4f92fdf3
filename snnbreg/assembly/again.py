"""The command lines that continue a run or a sweep, to be copied from the screen."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig

OWN = "hydra.run.dir="


def to_continue(folder: Path) -> str:
    """The command that continues the run in a folder, started as this process was.

    The folder's ``config.yaml`` says what the run is, so that no override of it is repeated;
    options of Hydra, such as ``--config-dir``, are.
    """
    given = HydraConfig.get().overrides
    options = [word for word in sys.argv[1:] if word not in (*given.task, *given.hydra)]
    kept = [word for word in given.hydra if word in sys.argv and not word.startswith(OWN)]
    # Hydra takes no override before an option where another one follows it
    return shlex.join([*_program(), *options, *kept, run_dir(folder), "trainer.resume=true"])


def same() -> str:
    """The command that started this process: of a sweep it continues what is not finished."""
    return shlex.join([*_program(), *sys.argv[1:]])


def run_dir(folder: Path) -> str:
    """The override that names a run's folder, in quotes where Hydra needs them."""
    path = str(folder)
    if not re.fullmatch(r"[\w/.+-]+", path):
        path = '"' + path.replace('"', '\\"') + '"'
    return f"hydra.run.dir={path}"


def _program() -> list[str]:
    """What stands before the arguments: ``python train.py``, ``snnbreg train``, ..."""
    script = sys.argv[0]
    if dist.is_initialized():
        here, everywhere = (os.environ.get(key) for key in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        if here == everywhere:  # on several machines each has its own options
            return ["torchrun", f"--nproc-per-node={here}", script]
    if Path(script).stem == "snnbreg":
        return ["snnbreg", "train"]
    python = sys.orig_argv[0]
    if Path(script).name == "__main__.py":
        return [python, "-m", "snnbreg", "train"]
    return [python, script]
