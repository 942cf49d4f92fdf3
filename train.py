"""Train a network as configs/ and the command line say: ``python train.py --help``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from snnbreg import build
from snnbreg.training import RunFolder, summary_table

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
@build.reported
def main(cfg: DictConfig) -> float:
    """One run; returns the best validation accuracy, which a sweep maximises."""
    job = HydraConfig.get()
    run, sweep = RunFolder(Path(job.runtime.output_dir)), job.mode == RunMode.MULTIRUN
    config, checkpoint = build.settle(cfg, run.path, job.overrides.task, sweep)
    if sweep and run.finished():
        log.info("%s is finished already", run.path)
        return float(run.read_summary()["best_val_acc"] or 0.0)

    device = build.build_device(config)
    splits = build.build_splits(config)
    network = build.build_network(config, splits.channels, splits.classes, device)
    trainer = build.build_trainer(config, network, splits, run, device)
    if checkpoint is not None:
        trainer.load_state_dict(checkpoint, str(run.path))
    with build.logging_to(config, run, trainer):
        status = trainer.fit()
        summary = trainer.summarise(status, build.build_loader(config, splits, "test", device))

    print(summary_table(summary), f"Run folder: {run.path}", sep="\n")
    if status == "interrupted":
        raise KeyboardInterrupt
    if status == "diverged" and not sweep:
        sys.exit(3)
    return float(summary["best_val_acc"] or 0.0)


if __name__ == "__main__":
    build.run(main)
