"""Networks without spikes from files in the real layouts to a summary; mistakes of public code.

The published code of Bregman learning has mistakes in its networks, data and validation; each has a
test here that would find it.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from data_files import write_cifar
from snnbreg import assembly
from snnbreg.commands.evaluate import evaluate_run
from snnbreg.datasets import FrameLoader, FrameSet
from snnbreg.runs import load_checkpoint
from snnbreg.training import TASKS, RunFolder, evaluate
from snnbreg.training.network import weights_of
from snnbreg.training.rows import validation_row
from snnbreg.training.supports import counts
from tests_support import ROOT

Config = dict[str, Any]
Tiny = Callable[..., Config]
Train = Callable[..., dict[str, Any]]

CPU = torch.device("cpu")
SIZES = {
    "mlp": ["model.hidden=[12,9]"],
    "autoencoder": ["model.hidden=[12,9]"],
    "convnet": ["model.channels=[3,4]", "model.hidden=[8]"],
    "resnet18": ["model.width=2", "model.blocks=[1,1]"],
}
BASICS = ["dataset.limit=40", "dataset.batch_size=16", "trainer.epochs=3", "device=cpu"]
KERNELS = (
    "optim.rules=[{pattern: '', max_dims: 1, regularizer: none},"
    "{pattern: conv, regularizer: group_kernels},{pattern: '', regularizer: l1}]"
)


@pytest.fixture
def cifar_root(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32))
    write_cifar(tmp_path / "cifar", images, np.arange(60) % 10, binary=True)
    return tmp_path / "cifar"


@pytest.fixture
def tiny(composed: Callable[..., DictConfig], idx_root: Path, cifar_root: Path) -> Tiny:
    """A checked config of a tiny run of a network, on MNIST's or CIFAR-10's layout."""

    def make(model: str, dataset: str = "mnist", *overrides: str) -> Config:
        root = cifar_root if dataset == "cifar10" else idx_root
        names = [f"dataset={dataset}", f"model={model}", f"dataset.root={root}"]
        return assembly.check(composed(*names, *BASICS, *SIZES[model], *overrides))

    return make


def rows(run: RunFolder) -> list[dict[str, str]]:
    with run.metrics.open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def network_of(config: Config) -> nn.Module:
    splits = assembly.build_splits(config)
    return assembly.build_network(config, splits.channels, splits.classes, CPU, splits.image)


@pytest.mark.parametrize(
    ("model", "dataset", "overrides"),
    [
        ("mlp", "mnist", ["optim=linbreg", "optim.lam=0.1", "optim.init_density=0.3"]),
        ("mlp", "fashion_mnist", ["optim=adabreg", "scheduler=plateau", "optim.lam=0.002"]),
        ("mlp", "rows_mnist", ["optim=adam"]),
        ("autoencoder", "mnist", ["optim.regularizer=group_rows", "dataset.noise=0.05"]),
        ("convnet", "fashion_mnist", ["optim=linbreg", "optim.momentum=0.9", KERNELS]),
        ("convnet", "cifar10", ["optim=sgd", "dataset.crop_padding=4", "dataset.flip=true"]),
        ("resnet18", "cifar10", ["optim=adabreg", KERNELS, "dataset.crop_padding=4"]),
        ("resnet18", "mnist", ["optim=proxsgd", "optim.lam=0.01", "trainer.grad_clip=1.0"]),
    ],
)
def test_it_trains_resumes_and_is_evaluated(
    tiny: Tiny, train: Train, tmp_path: Path, model: str, dataset: str, overrides: list[str]
) -> None:
    config = tiny(model, dataset, *overrides)
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    summary = train(config, whole)
    measure = "mse" if model == "autoencoder" else "acc"
    assert summary["status"] == "completed"
    assert summary[f"test_{measure}"] == summary[f"deployed_test_{measure}"]
    assert len({row["train_loss"] for row in rows(whole)}) == 3
    stopped_after_two_epochs(config, broken)
    assert rows(broken) == rows(whole)[:2]
    train(config, broken, load_checkpoint(broken.last))
    assert rows(broken) == rows(whole)
    states = [load_checkpoint(run.last)["network"] for run in (whole, broken)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    figures = evaluate_run(str(whole.path), [])
    assert (figures[measure], figures["nonzero"]) == (
        summary[f"test_{measure}"], summary["nonzero"]
    )  # fmt: skip


def stopped_after_two_epochs(config: Config, run: RunFolder) -> None:
    splits = assembly.build_splits(config)
    network = assembly.build_network(config, splits.channels, splits.classes, CPU, splits.image)
    trainer = assembly.build_trainer(config, network, splits, run, CPU)
    epoch = trainer._epoch

    def stop(number: int, bar: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        epoch(number, bar)

    trainer._epoch = stop  # type: ignore[method-assign]
    assert trainer.fit() == "interrupted"


def test_the_command_line_trains_continues_and_evaluates(tmp_path: Path, cifar_root: Path) -> None:
    names = ["dataset=cifar10", "model=convnet", "optim=linbreg", "optim.lam=0.1"]
    options = [*names, *BASICS, *SIZES["convnet"], f"dataset.root={cifar_root}"]
    whole, again = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "again")
    for run, more in ((whole, []), (again, [f"trainer.resume={whole.initial}"])):
        command = [sys.executable, "train.py", *options, f"hydra.run.dir={run.path}", *more]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert rows(again) == rows(whole)
    summary = json.loads((again.path / "summary.json").read_text())
    assert evaluate_run(str(again.path), [])["acc"] == summary["test_acc"]


@pytest.mark.parametrize(
    ("model", "overrides", "encoder", "target"),
    [
        ("mlp", [], "image", "label"),
        ("autoencoder", [], "image", "image"),
        ("mlp", ["dataset.encoder=rate"], "rate", "label"),
    ],
)
def test_images_are_shown_as_the_network_needs_them(
    tiny: Tiny, model: str, overrides: list[str], encoder: str, target: str
) -> None:
    config = tiny(model, "mnist", *overrides)
    assert (config["dataset"]["encoder"], config["dataset"]["target"]) == (encoder, target)
    assert assembly.check(config) == config


def test_spiking_networks_see_spikes_as_before(composed: Callable[..., DictConfig]) -> None:
    for dataset in ("mnist", "fashion_mnist", "cifar10"):
        config = assembly.check(composed(f"dataset={dataset}"))["dataset"]
        assert (config["encoder"], config["target"], config["steps"]) == ("rate", "label", 25)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("mlp", {"hiden": [3]}, r"model\.hiden is no option of model=mlp. Did you mean hidden"),
        ("mlp", {"tau": 2.0}, r"model\.tau is no option of model=mlp"),
        ("convnet", {"kernel": "x"}, r"model\.kernel=x has the wrong type"),
        ("resnet18", {"image": [3, 8, 8]}, r"model\.image is no option"),
    ],
)
def test_a_wrong_key_is_named(tiny: Tiny, model: str, change: dict[str, Any], message: str) -> None:
    config = tiny(model)
    with pytest.raises(ValueError, match=message):
        assembly.check({**config, "model": {**config["model"], **change}})


def test_a_network_of_images_refuses_rows(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="Config group model: the network needs whole images"):
        network_of(tiny("convnet", "rows_mnist"))


def test_rules_by_kind_of_layer(tiny: Tiny) -> None:
    config = tiny("convnet", "mnist", "optim=linbreg", KERNELS, "optim.init_density=0.5")
    network = network_of(config)
    groups = assembly.build_optimizers(config, network)["weights"].param_groups
    assert {name: group["regularizer"] for group in groups for name in group["param_names"]} == {
        **{f"{layer}.weight": "group_kernels" for layer in ("convs.0", "convs.1")},
        **{f"{layer}.weight": "l1" for layer in ("linears.0", "linears.1")},
        **{f"{kind}.{i}.bias": "none" for kind in ("convs", "linears") for i in (0, 1)},
    }
    for entry in weights_of(network):  # whole kernels are there or not, single weights likewise
        alive = (entry.weight != 0).flatten(min(2, entry.weight.ndim - 1))
        whole = bool((alive.any(-1) == alive.all(-1)).all())
        assert whole == (entry.weight.ndim == 4)


def test_active_neurons_are_recorded_in_every_epoch(
    tiny: Tiny, train: Train, tmp_path: Path
) -> None:
    config = tiny("autoencoder", "mnist", "optim.regularizer=group_rows", "optim.init_density=0.5")
    run = RunFolder(tmp_path / "run")
    train(config, run)
    state = load_checkpoint(run.last)["network"]
    for name, size in (("layers.0", 12), ("layers.1", 9), ("layers.2", 784)):
        count = int(rows(run)[-1][f"rows/{name}.weight"])
        assert count == sum(bool(row.any()) for row in state[f"{name}.weight"])
        assert 0 < count < size


def test_an_autoencoder_leaves_digits_to_look_at(tiny: Tiny, train: Train, tmp_path: Path) -> None:
    """Outputs are the best checkpoint's, not the last one's."""
    config = tiny("autoencoder", "mnist", "dataset.noise=0.05", "optim=adam", "optim.lr=0.03")
    run = RunFolder(tmp_path / "run")
    summary = train(config, run)
    assert summary["best_epoch"] < summary["epochs"]
    assert (summary["measure"], summary["higher_is_better"]) == ("mse", False)
    with np.load(run.predictions) as file:
        found = dict(file)
    assert set(found) == {f"test_{name}" for name in ("ids", "inputs", "outputs", "targets")}
    splits = assembly.build_splits(config)
    network = network_of(config)
    network.load_state_dict(load_checkpoint(run.best)["network"])
    frames, targets = next(iter(splits.loader("test", 16).epoch(0)))
    with torch.no_grad():
        outputs = network.eval()(frames)[0]
    assert outputs.any()
    for name, values in (("inputs", frames[0]), ("outputs", outputs), ("targets", targets)):
        array = found[f"test_{name}"]
        assert (array.shape, array.dtype) == ((len(values), 1, 28, 28), np.float16)
        np.testing.assert_allclose(array.reshape(len(values), -1), values, rtol=2e-3, atol=1e-3)
    assert found["test_ids"].tolist() == splits.test.ids[:16].tolist()


def test_a_classification_leaves_classes_alone(tiny: Tiny, train: Train, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert train(tiny("mlp", "mnist", "trainer.epochs=1"), run)["higher_is_better"] is True
    with np.load(run.predictions) as file:
        names = ("ids", "labels", "published", "deployed")
        assert set(file) == {f"{split}_{name}" for split in ("valid", "test") for name in names}


def test_the_published_experiments(composed: Callable[..., DictConfig]) -> None:
    expected = {  # epochs, batch, held out, optimizer, lr, lam, momentum, initial density
        "mnist_mlp_sgd": (100, 128, 1 / 12, "linbreg", 0.1, 0.0, 0.0, 0.01),
        "mnist_mlp_linbreg": (100, 128, 1 / 12, "linbreg", 0.1, 0.1, 0.0, 0.01),
        "mnist_mlp_proxsgd": (100, 128, 1 / 12, "proxsgd", 0.1, 1e-4, None, 0.01),
        "mnist_mlp_momentum": (100, 128, 1 / 12, "linbreg", 0.1, 0.1, 0.9, 0.01),
        "mnist_mlp_adabreg": (100, 128, 1 / 12, "adabreg", 1e-3, 0.1, None, 0.01),
        "mnist_autoencoder": (100, 128, 0.05, "adabreg", 1e-3, 0.07, None, 0.01),
        "fashion_cnn_adam": (100, 128, 0.05, "adam", 1e-3, None, None, 1.0),
        "fashion_cnn_linbreg": (100, 128, 0.05, "linbreg", 0.07, 0.4, 0.0, 0.01),
        "fashion_cnn_groups_adabreg": (100, 128, 0.05, "adabreg", 1e-3, 0.4, None, 0.01),
        "cifar_resnet18_sgd": (100, 128, 0.05, "sgd", 0.1, None, 0.9, 1.0),
        "cifar_resnet18_adabreg": (100, 128, 0.05, "adabreg", 1e-3, 0.1, None, 0.01),
    }
    for name, settings in expected.items():
        config = assembly.check(composed(f"experiment={name}"))
        optim, data = config["optim"], config["dataset"]
        assert settings == (
            config["trainer"]["epochs"], data["batch_size"],
            pytest.approx(data["valid_fraction"], abs=1e-6), optim["name"], optim["lr"],
            optim.get("lam"), optim.get("momentum"), optim["init_density"],
        ), name  # fmt: skip
        plateau = {k: config["scheduler"][k] for k in ("name", "factor", "patience", "threshold")}
        assert plateau == {"name": "plateau", "factor": 0.5, "patience": 5, "threshold": 0.01}


def test_every_experiment_of_the_paper_is_its_own_command() -> None:
    for path in (ROOT / "configs" / "experiment").glob("*.yaml"):
        if path.stem.startswith(("mnist_", "fashion_", "cifar_")):
            assert f"python train.py -m experiment={path.stem} " in path.read_text().splitlines()[1]


# -- mistakes of the published code ---------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_validation_leaves_a_batch_norm_as_it_was(tiny: Tiny, training: bool) -> None:
    config = tiny("resnet18", "cifar10")
    network, splits = network_of(config).train(training), assembly.build_splits(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen: list[tuple[bool, bool]] = []
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    norm.register_forward_hook(lambda m, args, out: seen.append((m.training, out.requires_grad)))
    row = validation_row(network, splits.loader("valid", 3), TASKS["sum_cross_entropy"])
    assert set(seen) == {(False, False)}  # in eval mode, and no graph takes memory
    assert all(module.training == training for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    other = validation_row(network, splits.loader("valid", 5), TASKS["sum_cross_entropy"])
    assert row["val_loss"] == pytest.approx(other["val_loss"])  # batches do not matter


def test_a_network_without_linear_layers_has_a_density() -> None:
    network = nn.Sequential(nn.Unflatten(2, (1, 4, 4)), nn.Flatten(0, 1), nn.Conv2d(1, 3, 4))
    network.extend([nn.Flatten(), nn.Unflatten(0, (1, -1))])
    with torch.no_grad():
        network[2].weight[:2] = 0
    split = FrameSet(torch.ones(6, 1, 16, dtype=torch.uint8), torch.arange(6) % 3)
    row = validation_row(network, FrameLoader(split, 4), TASKS["sum_cross_entropy"])
    assert (row["nonzero"], row["density"]) == (16, 16 / 48)
    assert (row["kernels"], row["kernels/2.weight"]) == (1 / 3, 1)


def test_each_run_has_its_own_seed_whatever_ran_before(
    tiny: Tiny, train: Train, tmp_path: Path
) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("first", "second", "alone")]
    train(tiny("mlp", "mnist", "seed=0"), runs[0])
    train(tiny("mlp", "mnist", "seed=1"), runs[1])
    torch.manual_seed(17)
    train(tiny("mlp", "mnist", "seed=1"), runs[2])
    assert rows(runs[1]) == rows(runs[2]) != rows(runs[0])


def test_what_resnet_sees_is_normalised(tiny: Tiny, cifar_root: Path) -> None:
    mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    config = tiny("resnet18", "cifar10")
    assert (config["dataset"]["mean"], config["dataset"]["std"]) == (mean, std)
    network, splits = network_of(config).eval(), assembly.build_splits(config)
    seen: list[torch.Tensor] = []
    network.stem.conv.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    evaluate(network, splits.loader("test", 100), TASKS["sum_cross_entropy"])
    pixels = np.fromfile(cifar_root / "cifar-10-batches-bin" / "test_batch.bin", np.uint8)
    images = pixels.reshape(10, -1)[:, 1:].reshape(10, 3, 32, 32) / 255
    for colour in range(3):
        expected = (images[:, colour] - mean[colour]) / std[colour]
        torch.testing.assert_close(seen[0][:, colour], torch.from_numpy(expected).float())


def test_half_of_the_kernels_are_half_of_them(tiny: Tiny) -> None:
    """Drawn with replacement, as in the published code, they would be 39 percent."""
    sizes = ["model.channels=[60,60]", "optim.init_density=0.5"]
    network = network_of(tiny("convnet", "mnist", "optim=linbreg", KERNELS, *sizes))
    assert counts(weights_of(network))["kernels/convs.1.weight"] / 3600 == pytest.approx(
        0.5, abs=0.04
    )
