"""Own data of any number of classes and units from training to the report, as a user goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import write_events
from snnbreg.analysis import report_tables
from snnbreg.commands.evaluate import evaluate_export, evaluate_run
from snnbreg.commands.exporting import Choices, export
from snnbreg.runs import read_run

LINE = [
    "dataset=own", "dataset.batch_size=16", "dataset.epochs=2", "model.hidden=[8]",
    "model.engine=reference", "scheduler.lam=null", "optim.init_density=1", "device=cpu",
    "trainer.threads=1",
]  # fmt: skip


def events(root: Path) -> None:
    """15 classes, 1,024 units."""
    for seed, (split, count) in enumerate((("train", 45), ("valid", 15), ("test", 15))):
        rng = np.random.default_rng(seed)
        made = [
            (rng.uniform(0, 0.2, 20).astype(np.float16), rng.integers(0, 1024, 20))
            for _ in range(count)
        ]
        write_events(root / f"{split}.h5", made, [s % 15 for s in range(count)], words=())


def steps(root: Path) -> None:
    """A class of four at every step, where there is one."""
    root.mkdir()
    for seed, (split, count) in enumerate((("train", 40), ("test", 10))):
        rng = np.random.default_rng(seed)
        labels = rng.integers(-1, 4, (count, 7))
        np.savez(root / f"{split}.npz", frames=rng.integers(0, 3, (count, 7, 5)), labels=labels)


@pytest.mark.parametrize(("write", "options", "classes"), [
    (events, [], 15), (steps, ["model.objective=step_cross_entropy"], 4),
])  # fmt: skip
def test_it_is_trained_continued_evaluated_exported_and_reported(
    tmp_path: Path, write: Any, options: list[str], classes: int
) -> None:
    write(tmp_path / "mine")
    run, cache = tmp_path / "runs" / "one", f"dataset.cache={tmp_path / 'cache'}"
    line = [*LINE, f"dataset.root={tmp_path / 'mine'}", cache, f"hydra.run.dir={run}", *options]
    train = [sys.executable, "-m", "snnbreg", "train"]
    done = subprocess.run([*train, *line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"mine: {classes} classes" in done.stdout
    whole = read_run(run)
    assert whole.checkpoint()["sizes"][1] == classes
    last = run / "checkpoints" / "last.pt"
    for path in (run / "summary.json", last):  # as if it had been killed after its first epoch
        path.unlink()
    (run / "checkpoints" / "initial.pt").rename(last)
    (run / "checkpoints" / "best.pt").unlink()
    again = subprocess.run(
        [*train, f"hydra.run.dir={run}", "trainer.resume=true"], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    continued = read_run(run)
    assert {**continued.history, "seconds": 0} == {**whole.history, "seconds": 0}
    found = evaluate_run(str(run), ["evaluation=deployed"])
    assert found["acc"] == continued.summary["deployed_test_acc"]
    export(str(run), tmp_path / "out", Choices(samples=3), [])
    proof = json.loads((tmp_path / "out" / "export.json").read_text())["proof"]
    assert proof["differing_classes"] == 0
    assert evaluate_export(str(tmp_path / "out"), [])["acc"] == pytest.approx(found["acc"])
    (table,) = report_tables(tmp_path / "runs", ["table2"])
    assert [row[0] for row in table.rows] == ["own_mine"]


def test_a_class_at_every_step_asks_for_its_task(tmp_path: Path) -> None:
    steps(tmp_path / "mine")
    line = [*LINE, f"dataset.root={tmp_path / 'mine'}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-m", "snnbreg", "train", *line], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "model.objective=step_cross_entropy" in done.stdout
