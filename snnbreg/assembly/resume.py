"""Which config and which checkpoint a run starts from."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from snnbreg.assembly.configs import shown
from snnbreg.assembly.load import init_checkpoint
from snnbreg.assembly.objects import build_task
from snnbreg.assembly.schema import check
from snnbreg.assembly.sweeps import leave_out
from snnbreg.assembly.values import check_values
from snnbreg.runs import RunFolder, flat, load_checkpoint, write_atomically
from snnbreg.training.trainer import best_row

log = logging.getLogger(__name__)

EPOCHS = ("trainer.epochs", "dataset.epochs")
GROUPS = ("dataset", "model", "optim", "scheduler", "trainer", "logger")
# Keys that may differ without making it another run: where things lie and how fast they go.
FREE = {
    "dataset": {"root", "cache", "title", "eval_batch_size"},
    "model": {"engine", "segments"},
    "optim": set(),
    "scheduler": set(),
}


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run this run: network, data set, optimizer, schedule, seed and start."""
    fixed = {
        group: {key: value for key, value in config[group].items() if key not in free}
        for group, free in FREE.items()
    }
    rest = {f"trainer.{key}": config["trainer"].get(key) for key in ("epochs", "init_from")}
    return {**flat(fixed), "seed": config["seed"], **rest}


def refuse_changes(old: Mapping[str, Any], new: Mapping[str, Any], source: str) -> None:
    """Refuse to continue a run as another one.

    Raises:
        ValueError: names the keys that differ, with both values.
    """
    was, now = identity(old), identity(new)
    if now["trainer.init_from"] is None:  # a run that is continued needs it no more
        now["trainer.init_from"] = was["trainer.init_from"]
    keys = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
    changed = [f"{key}={now.get(key)} (it was {was.get(key)})" for key in keys]
    lengths = [now[key] for key in EPOCHS if key in keys and isinstance(now[key], int)]
    more = max(lengths, default=0) - was["trainer.epochs"]
    if more > 0:
        raise ValueError(
            f"{source} holds another run: {'; '.join(changed[:4])}. Its schedule spans "
            f"{was['trainer.epochs']} epochs. To train it {more} epochs longer, use "
            f"trainer.extend={more} in place of another number of epochs; for another schedule "
            "start a new run in another folder (hydra.run.dir), from its weights with "
            f"trainer.init_from={source}"
        )
    if changed:
        raise ValueError(
            f"{source} holds another run: {'; '.join(changed[:4])}. A run is continued with the "
            "same network, data set, optimizer, schedule and seed: drop these changes, or start "
            "a new run in another folder (hydra.run.dir, or hydra.sweep.dir for a sweep)"
        )


def refuse_other_end(
    old: Mapping[str, Any], new: Mapping[str, Any], done: int, source: str
) -> None:
    """Refuse to end a run before what it has done, or to change how its added epochs are trained.

    Args:
        old: its config so far.
        new: the one to continue with.
        done: its finished epochs.
        source: what holds the run, for messages.

    Raises:
        ValueError: says what is possible.
    """
    was, now = old["trainer"], new["trainer"]
    added = done - now["epochs"]
    if added > (now["extend"] or 0):
        raise ValueError(
            f"{source} has {done} epochs already: trainer.extend={now['extend']} must be at least "
            f"{added}, which ends the run as it is"
        )
    if added > 0 and was["extend_lr"] != now["extend_lr"]:
        raise ValueError(
            f"{source} has trained {added} epochs with trainer.extend_lr={was['extend_lr']}, so "
            f"that {now['extend_lr']} would make it another run: leave trainer.extend_lr out, or "
            f"start a new run with trainer.init_from={source}"
        )


def with_overrides(
    saved: Mapping[str, Any], cfg: DictConfig, overrides: Sequence[str], source: str, done: int
) -> dict[str, Any]:
    """A saved config with the command line's overrides on top; each change that is taken is logged.

    Args:
        saved: the run's own config.
        cfg: the config as Hydra composed it from today's files and ``overrides``.
        overrides: as typed, such as ``trainer.select=deployed`` or ``logger=wandb``.
        source: where ``saved`` comes from, for messages.
        done: the run's finished epochs.
    """
    config = copy.deepcopy(dict(saved))
    composed: Any = OmegaConf.to_container(cfg, resolve=True)
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+~").split("@")[0]
        group, _, option = key.partition(".")
        if key == "trainer.resume":
            continue
        if key == "experiment":
            refuse_changes(saved, check(cfg), source)
        elif option:
            value = OmegaConf.select(OmegaConf.create(composed), key)
            target = OmegaConf.create(config)
            OmegaConf.update(target, key, value, merge=False, force_add=True)
            config = OmegaConf.to_container(target)  # type: ignore[assignment]
        elif group in GROUPS and composed[group].get("name") == config[group].get("name"):
            continue
        elif key in composed:
            config[key] = composed[key]
    config = check(config, saved=True)
    refuse_changes(saved, config, source)
    refuse_other_end(saved, config, done, source)
    old, new = flat(saved), flat(config)
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before != after:
            log.info("Override on the command line: %s=%s (it was %s)", key, after, before)
    return config


def check_shown(arguments: Sequence[str]) -> None:
    """Check the config that ``--cfg job`` prints, as that of a new run; without it, do nothing.

    Args:
        arguments: of the command line.

    Raises:
        ValueError: names the key.
    """
    cfg = shown(arguments)
    if cfg is not None:
        plain: Any = OmegaConf.to_container(cfg, resolve=False)
        leave_out(plain, arguments)
        check_values(check(plain))


