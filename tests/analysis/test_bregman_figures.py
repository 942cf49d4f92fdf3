"""Figures 2 to 5 of Bungert et al. 2021, from run folders with chosen numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from snnbreg.analysis import Measure, Run, draw, lambda_table, read_run, read_runs, table2
from snnbreg.analysis import autoencoder as a
from snnbreg.analysis import bregman as b
from snnbreg.analysis.strategies import strategies_table
from snnbreg.analysis.studies import baseline, datasets, dense_groups, sparsest_within, sweeps
from snnbreg.analysis.study_tables import summary_sentence

Write = Callable[..., Run]
MSE = {"measure": "mse", "higher_is_better": False}
LAYERS = ("layers.0.weight", "layers.1.weight")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A run folder of a network without spikes; columns of its metrics by name."""
    count = iter(range(1000))

    def make(
        optim: dict[str, Any],
        columns: dict[str, list[float]],
        seed: int = 0,
        name: str = "mnist",
        **summary: Any,
    ) -> Run:
        folder = tmp_path / "runs" / f"run{next(count):04d}"
        folder.mkdir(parents=True)
        config = {"dataset": {"name": name}, "optim": optim, "seed": seed,
                  "scheduler": {"name": "plateau"}}  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        epochs = len(next(iter(columns.values())))
        table = {"epoch": list(range(1, epochs + 1)), **columns}
        rows = zip(*table.values(), strict=True)
        text = [",".join(table), *(",".join(map(str, row)) for row in rows)]
        (folder / "metrics.csv").write_text("\n".join(text) + "\n")
        (folder / "summary.json").write_text(
            json.dumps({"status": "completed", "measure": "acc", "best_epoch": 1, **summary})
        )
        return read_run(folder)

    return make


def trained(acc: list[float], l1: list[float], density: list[float]) -> dict[str, list[float]]:
    return {"val_loss": [1.0] * len(acc), "val_acc": acc, "density": density, "l1": l1}


@pytest.fixture
def methods(write: Write) -> list[Run]:
    """SGD as LinBreg without lambda, LinBreg twice, ProxSGD, momentum and AdaBreg."""
    for optim, score in (
        ({"name": "linbreg", "lam": 0.0, "momentum": 0.0}, 0.9),
        ({"name": "linbreg", "lam": 0.1, "momentum": 0.0}, 0.8),
        ({"name": "linbreg", "lam": 0.001, "momentum": 0.0}, 0.85),
        ({"name": "proxsgd", "lam": 0.0001}, 0.7),
        ({"name": "linbreg", "lam": 0.1, "momentum": 0.9}, 0.81),
        ({"name": "adabreg", "lam": 0.1}, 0.82),
    ):
        for seed in (0, 1):
            shift = 0.02 * seed
            write(
                optim, trained([0.5 + shift, score + shift], [10, 30 + seed], [0.01, 0.1]),
                seed, best_val_acc=score,
            )  # fmt: skip
    worse = {"name": "linbreg", "lam": 0.1, "momentum": 0.0, "lr": 9.0}
    write(worse, trained([0.1, 0.1], [1, 1], [1, 1]), best_val_acc=0.1)
    return read_runs(write({"name": "adam"}, {"val_loss": [1.0]}).path.parent)


