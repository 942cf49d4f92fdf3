"""Tune learning rate and lambda with Optuna: the best validation accuracy at the least density.

Two objectives: validation accuracy (of ``trainer.select``) up, density at that checkpoint down. The
study lies in FOLDER/study.db, so that the same command adds trials, and several at once share them;
every trial is a run folder like any other.
"""

from __future__ import annotations

import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

from snnbreg.assembly.parallel import TRAIN
from snnbreg.runs import RunFolder
from snnbreg.training import chosen_score


def objective(trial: Any, folder: Path, overrides: list[str]) -> tuple[float, float]:
    """Train one trial, or take what is there of it.

    Args:
        trial: of Optuna.
        folder: gets the run folder ``trial-NUMBER``.
        overrides: ``key=value`` for every run.

    Returns:
        Validation accuracy and density at the best checkpoint.

    Raises:
        ValueError: the run did not end.
    """
    lr = trial.suggest_float("optim.lr", 1e-3, 3e-2, log=True)
    lam = trial.suggest_float("optim.lam", 1e-2, 2.0, log=True)
    run = RunFolder(folder / f"trial-{trial.number:04d}")
    command = [*TRAIN, f"optim.lr={lr}", f"optim.lam={lam}"]
    place = [f"hydra.run.dir='{run.path}'", "trainer.resume=true"]
    done = subprocess.run([*command, *overrides, *place], capture_output=True, text=True)
    summary = run.read_summary()
    accuracy = chosen_score(summary) if summary is not None else None
    if summary is None or accuracy is None:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ValueError(f"{run.path} did not end: {said[-1] if said else done.returncode}")
    return accuracy, summary["density"]


def run(options: Namespace) -> None:
    """Add trials to the study and print its front: no trial is better in both."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError("snnbreg tune needs Optuna: pip install 'snnbreg[tune]'") from error
    folder = Path(options.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="snnbreg",
        storage=f"sqlite:///{folder / 'study.db'}",
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    study.optimize(
        lambda trial: objective(trial, folder, options.overrides), options.trials, catch=ValueError
    )
    print("accuracy  density      optim.lr     optim.lam  trial")
    for trial in sorted(study.best_trials, key=lambda trial: trial.values[1]):
        accuracy, density = trial.values
        lr, lam = trial.params["optim.lr"], trial.params["optim.lam"]
        print(f"{accuracy:8.4f}  {density:7.4f}  {lr:12.6f}  {lam:12.6f}  {trial.number:5d}")