def settle(
    cfg: DictConfig, folder: Path, overrides: Sequence[str] = (), sweep: bool = False
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Decide what a run in ``folder`` is, and write its ``config.yaml``.

    Args:
        cfg: composed by Hydra.
        folder: the run's output folder.
        overrides: the command line.
        sweep: the run is a job of a multirun, which continues by itself where it stopped.

    Returns:
        The checked config, and the checkpoint to continue from or None.

    Raises:
        ValueError: the config is wrong, or the folder holds another run.
        FileNotFoundError: the checkpoint asked for is not there.
    """
    run = RunFolder(folder)
    composed: Any = OmegaConf.to_container(cfg, resolve=False)
    kept = leave_out(composed, overrides)
    for override in overrides:
        if override not in kept:
            group = override.removeprefix("++").partition(".")[0]
            log.info("%s is left out: %s=%s has none", override, group, composed[group]["name"])
    overrides = kept
    cfg = OmegaConf.create(composed)
    resume = OmegaConf.select(cfg, "trainer.resume", default=False)
    if not isinstance(resume, (bool, str)):
        raise ValueError(f"trainer.resume={resume} must be true, false or the path of a checkpoint")
    exists = run.metrics.is_file() or run.last.is_file()
    if exists and (isinstance(resume, str) or not (resume or sweep)):
        raise ValueError(
            f"{folder} already holds a run, which stays as it is. Continue it with "
            "trainer.resume=true, or choose another folder with hydra.run.dir"
        )
    checkpoint = None
    if isinstance(resume, str):
        checkpoint = load_checkpoint(resume)
        saved = check(checkpoint["config"], saved=True)
        config = with_overrides(saved, cfg, overrides, resume, checkpoint["epoch"])
        best = _best_until(checkpoint, Path(resume).with_name("best.pt"))
        _refuse_lost_best(config, checkpoint, best, resume)
        run.save(run.best, best)
    elif exists:
        checkpoint = run.latest()
        saved = _read_config(run)
        if sweep:
            config = check(cfg)
            refuse_changes(saved, config, str(folder))
            config["trainer"]["threads"] = saved["trainer"]["threads"]
        else:
            done = 0 if checkpoint is None else checkpoint["epoch"]
            config = with_overrides(saved, cfg, overrides, str(folder), done)
        if checkpoint is not None:
            _refuse_lost_best(config, checkpoint, _best_until(checkpoint, run.best), str(folder))
    else:
        config = check(cfg)
        init_checkpoint(config)  # is it there?
    check_values(config)
    config["trainer"]["resume"] = False
    # The last bits of sums depend on it, so that a run keeps the number it started with.
    config["trainer"]["threads"] = config["trainer"]["threads"] or torch.get_num_threads()
    write_yaml(run.config, OmegaConf.create(config))
    if checkpoint is not None:
        _reopen(run, config, checkpoint["epoch"])
    if not exists and HydraConfig.initialized():
        _write_hydra_folder(folder / ".hydra", cfg)
    return config, checkpoint


def _reopen(run: RunFolder, config: Mapping[str, Any], done: int) -> None:
    """Delete the summary of a completed run that is extended: until its new end it has none."""
    trainer = config["trainer"]
    summary = run.read_summary() or {}
    if summary.get("status") == "completed" and done < trainer["epochs"] + (trainer["extend"] or 0):
        run.summary.unlink()


def _write_hydra_folder(folder: Path, cfg: DictConfig) -> None:
    """The files of Hydra's ``output_subdir``, of the command that started the run.

    Hydra itself writes them before it is known whether the folder holds another run.
    """
    hydra = HydraConfig.instance().cfg
    parts = {"config": cfg, "hydra": hydra, "overrides": HydraConfig.get().overrides.task}
    for name, part in parts.items():
        write_yaml(folder / f"{name}.yaml", part)


def write_yaml(path: Path, values: Any) -> None:
    """Write plain values or a config."""
    content = OmegaConf.to_yaml(values).encode()
    write_atomically(path, lambda file: file.write(content))


def _best_until(checkpoint: dict[str, Any], best: Path) -> dict[str, Any]:
    """The best checkpoint beside one that is continued, unless it is damaged or a later one."""
    try:
        other = load_checkpoint(best)
    except (FileNotFoundError, ValueError):
        return checkpoint
    return other if other["epoch"] <= checkpoint["epoch"] else checkpoint


def _refuse_lost_best(
    config: Mapping[str, Any], checkpoint: Mapping[str, Any], best: Mapping[str, Any], source: str
) -> None:
    """Refuse a ``trainer.select`` whose best checkpoint so far was not kept.

    Raises:
        ValueError: neither ``best`` nor the checkpoint that is continued is of that epoch.
    """
    select, kept = config["trainer"]["select"], {best["epoch"], checkpoint["epoch"]}
    wanted = best_row(checkpoint["history"], select, build_task(config))
    if wanted is not None and wanted["epoch"] not in kept:
        epochs = " and ".join(str(epoch) for epoch in sorted(kept))
        raise ValueError(
            f"The best checkpoint by trainer.select={select} is that of epoch {wanted['epoch']}, "
            f"which {source} did not keep: it has those of epoch {epochs}. Use "
            "trainer.select=last, or the choice that the run was started with"
        )


def _read_config(run: RunFolder) -> dict[str, Any]:
    if not run.config.is_file():
        raise FileNotFoundError(
            f"{run.config} is missing, so the run beside it cannot be continued in place. Continue "
            "its checkpoint in a new folder with trainer.resume=PATH/last.pt"
        )
    return check(run.read_config(), saved=True)
