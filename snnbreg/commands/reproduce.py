"""The studies of three papers: run what is missing of one, then draw a figure or a table.

The targets ``bregman_...`` are those of Bungert et al. 2021 (arXiv 2105.04319): experiments of
configs/experiment, on one page together. ``delays`` are the controls of Queant et al. 2025, see
``controls``. The others are the LBI paper's, which is silent on the values of lambda, on which
checkpoint is tested and on the start. Here: lambda from 0 (which is Adam) to 10; a dense start;
Adam re-run beside AdaBreg; the checkpoint with the best validation accuracy of each seed, lambda
by the mean of that; density at that checkpoint. Kill any at any time: the same command runs only
what is missing.
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from snnbreg import analysis, assembly
from snnbreg.assembly.configs import composed
from snnbreg.assembly.parallel import TRAIN, Run, Study
from snnbreg.commands.controls import control_settings
from snnbreg.runs import read_run

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
DELAYS = "delays"
TABLE1 = ("adam", "proxsgd", "linbreg", "momentum", "adabreg")
SGD = ("experiment=fashion_cnn_adam", "optim=sgd", "optim.lr=0.07")  # its rate is not stated


def _ending_at(density: float, sparsifier: str, *experiment: str) -> list[str]:
    """An experiment whose last epoch has the published density."""
    masked = f"optim.sparsifier={{density: {density}, {sparsifier}}}"
    return [*experiment, masked, "trainer.select=last"]


PRUNED = "name: magnitude"  # a plateau cannot be gone back to: cosine
LASSO = "name: lasso, decoupled: false, end: 1.0"  # a threshold after training
THRESHOLD = "name: debias, begin: 1.0"


# What the targets of Bungert et al. 2021 run, each with every seed.
EXPERIMENTS: dict[str, list[list[str]]] = {
    "bregman_figure2": [
        ["experiment=mnist_mlp_sgd"],
        *(["experiment=mnist_mlp_linbreg", f"optim.lam={lam}"] for lam in (0.001, 0.1)),
        ["experiment=mnist_mlp_proxsgd"],
    ],
    "bregman_figure3": [
        ["experiment=mnist_mlp_linbreg", "optim.lam=0.1"],  # a run of figure 2, too
        ["experiment=mnist_mlp_momentum"],
        *(["experiment=mnist_mlp_adabreg", f"optim.lam={lam}"] for lam in (0.1, 0.5)),
    ],
    "bregman_figure4": [["experiment=mnist_autoencoder"]],
    "bregman_table1": [
        *([f"experiment=fashion_cnn_{name}"] for name in TABLE1),
        _ending_at(0.047, PRUNED, *SGD, "scheduler=cosine"),
        _ending_at(0.035, LASSO, *SGD),
    ],
    "bregman_table2": [
        ["experiment=fashion_cnn_adam"],
        *([f"experiment=fashion_cnn_groups_{name}"] for name in TABLE1[1:]),
        _ending_at(0.07, PRUNED, *SGD, "scheduler=cosine"),
        _ending_at(0.04, f"{LASSO}, regularizer: group_kernels", *SGD),
    ],
    "bregman_table3": [
        *(
            [f"experiment=cifar_resnet18_{name}"]
            for name in ("sgd", "adam", "linbreg", "momentum", "adabreg")
        ),
        _ending_at(0.03, LASSO, "experiment=cifar_resnet18_adam"),
        _ending_at(0.034, THRESHOLD, "experiment=cifar_resnet18_linbreg"),
        _ending_at(0.036, THRESHOLD, "experiment=cifar_resnet18_momentum"),
        _ending_at(0.092, THRESHOLD, "experiment=cifar_resnet18_adabreg"),
    ],
}

# Their own figures among those of the page.
FIGURES = {
    "bregman_figure2": ("bregman_figure2",),
    "bregman_figure3": ("bregman_figure3",),
    "bregman_figure4": ("autoencoder_neurons", "autoencoder_digits"),
}


def overrides_of(dataset: str, optimizer: str, schedule: str) -> list[str]:
    """The study's settings: an experiment of configs/experiment, else the data set's own.

    Args:
        dataset: name in configs/dataset.
        optimizer: ``adabreg`` or ``adam``.
        schedule: ``onecycle`` or ``none``.
    """
    name = f"{dataset}_{optimizer}{'_constant' if schedule == CONSTANT else ''}"
    if (assembly.config_folder() / "experiment" / f"{name}.yaml").is_file():
        return [f"experiment={name}"]
    return [
        f"dataset={dataset}",
        f"optim={optimizer}",
        f"scheduler={schedule}",
        "optim.init_density=1.0",
    ]


def study(options: Namespace) -> list[Run]:
    """The runs that a target needs, baselines first, then seed by seed.

    Raises:
        ValueError: there is no such target.
    """
    if options.target not in (*TARGETS, DELAYS, *EXPERIMENTS):
        valid = ", ".join((*TARGETS, DELAYS, *EXPERIMENTS))
        raise ValueError(f"{options.target} is no target; choose from {valid}")
    common = extra_settings(options)
    lambdas, seeds = options.lambdas, options.seeds
    if options.target not in TARGETS:
        if options.target == DELAYS:
            own = overrides_of(options.dataset, "adam", ONECYCLE)
            group = control_settings(own, common)
        else:
            group = EXPERIMENTS[options.target]
        planned = [[*settings, f"seed={seed}"] for seed in seeds for settings in group]
        return [planned_run(options, settings, common) for settings in planned]
    if options.target == "table1":
        lambdas, seeds = [], seeds[:1]
    runs = []
    for seed in seeds:
        for schedule in TARGETS[options.target]:
            baseline = overrides_of(options.dataset, "adam", schedule)
            bregman = overrides_of(options.dataset, "adabreg", schedule)
            grid = [[*bregman, f"optim.lam={lam:g}"] for lam in lambdas]
            for settings in [baseline, *grid]:
                runs.append(planned_run(options, [*settings, f"seed={seed}"], common))
    return runs


def extra_settings(options: Namespace) -> list[str]:
    """The overrides that a study's options amount to, for every run of it."""
    extra = [f"dataset.epochs={options.epochs}"] if options.epochs else []
    if options.root:
        extra.append(f"dataset.root='{Path(options.root).resolve()}'")
    return extra + options.overrides


