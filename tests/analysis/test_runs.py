from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snnbreg.analysis import read_run, read_runs
from snnbreg.analysis.groups import group_runs, newest

Make = Callable[..., Path]


def test_a_run_holds_what_is_on_disk(make: Make) -> None:
    run = read_run(make({"optim.lam": 0.5, "seed": 7}, losses=(2.0, 0.5)))
    assert run.settings["optim.lam"] == 0.5
    assert run.config["model"]["hidden"] == [4]
    assert run.history["epoch"] == [1.0, 2.0]
    assert run.history["val_loss"] == [2.0, 0.5]
    assert run.history["nonzero/layers.0.linear.weight"] == [12.0, 6.0]
    assert (run.seed, run.status, run.ended) == (7, "completed", True)


def test_figures_of_a_run(make: Make) -> None:
    run = read_run(make(nonzero=(36, 30, 9), summary={"test_acc": None}))
    assert run.figure("density") == 0.25
    assert run.figure("last/val_loss") == 1.0
    # 50 parameters, 36 of them weights, 27 of those zero: 23 of 50 are left
    assert run.figure("all_density") == pytest.approx(23 / 50)
    assert run.figure("test_acc") is None
    assert run.figure("last/unknown") is None


def test_own_data_are_told_apart_by_their_title_or_folder(make: Make) -> None:
    for root, title in (
        ("/a/shd", None), ("/b/shd", None), ("/a/my words", None), (None, "words"), ("/c", "words"),
    ):  # fmt: skip
        make({"dataset.name": "own", "dataset.root": root, "dataset.title": title})
    plain = read_run(make())
    runs = read_runs(plain.path.parent)[:-1]
    names = ["own_shd", "own_shd", "own_my_words", "own_words", "own_words"]
    assert [run.dataset for run in runs] == names  # and never beside a paper's figures of shd
    assert [run.title for run in runs[1:4]] == ["shd", "my words", "words"]
    assert (plain.dataset, plain.title) == ("spoken_digits", None)
    assert [run.title for run in newest(runs)] == ["shd", "my words", "words"]
    assert [len(group.runs) for group in group_runs(runs)] == [2, 1, 2]


def test_runs_are_found_at_any_depth_and_nowhere_else(make: Make, tmp_path: Path) -> None:
    first = make()
    second = make({"seed": 1}).rename(first.parent / "a")
    deep = tmp_path / "runs" / "b" / "c"
    deep.mkdir(parents=True)
    make({"seed": 2}).rename(deep / "d")
    hydra = first / ".hydra"
    hydra.mkdir()
    (hydra / "config.yaml").write_text("seed: 1\n")
    (hydra / "metrics.csv").write_text("epoch\n")
    (tmp_path / "runs" / "config.yaml").write_text("a: 1\n")  # no run: nothing else beside it
    for inner in ("checkpoints", "wandb"):
        make({"seed": 3}).rename(first / inner)  # belongs to the run
    (make({"seed": 4}) / "config.yaml").unlink()
    (tmp_path / "runs" / "a" / "metrics.csv").unlink()  # a summary is enough
    found = [run.path for run in read_runs(tmp_path)]
    assert found == [second, deep / "d", first]


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.yaml", "a: [1", "config.yaml is not readable YAML"),
        ("config.yaml", "", "config.yaml holds no settings"),
        ("metrics.csv", "epoch,val_loss\n1,0.5\n2\n", "metrics.csv is damaged"),
        ("metrics.csv", "epoch,val_loss\n1,0.5,3\n", "metrics.csv is damaged"),
        ("metrics.csv", "epoch,val_loss\n1,many\n", "metrics.csv is damaged"),
        ("summary.json", '{"status": "comp', "summary.json is not readable JSON"),
        ("summary.json", "[]", "summary.json holds no summary"),
    ],
)
def test_damaged_runs_are_reported_and_skipped(
    make: Make, caplog: pytest.LogCaptureFixture, file: str, content: str, named: str
) -> None:
    good, bad = make(), make({"seed": 1})
    (bad / file).write_text(content)
    problems: list[str] = []
    assert [run.path for run in read_runs(good.parent, problems)] == [good]
    assert len(problems) == 1
    assert str(bad) in problems[0]
    assert named in problems[0]
    with caplog.at_level(logging.WARNING):
        read_runs(good.parent)
    assert named in caplog.text
    with pytest.raises(ValueError, match=named):
        read_run(bad)


def test_unfinished_runs_are_runs(make: Make) -> None:
    folder = make()
    (folder / "summary.json").unlink()
    (run,) = read_runs(folder)
    assert (run.status, run.ended, run.summary) == ("unfinished", False, {})
    (folder / "metrics.csv").write_text("epoch,val_loss\n1,\n2,inf\n")
    losses = read_run(folder).history["val_loss"]
    assert math.isnan(losses[0])
    assert losses[1] == math.inf
    (folder / "metrics.csv").write_text("")
    assert read_run(folder).history == {}


def test_share_of_all_parameters_needs_all_its_figures(make: Make) -> None:
    for name in ("nonzero", "density", "parameters"):
        assert read_run(make(summary={name: None})).figure("all_density") is None


def test_files_of_a_run_are_data_and_never_code(make: Make) -> None:
    run = read_run(make(checkpoints=True))
    assert set(run.checkpoint()) == {"config", "epoch", "network", "optimizers"}
    torch.save({"network": Path("a")}, run.path / "checkpoints" / "best.pt")  # a pickled object
    with pytest.raises(ValueError, match=r"best\.pt is damaged"):
        run.checkpoint()
    np.savez(run.folder.predictions, test_ids=np.array([None]))
    with pytest.raises(ValueError, match=r"predictions\.npz is damaged"):
        run.predictions()


def test_what_is_not_there(tmp_path: Path, make: Make) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_runs(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        read_run(tmp_path)
    folder = make()
    with pytest.raises(FileNotFoundError, match=r"best\.pt"):
        read_run(folder).checkpoint()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"last\.pt is damaged"):
        read_run(folder).checkpoint("last")
