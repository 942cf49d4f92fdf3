"""The folders of a sweep's jobs: named by what the job is and by the code that runs it."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import snnbreg
from snnbreg.assembly.names import own_code
from snnbreg.assembly.schema import check, options, takers

PACKAGES = (
    "functional", "kernels", "models", "optim", "schedulers", "datasets", "runs", "training",
    "assembly",
)  # fmt: skip
# Files of these packages that start runs or talk about them, and cannot change what a run computes.
WITHOUT_EFFECT = {
    "assembly/cli.py", "assembly/configs.py", "assembly/fitting.py", "assembly/load.py",
    "assembly/parallel.py", "assembly/sweeps.py", "runs/run.py", "training/loggers.py",
}  # fmt: skip
# Keys that change neither a result nor where it is computed from.
IRRELEVANT = {
    "dataset.cache", "trainer.resume", "trainer.progress", "trainer.threads", "logger",
}  # fmt: skip
SHOWN_FIRST = ("experiment", "optim", "scheduler", "seed")  # most often what a sweep varies
MAX_READABLE = 200
"""Characters of a folder's readable part; most file systems allow names of 255 bytes."""


def leave_out(plain: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Drop options given by ``++`` that others of their group take, but not the one chosen.

    With ``optim=adam,adabreg ++optim.lam=0.1,1`` lambda is AdaBreg's alone, and Adam's jobs are
    the same run. What no choice of the group takes stays, for :func:`check` to refuse.

    Args:
        plain: the config as composed; the options are deleted in it.
        overrides: the command line.

    Returns:
        The overrides that are left.
    """
    kept = []
    for override in overrides:
        key = override.split("=", 1)[0]
        group, _, option = key.removeprefix("++").partition(".")
        values = plain.get(group)
        if key.startswith("++") and option and isinstance(values, dict):
            name = str(values.get("name", ""))
            if takers(group, option) and option not in options(group, name):
                values.pop(option, None)
                continue
        kept.append(override)
    return kept


def run_name(config: Mapping[str, Any], overrides: Iterable[str] = ()) -> str:
    """The name of a run's folder: readable, and another one for every other run or code.

    It consists of the overrides, a hash of the config without what cannot matter (logger,
    progress, threads, cache), and the :func:`code_version`, as in
    ``optim.lam-0.1__seed-0__8e1f2a7c-4b6d90``, which needs no quotes on a command line.

    Args:
        config: a checked config.
        overrides: ``key=value`` as typed; for the readable part alone.
    """
    kept = {
        f"{group}.{key}": value
        for group, values in config.items()
        for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
        if not {group, f"{group}.{key}"} & IRRELEVANT
    }
    kept |= own_code(config)
    return f"{_readable(overrides)}__{_hash(kept)}-{code_version()}"


def _readable(overrides: Iterable[str]) -> str:
    pairs = [override.lstrip("+~").split("=", 1) for override in overrides]
    shown = []
    for key, *value in pairs:
        group = key.partition(".")[0]
        if not {key, group} & IRRELEVANT:
            place = SHOWN_FIRST.index(group) if group in SHOWN_FIRST else len(SHOWN_FIRST)
            shown.append((place, "-".join([key, *value])))
    entries = [re.sub(r"[^A-Za-z0-9.+-]+", "_", entry).strip("_") for _, entry in sorted(shown)]
    text = "__".join(entries)
    return text[:MAX_READABLE] or "default"


def _hash(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@functools.cache
def code_version(package: Path | None = None) -> str:
    """A hash of the package's code that a run's result depends on.

    Comments, docstrings and layout do not count; another Python version may give another hash.

    Args:
        package: the package's folder; by default the one that is running.
    """
    package = package or Path(snnbreg.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for part in PACKAGES for path in (package / part).rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name in WITHOUT_EFFECT:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [entry for entry in body if not _is_text(entry)]  # type: ignore[attr-defined]
        digest.update(f"{name}:{ast.dump(tree)}".encode())
    return digest.hexdigest()[:6]


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a string that nobody uses, such as a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _sweep_folder(*, _root_: DictConfig) -> str:
    """``${snnbreg.run_name:}``: the folder of a sweep's job, from the job's whole config.

    A config that is wrong gets a folder too, in which its job then fails with a clear message.
    """
    plain: Any = OmegaConf.to_container(_root_, resolve=False)
    typed = [str(entry) for entry in plain.pop("hydra")["overrides"]["task"]]
    overrides = leave_out(plain, typed)
    try:
        return run_name(check(plain), overrides)
    except ValueError:
        return f"{_readable(overrides)}__{_hash(sorted(overrides))}-invalid"


OmegaConf.register_new_resolver("snnbreg.run_name", _sweep_folder, replace=True)
