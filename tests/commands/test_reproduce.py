"""The study from the command line: killed, started again, drawn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_files import write_cifar
from snnbreg import analysis, assembly
from snnbreg.analysis import Measure, read_run
from snnbreg.analysis.strategies import strategies_table
from snnbreg.assembly.configs import composed
from snnbreg.commands.reproduce import EXPERIMENTS, FIGURES, run, study
from snnbreg.commands.train import train
from snnbreg.runs import RunFolder
from tests_support import SMALL_DIGITS

SMALL = [option for option in SMALL_DIGITS if "epochs" not in option]


def command(tmp_path: Path, target: str, *more: str) -> list[str]:
    program = [sys.executable, "-m", "snnbreg", "reproduce", target, *SMALL]
    options = ["--seeds", "0", "--lambdas", "0,1", "--epochs", "2", "--jobs", "1"]
    places = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]
    return [*program, *options, *places, *more]


def test_a_killed_study_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("fcntl")
    environment = {**os.environ, "SNNBREG_CACHE": str(tmp_path)}
    first = subprocess.Popen(
        command(tmp_path, "figure3"), env=environment, stderr=subprocess.DEVNULL
    )
    runs = tmp_path / "runs"
    while not list(runs.glob("*/summary.json")) or len(list(runs.glob("*/output.txt"))) < 2:
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = {path: path.stat().st_mtime_ns for path in runs.glob("*/summary.json")}
    again = subprocess.run(
        command(tmp_path, "figure3"), env=environment, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith(("1/3 runs", "2/3 runs"))  # the one that was left alone ended?
    assert "3/3 runs, 6/6 epochs" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == done
    said = [path.read_text().count("Run folder:") for path in runs.glob("*/output.txt")]
    assert said == [1, 1, 1]  # the one that was left alone, too
    names = sorted(path.parent.name.split("__")[0] for path in runs.glob("*/summary.json"))
    assert names == [f"experiment-spoken_digits_{n}" for n in ("adabreg", "adabreg", "adam")]
    assert again.stdout.split() == [str(tmp_path / "out" / f"figure3.{k}") for k in ("svg", "png")]
    assert all(Path(path).stat().st_size > 1000 for path in again.stdout.split())


def test_the_plan_is_the_papers(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "snnbreg", "reproduce", "all", "--dry-run"]
    where = ["--runs", str(tmp_path), "--seeds", "0,7"]
    planned = subprocess.run([*program, *where], capture_output=True, text=True, check=True)
    folders = [Path(line.split()[1]).name for line in planned.stdout.splitlines()]
    assert len(folders) == len(set(folders)) == 44  # 2 seeds, 2 schedules, 10 lambdas and Adam
    for seed in (0, 7):
        for schedule in ("", "_constant"):
            kind = [f for f in folders if f"seed-{seed}__" in f]
            adam = [f for f in kind if f.startswith(f"experiment-spoken_digits_adam{schedule}__")]
            own = [f for f in kind if f.startswith(f"experiment-spoken_digits_adabreg{schedule}__")]
            assert len(adam) == 1
            lams = {float(f.split("optim.lam-")[1].split("__")[0]) for f in own}
            assert lams == {0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10}
    assert all(line.startswith("   0/30") for line in planned.stdout.splitlines())
    assert not list(tmp_path.iterdir())


def test_the_experiments_of_the_first_paper_are_planned_with_every_seed(tmp_path: Path) -> None:
    common = dict(dataset="", root=None, epochs=7, overrides=[], lambdas=[1.0], any_code=False)
    for target, experiments in EXPERIMENTS.items():
        runs = study(Namespace(target=target, seeds=[0, 3], runs=tmp_path, **common))
        folders = [run.folder.name for run in runs]
        assert len(set(folders)) == len(folders) == 2 * len(experiments)
        assert {run.epochs for run in runs} == {7}
    with pytest.raises(ValueError, match=r"figure9 is no target; choose from figure1.*bregman_"):
        study(Namespace(target="figure9", seeds=[0], runs=tmp_path, **common))


def test_the_autoencoder_ends_with_its_pictures(
    tmp_path: Path, idx_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    output = tmp_path / "out"
    small = ["model.hidden=[12]", "dataset.batch_size=30", "device=cpu"]
    options = Namespace(
        target="bregman_figure4", dataset="", root=str(idx_root), epochs=1, overrides=small,
        lambdas=[], seeds=[0], any_code=False, jobs=1, dry_run=False, runs=tmp_path / "runs",
        output=output,
    )  # fmt: skip
    assert run(options) == 0
    names = ["report.html", "figures/autoencoder_neurons.png", "figures/autoencoder_digits.png"]
    assert capsys.readouterr().out.split() == [str(output / name) for name in names]


@pytest.mark.parametrize(
    ("table", "ends"),
    [
        ("bregman_table1", {"SGD, one-shot pruning": 4.7, "SGD, Lasso": 3.5}),
        ("bregman_table2", {"SGD, one-shot pruning": 7.0, "SGD, Lasso": 4.0}),
        ("bregman_table3", {"Adam, Lasso": 3.0, "LinBreg + threshold": 3.4,
                            "LinBreg, momentum + threshold": 3.6, "AdaBreg + threshold": 9.2}),
    ],
)  # fmt: skip
def test_tables_1_to_3_have_a_row_for_each_of_their_methods(
    tmp_path: Path, idx_root: Path, table: str, ends: dict[str, float]
) -> None:
    """On files in the real formats, of few images, and with small networks."""
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32))
    write_cifar(tmp_path, images, np.arange(60) % 10, binary=False)
    cifar = table == "bregman_table3"
    sizes = ["model.width=4", "model.blocks=[1,1]"] if cifar else ["model.channels=[3,4]"]
    options = Namespace(
        target=table, dataset="", root=str(tmp_path if cifar else idx_root), epochs=2,
        overrides=[*sizes, "dataset.batch_size=16", "device=cpu"], lambdas=[], seeds=[0],
        any_code=False, runs=tmp_path / "runs",
    )  # fmt: skip
    runs = []
    for planned in study(options):
        config = assembly.check(composed(planned.arguments))
        planned.folder.mkdir(parents=True)
        (planned.folder / "config.yaml").write_text(yaml.safe_dump(config))
        train(config, RunFolder(planned.folder))
        runs.append(read_run(planned.folder))
    rows = {row[0]: row for row in strategies_table(runs, runs[0].dataset).rows}
    assert len(rows) == len(runs) == len(EXPERIMENTS[table])
    assert set(rows) > {"Adam", "LinBreg", "LinBreg, momentum", "AdaBreg", *ends}
    for method, percent in ends.items():
        _, goal, _, weights, *_ = rows[method]
        assert goal == f"{percent:g} %"
        assert isinstance(weights, Measure)
        # few steps: AdaBreg has fewer weights yet than its threshold would leave
        least = percent / 100 - (0.03 if method == "AdaBreg + threshold" else 0.001)
        assert least < weights.mean < percent / 100 + 0.001


def test_the_targets_figures_exist() -> None:
    assert set(FIGURES) < set(EXPERIMENTS)
    assert {name for names in FIGURES.values() for name in names} < set(analysis.FIGURES)
