"""Bregman learning and its rivals at equal density: trials of learning rates, then the comparison.

What is compared stands in ``configs/rivals.yaml``. The learning rate of each method is chosen on
validation samples by as many trials as any other's, at one density and on the first seed; the
comparison uses it at every density and seed. Rates that stand there as chosen are not looked for
again unless ``--trials`` asks for it. Kill either at any time: the same command goes on.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnbreg import analysis, assembly
from snnbreg.analysis.tables import Cell, Column, Table
from snnbreg.assembly.configs import composed, config_folder
from snnbreg.assembly.parallel import TRAIN, Run, Study
from snnbreg.commands.reproduce import extra_settings, planned_run
from snnbreg.commands.width import equally_many
from snnbreg.runs import read_run

LAST = 5
"""Epochs over whose mean a trial is judged: one epoch of 300 samples is off by two points."""


@dataclass(frozen=True)
class Trial:
    """A run that judges a learning rate of a method."""

    method: str
    rate: float
    run: Run


@dataclass(frozen=True)
class Rival:
    """A method of the comparison.

    Attributes:
        name: a key of ``methods`` in ``configs/rivals.yaml``.
        settings: overrides; DENSITY and NEURONS stand for what a run aims at.
        rates: learning rates to choose from.
        dense: whether it has all weights, so that densities mean nothing.
        longer: its epochs / those of the others.
    """

    name: str
    settings: Sequence[str]
    rates: Sequence[float]
    dense: bool = False
    longer: int = 1

    def overrides(
        self, common: Sequence[str], density: float, rate: float, extra: Sequence[str] = ()
    ) -> list[str]:
        """The settings of a run.

        Args:
            common: what all methods share.
            density: non-zero weights / weights of the network that all share.
            rate: learning rate.
            extra: what the run gets besides, such as the place of its data; not returned.
        """
        own = [*common, *(s.replace("DENSITY", f"{density:g}") for s in self.settings)]
        if any("NEURONS" in setting for setting in own):
            own = [s.replace("NEURONS", _small((*common, *extra), density)) for s in own]
        if self.longer > 1:
            epochs = composed([*own, *extra]).trainer.epochs
            own.append(f"trainer.epochs={self.longer * epochs}")
        return [*own, f"optim.lr={rate:g}"]


def rivals(plan: Mapping[str, Any], names: Sequence[str] = ()) -> list[Rival]:
    """The methods of a plan.

    Args:
        plan: the contents of ``configs/rivals.yaml``.
        names: which ones; none: all.

    Raises:
        ValueError: there is no such method.
    """
    for name in names:
        if name not in plan["methods"]:
            valid = ", ".join(plan["methods"])
            raise ValueError(f"{name} is no method of configs/rivals.yaml; choose from {valid}")
    return [
        Rival(name, rates=plan[method["lr"]], **{k: v for k, v in method.items() if k != "lr"})
        for name, method in plan["methods"].items()
        if name in names or not names
    ]


def read_plan() -> dict[str, Any]:
    """``configs/rivals.yaml``, interpolations left as they are."""
    plan = OmegaConf.to_container(OmegaConf.load(config_folder() / "rivals.yaml"), resolve=False)
    assert isinstance(plan, dict)
    return {str(key): value for key, value in plan.items()}


def common_settings(plan: Mapping[str, Any], dataset: str, seed: int) -> list[str]:
    """What all methods share on a data set.

    Raises:
        ValueError: the plan has no such data set.
    """
    if dataset not in plan["datasets"]:
        valid = ", ".join(plan["datasets"])
        raise ValueError(f"configs/rivals.yaml has no data set {dataset}; choose from {valid}")
    return [*plan["datasets"][dataset], f"seed={seed}"]


def trial_score(folder: Path) -> float:
    """Mean deployed validation accuracy of the last epochs of a run."""
    values = read_run(folder).history["deployed_val_acc"][-LAST:]
    return sum(values) / len(values)


def chosen_rate(scores: Mapping[float, float]) -> float:
    """The learning rate with the best score; among equals the smaller one."""
    finite = {rate: score for rate, score in scores.items() if math.isfinite(score)}
    if not finite:
        raise ValueError("No trial of this method ended with a validation accuracy.")
    return max(finite, key=lambda rate: (finite[rate], -rate))


def trials_table(dataset: str, scores: Mapping[str, Mapping[float, float]]) -> Table:
    """Every trial: the method, its learning rate, its score, and whether it was chosen."""
    rows: list[list[Cell]] = [
        [name, f"{rate:g}", score, "chosen" if rate == chosen_rate(tried) else ""]
        for name, tried in scores.items()
        for rate, score in tried.items()
    ]
    columns = [Column("method"), Column("learning rate"), Column("validation, deployed", "percent"),
               Column("")]  # fmt: skip
    note = f"One seed; mean deployed validation accuracy of the last {LAST} epochs."
    return Table(f"trials_{dataset}", f"Learning rates tried on {dataset}", columns, rows, [note])


@cache
def _small(common: tuple[str, ...], density: float) -> str:
    """Neurons of the hidden layers, as a list for the command line: the nearest in weights."""
    config = assembly.check(composed(common))
    sizes = {"hidden": config["model"]["hidden"]}
    found = equally_many(config, assembly.build_splits(config), sizes, density)
    return str(found["hidden"]).replace(" ", "")


def _trials(options: Namespace, plan: Mapping[str, Any], methods: Sequence[Rival]) -> list[Trial]:
    common = common_settings(plan, options.dataset, options.seeds[0])
    extra = extra_settings(options)
    folder = Namespace(**{**vars(options), "runs": options.runs / "trials"})
    return [
        Trial(
            rival.name,
            rate,
            planned_run(folder, rival.overrides(common, plan["tuned_at"], rate, extra), extra),
        )
        for place in range(max((len(rival.rates) for rival in methods), default=0))
        for rival in methods
        for rate in rival.rates[place : place + 1]
    ]


def _comparison(
    options: Namespace,
    plan: Mapping[str, Any],
    methods: Sequence[Rival],
    rates: Mapping[str, float],
) -> list[Run]:
    extra = extra_settings(options)
    shared = {seed: common_settings(plan, options.dataset, seed) for seed in options.seeds}
    return [
        planned_run(
            options, rival.overrides(shared[seed], density, rates[rival.name], extra), extra
        )
        for place, density in enumerate(plan["densities"])
        for seed in options.seeds
        for rival in methods
        if rival.name in rates and (place == 0 or not rival.dense)
    ]


def run(options: Namespace) -> int:
    """Trials, then the comparison, then its tables and figures; 1 where a run failed."""
    plan = read_plan()
    methods = rivals(plan, options.methods)
    options.runs = Path(options.runs or f"outputs/study/rivals_{options.dataset}").resolve()
    output = Path(options.output or f"outputs/figures/rivals_{options.dataset}").resolve()
    known = {} if options.trials else plan.get("chosen", {}).get(options.dataset, {})
    trials = _trials(options, plan, [rival for rival in methods if rival.name not in known])
    failed = {}
    if not options.dry_run:
        failed = Study([trial.run for trial in trials], TRAIN, options.jobs).fit()
    scores: dict[str, dict[float, float]] = {}
    for trial in trials:
        if trial.run.finished():
            scores.setdefault(trial.method, {})[trial.rate] = trial_score(trial.run.folder)
    # a method whose trials are not all there yet has no chosen learning rate
    complete = {
        rival.name for rival in methods if len(scores.get(rival.name, ())) == len(rival.rates)
    }
    found = {name: chosen_rate(tried) for name, tried in scores.items() if name in complete}
    rates = {**known, **found}
    runs = _comparison(options, plan, methods, rates)
    if options.dry_run:
        for planned in [*(trial.run for trial in trials), *runs]:
            print(f"{planned.done():4d}/{planned.epochs}  {planned.name}  {planned.folder}")
        return 0
    failed |= Study(runs, TRAIN, options.jobs).fit()
    for name, reason in failed.items():
        print(f"Failed: {name}: {reason}", file=sys.stderr)
    if found:
        print(*trials_table(options.dataset, scores).save(output / "tables"), sep="\n")
    ended = [read_run(planned.folder) for planned in runs if planned.finished()]
    if ended:
        print(analysis.write_report(ended, output, str(options.runs)))
    return 1 if failed else 0
