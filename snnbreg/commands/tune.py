"""Tune learning rate and lambda with Optuna: the best validation score at the least density.

Two objectives: the validation score of the task (of ``trainer.select``), accuracy up or an error
down, and density at that checkpoint down. The study lies in FOLDER/study.db, so that the same
command adds trials, and several at once share them; every trial is a run folder like any other.
"""

from __future__ import annotations

import math
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from snnbreg import assembly
from snnbreg.analysis.measures import measure_name
from snnbreg.assembly.configs import composed
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
        Validation score and density at the best checkpoint.

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
    score = chosen_score(summary) if summary is not None else math.nan
    if summary is None or math.isnan(score):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ValueError(f"{run.path} did not end: {said[-1] if said else done.returncode}")
    return score, summary["density"]


def run(options: Namespace) -> None:
    """Add trials to the study and print its front: no trial is better in both."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError("snnbreg tune needs Optuna: pip install 'snnbreg[tune]'") from error
    asked = [o for o in options.overrides if not o.startswith("hydra")]
    task = assembly.build_task(assembly.check(composed(asked)))
    first: Literal["maximize", "minimize"] = "maximize" if task.higher_is_better else "minimize"
    directions: list[Literal["maximize", "minimize"]] = [first, "minimize"]
    folder = Path(options.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="snnbreg",
        storage=f"sqlite:///{folder / 'study.db'}",
        directions=directions,
        load_if_exists=True,
    )
    if [direction.name.lower() for direction in study.directions] != directions:
        raise ValueError(f"{folder} holds trials of another measure than {task.measure}")
    study.optimize(
        lambda trial: objective(trial, folder, options.overrides), options.trials, catch=ValueError
    )
    heading = measure_name(task.measure)
    print(f"{heading}  density      optim.lr     optim.lam  trial")
    for trial in sorted(study.best_trials, key=lambda trial: trial.values[1]):
        score, density = trial.values
        shown = f"{score:.4f}" if task.higher_is_better else f"{score:.4g}"
        lr, lam = trial.params["optim.lr"], trial.params["optim.lam"]
        width = len(heading)
        print(f"{shown:>{width}}  {density:7.4f}  {lr:12.6f}  {lam:12.6f}  {trial.number:5d}")