def lines(axes: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


def test_figure2_has_a_line_per_method_and_lambda(methods: list[Run]) -> None:
    score, norm, density = b.figure2(methods).axes
    labels = ["SGD", "LinBreg, λ = 0.001", "LinBreg, λ = 0.1", "ProxSGD, λ = 0.0001"]
    assert list(lines(score)) == list(lines(norm)) == list(lines(density)) == labels
    assert lines(score)["LinBreg, λ = 0.1"] == pytest.approx([0.51, 0.81])  # not the worse one
    assert lines(norm)["SGD"] == [10, 30.5]
    assert lines(density)["SGD"] == [0.01, 0.1]
    vertices = norm.collections[0].get_paths()[0].vertices
    ends = sorted({round(y, 6) for x, y in vertices if x == 2})
    assert ends == pytest.approx([30.5 - math.sqrt(0.5), 30.5 + math.sqrt(0.5)])
    assert score.get_ylabel() == "validation accuracy (%)"
    assert density.get_yscale() == "log"
    assert [t.get_text() for t in density.get_legend().get_texts()] == labels
    assert score.get_title(loc="left") == "mnist · 2 seeds"


def test_figure3_has_the_methods_at_the_lambda_they_share(methods: list[Run], write: Write) -> None:
    """Neither two methods that are better at another lambda nor a sparsifier take their place."""
    masked = {"name": "adabreg", "lam": 0.1, "sparsifier": {"name": "debias"}}
    for optim in ({"name": "adabreg", "lam": 2.0}, {"name": "proxadam", "lam": 2.0}, masked):
        methods.append(write(optim, trained([1.0, 1.0], [1, 1], [1, 1]), best_val_acc=0.99))
    score = b.figure3(methods).axes[0]
    assert list(lines(score)) == [
        "SGD", "LinBreg, λ = 0.1", "LinBreg, momentum, λ = 0.1", "AdaBreg, λ = 0.1",
    ]  # fmt: skip
    assert lines(score)["AdaBreg, λ = 0.1"] == pytest.approx([0.51, 0.83])


def test_figures_of_training_need_methods_and_norms(
    methods: list[Run], write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    alone = [run for run in methods if b.trained_by(run) == "AdaBreg"]
    assert draw("bregman_figure2", alone) is draw("bregman_figure3", alone) is None
    assert "No two methods share a lambda" in caplog.text
    old = [write({"name": n, "lam": 1.0}, {"val_acc": [0.5]}) for n in ("linbreg", "proxsgd")]
    assert draw("bregman_figure2", old) is None


def autoencoder(write: Write, seed: int, score: float = 0.1, lam: float = 0.07) -> Run:
    rows = {f"rows/{LAYERS[0]}": [2.0, 4.0 + seed], f"rows/{LAYERS[1]}": [1.0, 1.0]}
    columns = {
        "val_mse": [0.2, score],
        "rows": [0.3, 0.5 + 0.49 * (seed == 1)],
        **rows,
        "l1": [1.0, 1.0],
    }
    return write(
        {"name": "adabreg", "lam": lam}, columns, seed, **MSE, best_val_mse=score,
        test_mse=score, deployed_test_mse=score + 0.05, density=0.5, nonzero=7,
    )  # fmt: skip


def test_active_neurons_by_epoch_and_their_profile(write: Write) -> None:
    runs = [autoencoder(write, seed) for seed in (0, 1)]
    by_epoch, profile = a.neurons(runs).axes
    assert lines(by_epoch) == {"1": [2, 4.5], "2": [1, 1]}
    heights = [[bar.get_height() for bar in bars] for bars in profile.containers if len(bars) == 2]
    assert [2, 1] in heights
    assert [4.5, 1] in heights
    assert [t.get_text() for t in profile.get_legend().get_texts()] == ["epoch 1", "end"]
    assert "AdaBreg, λ = 0.07 · 2 seeds" in by_epoch.get_title(loc="left")


def test_active_neurons_at_the_start_are_those_of_the_first_checkpoint(write: Write) -> None:
    run = autoencoder(write, 0)
    first = torch.zeros(5, 3)
    first[[0, 2, 4], [0, 1, 2]] = -1.0
    checkpoint = run.path / "checkpoints" / "initial.pt"
    checkpoint.parent.mkdir()
    network = dict(zip(LAYERS, (first, torch.zeros(2, 5)), strict=True))
    torch.save({"network": network, "epoch": 0, "config": {}}, checkpoint)
    by_epoch, profile = a.neurons([run]).axes
    assert lines(by_epoch) == {"1": [3, 2, 4], "2": [0, 1, 1]}
    assert [t.get_text() for t in profile.get_legend().get_texts()] == ["start", "end"]


def test_networks_that_keep_their_neurons_or_spike_are_not_drawn(write: Write) -> None:
    columns = {f"rows/{name}": [3.0] for name in LAYERS}
    for more in ({"rows": [0.96]}, {"rows": [0.5], "firing_rate": [0.1]}):
        assert draw("autoencoder_neurons", [write({"name": "sgd"}, {**columns, **more})]) is None


def images(run: Run, colours: int, count: int, shape: tuple[int, ...] = ()) -> dict[str, Any]:
    targets = np.random.default_rng(0).random((count, colours, 4, 5))
    arrays = {"inputs": 3.0 * targets - 0.4, "outputs": targets - 0.5, "targets": targets}
    if shape:
        arrays["inputs"] = np.zeros(shape)
    arrays = {f"test_{name}": array.astype(np.float16) for name, array in arrays.items()}
    np.savez(run.path / "predictions.npz", **arrays)
    return arrays


@pytest.mark.parametrize("colours", [1, 3])
def test_reconstructed_images_of_the_better_run(write: Write, colours: int) -> None:
    worse, better = (autoencoder(write, 3, score, lam) for score, lam in ((0.2, 0.1), (0.1, 0.2)))
    for run in (worse, better):
        arrays = images(run, colours, 10)
    first, second = a.digits([worse, better]).axes
    assert first.get_title(loc="left") == (
        "mnist_mse · AdaBreg, λ = 0.2 · seed 3\ntest mean squared error 0.15"
    )
    picture = np.asarray(second.images[0].get_array(), float).reshape(3 * 5, 8 * 6, colours)
    place = picture[:, 6:11]  # the tenth sample: second of the second block
    target = arrays["test_targets"][9].transpose(1, 2, 0).astype(float)
    np.testing.assert_allclose(place[:4], target, atol=5e-3)  # normalisation undone
    np.testing.assert_allclose(place[5:9], np.clip(target - 0.5, 0, 1), atol=2e-3)
    np.testing.assert_allclose(place[10:14], target)
    assert (picture[4] == 1).all()  # gaps
    assert (picture[:, 12:] == 1).all()
    assert [t.get_text() for t in first.get_yticklabels()] == ["input", "output", "target"]


def test_images_need_inputs_of_their_shape(write: Write) -> None:
    run = autoencoder(write, 0)
    assert draw("autoencoder_digits", [run]) is None
    images(run, 1, 3, shape=(3, 7))
    assert draw("autoencoder_digits", [run]) is None


def test_inputs_without_likeness_keep_their_range() -> None:
    targets = np.array([0.0, 1.0, 0.0, 1.0])
    assert a.as_pixels(np.array([4.0, 4.0, 2.0, 2.0]), targets).tolist() == [1, 1, 0, 0]


def test_errors_are_chosen_where_they_are_low(write: Write) -> None:
    runs = [autoencoder(write, 0, 0.2, lam=0.1), autoencoder(write, 0, 0.1, lam=0.2)]
    adam = write({"name": "adam"}, {"val_mse": [0.3]}, **MSE, best_val_mse=0.3, test_mse=0.3)
    classifier = write({"name": "adam"}, {"val_acc": [0.9]}, best_val_acc=0.9, test_acc=0.9)
    runs += [adam, classifier]
    assert datasets(runs) == ["mnist", "mnist_mse"]
    (sweep,) = sweeps(runs, "mnist_mse")
    assert sweep.chosen() == 0.2
    best = baseline(runs, sweep.first, any_schedule=True)
    assert best is not None
    assert best.runs == (adam,)
    assert [group.runs for group in dense_groups(runs, "mnist")] == [(classifier,)]
    assert sparsest_within(runs, "mnist_mse") is None
    table = table2(runs, "mse")
    assert table.name == "table2_mse"
    headings = [column.heading for column in table.columns]
    assert {"validation, mse", "test, mse"} <= set(headings)
    (row,) = [row for row in table.rows if row[1] == "AdaBreg"]
    assert table.columns[4].name == "runs"
    place = headings.index("test, deployed, mse")
    assert table.columns[place].write(row[place]) == "0.15"
    assert {str(row[0]) for row in table2(runs).rows} == {"mnist"}
    assert "0.2" in lambda_table(runs, "mnist_mse").to_markdown()
    assert "λ = 0.2 keeps 50.0\N{NO-BREAK SPACE}%" in summary_sentence(runs)
    assert "has 0.1 mean squared error" in summary_sentence(runs)


def test_the_measure_of_older_and_unfinished_runs(write: Write) -> None:
    running = write({"name": "adam"}, {"val_loss": [1.0], "val_mse": [0.3]})
    (running.path / "summary.json").unlink()
    running = read_run(running.path)
    assert (running.measure, running.higher_is_better) == ("mse", False)
    other = write({"name": "adam"}, {"val_f1": [0.3]}, measure="f1", higher_is_better=True)
    assert (other.dataset, other.higher_is_better) == ("mnist_f1", True)
    assert write({"name": "adam"}, {"val_acc": [0.3]}).figure("best_val_{measure}") is None


def test_strategies_are_told_apart_by_method_lambda_and_density(
    methods: list[Run], write: Write
) -> None:
    """Of settings that differ otherwise the one that validates best; figures of its best epoch."""
    kernels = {**trained([0.5, 0.6], [1, 2], [0.2, 0.1]), "kernels": [0.4, 0.3], "linear": [0.5, 1]}
    kernels["train_acc"] = [0.7, 0.8]
    for begin, density in ((1.0, 0.1), (0.75, 0.1)):
        sparsifier = {"name": "debias", "density": density, "begin": begin}
        optim = {"name": "adabreg", "lam": 0.1, "sparsifier": sparsifier}
        write(optim, kernels, best_val_acc=0.6, best_epoch=2, test_acc=0.9)
    write({"name": "adabreg", "lam": 0.1}, kernels, best_val_acc=0.99, firing_rate=0.1)
    table = strategies_table(read_runs(methods[0].path.parent), "mnist")
    assert [row[:3] for row in table.rows] == [
        ["SGD", "", 2], ["LinBreg", "λ = 0.1", 2], ["LinBreg", "λ = 0.001", 2],
        ["ProxSGD", "λ = 0.0001", 2], ["LinBreg, momentum", "λ = 0.1", 2],
        ["AdaBreg", "λ = 0.1", 2], ["AdaBreg + threshold", "10 %", 1],
        ["AdaBreg, debiased", "10 %", 1],
    ]  # fmt: skip
    figures = [cell.mean for cell in table.rows[-1][3:] if isinstance(cell, Measure)]
    assert figures == [0.1, 1, 0.3, 0.9, 0.8, 0.6]
    alone = [run for run in methods if b.trained_by(run) == "AdaBreg"]
    assert strategies_table(alone, "mnist").rows == []
