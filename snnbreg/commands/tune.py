"""Tune learning rate and lambda with Optuna: the best validation score at the least density.

Two objectives: the validation score of the task (of ``trainer.select``), accuracy up or an error
down, and density at that checkpoint down. The study lies in FOLDER/study.db together with its
settings, so that the same command adds trials, several at once share them, and other settings are
refused; every trial is a run folder like any other.
"""

from __future__ import annotations

import json
import math
import subprocess
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnbreg import assembly
from snnbreg.analysis.groups import differing, outcome_settings
from snnbreg.analysis.measures import measure_name
from snnbreg.analysis.tables import Column, Table
from snnbreg.assembly.configs import composed
from snnbreg.assembly.parallel import TRAIN
from snnbreg.runs import Run, RunFolder, read_run
from snnbreg.training import chosen_score

SEARCHED = ("optim.lr", "optim.lam")
CHANCE = ("seed", "dataset.fold", "model.name")  # of a study too, though groups of runs differ
SHOWN = 6
"""Settings that a refusal names."""
SCORES = {
    "published": "best validation {}",
    "deployed": "best deployed validation {}",
    "last": "validation {} of the last epoch",
}
"""What a trial's score is, by ``trainer.select``."""


def objective(trial: Any, folder: Path, options: Namespace) -> tuple[float, float]:
    """Train one trial, or take what is there of it.

    Args:
        trial: of Optuna.
        folder: gets the run folder ``trial-NUMBER``.
        options: ``lr`` and ``lam``, the ranges searched; ``overrides`` for every run.

    Returns:
        Validation score and density at the best checkpoint.

    Raises:
        ValueError: the run did not end.
    """
    lr = trial.suggest_float("optim.lr", *options.lr, log=True)
    lam = trial.suggest_float("optim.lam", *options.lam, log=True)
    run = RunFolder(folder / f"trial-{trial.number:04d}")
    command = [*TRAIN, f"optim.lr={lr}", f"optim.lam={lam}"]
    place = [assembly.run_dir(run.path), "trainer.resume=true"]
    done = subprocess.run([*command, *options.overrides, *place], capture_output=True, text=True)
    summary = run.read_summary()
    score = chosen_score(summary) if summary is not None else math.nan
    if summary is None or math.isnan(score):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = f"{run.path} did not end: {said[-1] if said else done.returncode}"
        print(f"trial {trial.number} failed: {reason}", flush=True)
        raise ValueError(reason)
    print(f"trial {trial.number}: score {score:.4g}, density {summary['density']:.4f} with "
          f"optim.lr={lr:.6f} optim.lam={lam:.6f}", flush=True)  # fmt: skip
    return score, summary["density"]


def checked(options: Namespace) -> dict[str, Any]:
    """The config of the trials, but for what they search.

    Raises:
        ValueError: a key is wrong, is searched, or there is no lambda to search.
    """
    asked = [o for o in options.overrides if not o.startswith("hydra")]
    for override in asked:
        key = override.split("=", 1)[0].lstrip("+")
        if key in SEARCHED:
            raise ValueError(
                f"{key} is what snnbreg tune searches: leave {override} out, or give its range "
                f"with --{key.removeprefix('optim.')} LOW,HIGH"
            )
    config = assembly.check(composed(asked))
    lacking = [key for key in SEARCHED if key.removeprefix("optim.") not in config["optim"]]
    if lacking:
        raise ValueError(
            f"snnbreg tune searches {' and '.join(SEARCHED)}, and optim={config['optim']['name']} "
            f"has no {lacking[0]}. Choose one that has, such as optim=adabreg or optim=linbreg"
        )
    return config


def fixed_settings(run: Run) -> dict[str, str]:
    """What all trials of a study share, as comparable text by dotted name."""
    own = {name: json.dumps(run.settings.get(name)) for name in CHANCE}
    return {k: v for k, v in {**outcome_settings(run), **own}.items() if k not in SEARCHED}


def refuse_other_settings(was: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Refuse to add trials to those of another network, data set or method.

    Raises:
        ValueError: names the settings that differ, with both values.
    """
    names = sorted(differing([was, now]), key=lambda name: (not name.endswith(".name"), name))
    if names:
        new, old = ([each.get(n, "null").strip('"') for n in names] for each in (now, was))
        changed = [f"{n}={a} (it was {b})" for n, a, b in zip(names, new, old, strict=True)]
        more = f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ValueError(
            f"{folder} holds a study with other settings: {'; '.join(changed[:SHOWN])}{more}. "
            "Trials of one study must be comparable: drop these changes to add trials to it, or "
            "begin another study with --folder DIR"
        )


def _settings_of(study: Any, folder: Path) -> dict[str, str] | None:
    """The settings that a study was begun with; None where it is new.

    Studies of earlier versions did not say them, but their first runs do.
    """
    kept = study.user_attrs.get("settings")
    for trial in study.trials if kept is None else ():
        try:
            return fixed_settings(read_run(folder / f"trial-{trial.number:04d}"))
        except (OSError, ValueError):  # it failed before it had results
            continue
    return kept


def run(options: Namespace) -> None:
    """Add trials to the study and print its front: no trial is better in both."""
    if any(o.startswith("hparams_search=") for o in options.overrides):
        raise ValueError(
            "hparams_search is a sweep of its own: snnbreg train takes it, tune does not"
        )
    try:
        import optuna
    except ImportError as error:
        raise ValueError("snnbreg tune needs Optuna: pip install 'snnbreg[tune]'") from error
    config = checked(options)
    task = assembly.build_task(config)
    folder = Path(options.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # trials are told of here
    study = optuna.create_study(
        study_name="snnbreg",
        storage=f"sqlite:///{folder / 'study.db'}",
        directions=["maximize" if task.higher_is_better else "minimize", "minimize"],
        load_if_exists=True,
    )
    settings = fixed_settings(Run(folder, config, {}, {}))
    before = _settings_of(study, folder)
    if before is not None:
        refuse_other_settings(before, settings, folder)
    study.set_user_attr("settings", settings)
    score = SCORES[config["trainer"]["select"]].format(measure_name(task.measure))
    better = f"score is the {score} ({'higher' if task.higher_is_better else 'lower'} is better)"
    print(f"{len(study.trials)} trials in {folder}, {options.trials} more. {better.capitalize()}, "
          "density the share of non-zero weights there (lower is better).", flush=True)  # fmt: skip
    study.optimize(
        lambda trial: objective(trial, folder, options), options.trials, catch=ValueError
    )
    if not study.best_trials:
        raise ValueError(f"No trial in {folder} has ended yet; why they failed stands above")
    print(front(study.best_trials, score, better).to_markdown(), end="")


def front(trials: Sequence[Any], score: str, better: str) -> Table:
    """The trials that no other one beats in both, by density.

    Args:
        trials: of Optuna, with their score and density.
        score: what it measures, in words.
        better: the same in a sentence, with the better direction.
    """
    names = (score, "density", *SEARCHED)
    rows = [
        [*trial.values, *(trial.params[name] for name in SEARCHED), trial.number]
        for trial in sorted(trials, key=lambda trial: trial.values[1])
    ]
    return Table(
        "front", "The best trials: no other is better in both score and density",
        [*(Column(name, "number") for name in names), Column("trial", "count")], rows,
        [f"{better.capitalize()}, of density lower. Each is one run, and chance decides too: train "
         "the settings you choose with several seeds."],
    )  # fmt: skip
