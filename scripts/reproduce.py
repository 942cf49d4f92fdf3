"""The study of the LBI paper: run what is missing of it, then draw a figure or a table.

    python scripts/reproduce.py figure1|...|figure5|table1|table2|all [--dataset spoken_digits]

The paper is silent on the values of lambda, on which checkpoint is tested and on the start. Here:
lambda from 0 (which is Adam) to 10; a dense start; Adam re-run beside AdaBreg; the checkpoint with
the best validation accuracy of each seed, lambda by the mean of that; density at that checkpoint.
Kill it at any time: the same command runs only what is missing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from snnbreg import analysis, assembly
from snnbreg.assembly.parallel import Run, Study

ROOT = Path(__file__).resolve().parents[1]
LAMBDAS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
ONECYCLE, CONSTANT = "onecycle", "none"
# Which schedules a target needs; table 1 describes the network, so one run does.
TARGETS: dict[str, tuple[str, ...]] = {
    "figure1": (ONECYCLE,),
    "figure2": (ONECYCLE,),
    "figure3": (ONECYCLE,),
    "figure4": (CONSTANT,),
    "figure5": (CONSTANT,),
    "table1": (ONECYCLE,),
    "table2": (ONECYCLE, CONSTANT),
    "all": (ONECYCLE, CONSTANT),
}


def overrides_of(dataset: str, optimizer: str, schedule: str) -> list[str]:
    """The study's settings: an experiment of configs/experiment, else the data set's own.

    Args:
        dataset: name in configs/dataset.
        optimizer: ``adabreg`` or ``adam``.
        schedule: ``onecycle`` or ``none``.
    """
    name = f"{dataset}_{optimizer}{'_constant' if schedule == CONSTANT else ''}"
    if (ROOT / "configs" / "experiment" / f"{name}.yaml").is_file():
        return [f"experiment={name}"]
    return [
        f"dataset={dataset}",
        f"optim={optimizer}",
        f"scheduler={schedule}",
        "optim.init_density=1.0",
    ]


def study(arguments: argparse.Namespace) -> list[Run]:
    """The runs that a target needs, baselines first, then seed by seed."""
    common = [f"dataset.epochs={arguments.epochs}"] if arguments.epochs else []
    if arguments.root:
        common.append(f"dataset.root='{Path(arguments.root).resolve()}'")
    common += arguments.overrides
    lambdas, seeds = arguments.lambdas, arguments.seeds
    if arguments.target == "table1":
        lambdas, seeds = [], seeds[:1]
    runs = []
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for seed in seeds:
            for schedule in TARGETS[arguments.target]:
                baseline = overrides_of(arguments.dataset, "adam", schedule)
                bregman = overrides_of(arguments.dataset, "adabreg", schedule)
                grid = [[*bregman, f"optim.lam={lam:g}"] for lam in lambdas]
                for settings in [baseline, *grid]:
                    runs.append(_run(arguments, [*settings, f"seed={seed}"], common))
    return runs


def _run(arguments: argparse.Namespace, settings: list[str], common: list[str]) -> Run:
    config = assembly.check(compose("config", [*settings, *common]))
    name = assembly.run_name(config, settings)
    run = Run(
        " ".join(settings),
        arguments.runs / name,
        [*settings, *common],
        config["trainer"]["epochs"],
    )
    if arguments.any_code and not run.finished():
        others = arguments.runs.glob(f"{name.rpartition('-')[0]}-*")
        for folder in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            other = replace(run, folder=folder)
            if other.finished():
                return other
    return run


def write(target: str, runs: list[Run], output: Path) -> list[Path]:
    """Write what a target asks for from those runs that have ended.

    Args:
        target: a key of :data:`TARGETS`.
        runs: the study's.
        output: folder; ``all`` also writes one page, ``report.html``, with everything.

    Returns:
        The files.
    """
    found = [analysis.read_run(run.folder) for run in runs if run.finished()]
    if target.startswith("figure"):
        figures = analysis.write_figures(found, output, [target])
        return [output / f"{name}.{kind}" for name in figures for kind in ("svg", "png")]
    if target.startswith("table"):
        table = {"table1": analysis.table1, "table2": analysis.table2}[target](found)
        print(table.to_markdown())
        return list(table.save(output))
    return [analysis.write_report(found, output, str(runs[0].folder.parent))]


def _numbers(text: str) -> list[float]:
    return [float(entry) for entry in text.split(",")]


def _parse(arguments: list[str] | None = None) -> argparse.Namespace:
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("target", choices=list(TARGETS))
    add("overrides", nargs="*", help="further key=value for every run, such as device=cuda")
    add("--dataset", default="spoken_digits", help="any of configs/dataset (%(default)s)")
    add("--root", help="folder of the data set's files (dataset.root)")
    add("--seeds", type=lambda text: [int(entry) for entry in text.split(",")], default=[0, 1, 2])
    add("--lambdas", type=_numbers, default=list(LAMBDAS), help="the grid, separated by commas")
    add("--epochs", type=int, help="instead of the data set's own number")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (%(default)s)")
    add("--runs", type=Path, help="folder of the runs (outputs/study/DATASET)")
    add("--output", type=Path, help="folder of figures and tables (outputs/figures/DATASET)")
    add("--any-code", action="store_true", help="take finished runs of other versions of the code")
    add("--dry-run", action="store_true", help="list the runs and what is done of them")
    parsed = parser.parse_args(arguments)
    parsed.runs = (parsed.runs or ROOT / "outputs" / "study" / parsed.dataset).resolve()
    parsed.output = (parsed.output or ROOT / "outputs" / "figures" / parsed.dataset).resolve()
    return parsed


def main() -> None:
    """Run, then draw."""
    arguments: Any = _parse()
    runs = study(arguments)
    if arguments.dry_run:
        for run in runs:
            print(f"{run.done():4d}/{run.epochs}  {run.folder}")
        return
    failed = Study(runs, [sys.executable, str(ROOT / "train.py")], arguments.jobs).fit()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if any(run.finished() for run in runs):
        print(*write(arguments.target, runs, arguments.output), sep="\n")
    for name, reason in failed.items():
        print(f"Failed: {name}: {reason}", file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    assembly.run(main)