def planned_run(options: Namespace, settings: list[str], common: list[str]) -> Run:
    """A run of a study, in a folder named by its settings.

    Args:
        options: ``runs``, the folder of the study, and ``any_code``, whether a finished run of
            another version of the code counts.
        settings: overrides that name the run.
        common: overrides that all runs share.
    """
    config = assembly.check(composed([*settings, *common]))
    name = assembly.run_name(config, settings)
    run = Run(
        " ".join(settings),
        options.runs / name,
        [*settings, *common],
        config["trainer"]["epochs"],
    )
    if options.any_code and not run.finished():
        others = options.runs.glob(f"{name.rpartition('-')[0]}-*")
        for folder in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            other = replace(run, folder=folder)
            if other.finished():
                return other
    return run


def write(target: str, runs: list[Run], output: Path) -> list[Path]:
    """Write what a target asks for from those runs that have ended.

    Args:
        target: see :func:`study`.
        runs: the study's.
        output: folder; ``all`` and what is no figure or table of the LBI paper write one page,
            ``report.html``, with everything, and ``figures/`` and ``tables/`` with its parts.

    Returns:
        The files; of the parts of a page the target's own figures.
    """
    found = [read_run(run.folder) for run in runs if run.finished()]
    if target.startswith("figure"):
        figures = analysis.write_figures(found, output, [target])
        return [output / f"{name}.{kind}" for name in figures for kind in ("svg", "png")]
    if target.startswith("table"):
        table = {"table1": analysis.table1, "table2": analysis.table2}[target](found)
        print(table.to_markdown())
        return list(table.save(output))
    page = analysis.write_report(found, output, str(runs[0].folder.parent))
    pictures = [output / "figures" / f"{name}.png" for name in FIGURES.get(target, ())]
    return [page, *(picture for picture in pictures if picture.is_file())]


def run(options: Namespace) -> int:
    """Run, then draw; 1 where a run failed."""
    name = "bregman" if options.target in EXPERIMENTS else options.dataset
    name = f"delays_{name}" if options.target == DELAYS else name
    options.runs = Path(options.runs or f"outputs/study/{name}").resolve()
    output = Path(options.output or f"outputs/figures/{name}").resolve()
    runs = study(options)
    if options.dry_run:
        for planned in runs:
            print(f"{planned.done():4d}/{planned.epochs}  {planned.folder}")
        return 0
    failed = Study(runs, TRAIN, options.jobs).fit()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if any(planned.finished() for planned in runs):
        print(*write(options.target, runs, output), sep="\n")
    for name, reason in failed.items():
        print(f"Failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0
