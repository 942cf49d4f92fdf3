"""Train a network as configs/ and the command line say: ``snnbreg train --help``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from snnbreg import assembly
from snnbreg.runs import RunFolder
from snnbreg.training import chosen_score, summarise, summary_table
from snnbreg.training.processes import Processes

log = logging.getLogger(__name__)


def train(
    config: Mapping[str, Any],
    run: RunFolder,
    checkpoint: Mapping[str, Any] | None = None,
    again: str | None = None,
) -> dict[str, Any]:
    """Train what a checked config describes into a run folder; returns the run's summary.

    Args:
        config: checked.
        run: where it is written.
        checkpoint: what to continue from.
        again: the command that continues it, told where it is interrupted; empty: not told.
    """
    device = assembly.build_device(config)
    with assembly.in_turn(Processes()):
        splits = assembly.build_splits(config, device)
    sizes = splits.channels, splits.classes
    network = assembly.build_network(config, *sizes, device, splits.image)
    if checkpoint is None:
        assembly.load_start(config, network)
    trainer = assembly.build_trainer(config, network, splits, run, device)
    if checkpoint is not None:
        trainer.load_state_dict(checkpoint, str(run.path))
    if again is not None:
        trainer.again = again
    if splits.train.class_names and trainer.processes.writes:
        run.write_classes(splits.train.class_names)
    with assembly.using_threads(config), assembly.logging_to(config, run, trainer):
        status = trainer.fit()
        return summarise(trainer, status, assembly.build_loader(config, splits, "test", device))


@hydra.main(version_base="1.3", config_path=str(assembly.config_folder()), config_name="config")
@assembly.reported
def main(cfg: DictConfig) -> float:
    """One run; returns the validation score that ``trainer.select`` chose by: a sweep's aim.

    NaN where there is none: a run that diverged is neither accurate nor free of errors.
    """
    job, processes = HydraConfig.get(), Processes()
    sweep = job.mode == RunMode.MULTIRUN
    if sweep and processes.count > 1:
        raise ValueError(
            "hparams_search is a sweep, which cannot run under torchrun: start it without"
        )
    with ExitStack() as stack:

        def settled() -> tuple[Path, dict[str, Any], dict[str, Any] | None]:
            run = RunFolder(Path(job.runtime.output_dir))
            stack.enter_context(run.locked(wait=sweep))  # two jobs of a sweep may be the same run
            return run.path, *assembly.settle(cfg, run.path, job.overrides.task, sweep)

        path, config, checkpoint = processes.first(settled)
        run = RunFolder(path)
        trained = 0 if checkpoint is None else checkpoint["epoch"]
        finished = run.finished() and (sweep or trained >= config["trainer"]["epochs"])
        summary = run.read_summary() if sweep and finished else None
        if summary is None:
            again = "" if sweep else assembly.to_continue(path)
            summary = train(config, run, checkpoint, again)
    if processes.writes:
        if not (sweep and finished):
            print(summary_table(summary))
        print(f"{'Already finished' if finished else 'Run folder'}: {run.path}", flush=True)
    if summary["status"] == "interrupted":
        raise KeyboardInterrupt
    if summary["status"] == "diverged" and not sweep:
        sys.exit(3)
    return chosen_score(summary)


def run(arguments: list[str]) -> None:
    """Train as these arguments of Hydra's command line say."""
    with assembly.joined(arguments) as given:
        sys.argv[1:] = given  # where Hydra looks
        assembly.check_shown(given)
        try:
            main()
        finally:
            show_sweep(assembly.swept_folders())


def show_sweep(folders: Sequence[Path]) -> None:
    """Print what came out of a sweep's jobs; nothing where there were none, or none has ended."""
    if folders:
        from snnbreg.analysis.sweep_table import sweep_tables  # of no use to a single run

        for table in sweep_tables(folders):
            print(f"\n{table.to_markdown()}", end="", flush=True)
