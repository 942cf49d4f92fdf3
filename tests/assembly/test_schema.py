"""Configs: every file composes, every key is a constructor's, mistakes are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from snnbreg import assembly
from snnbreg.assembly.names import REGISTERED

CONFIGS = Path(__file__).parents[2] / "configs"

Compose = Callable[..., DictConfig]


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={name}"
        for group in ("dataset", "model", "optim", "scheduler", "trainer", "logger", "experiment")
        for name in choices(group)
    ],
)
def test_every_config_composes_and_passes_its_schema(composed: Compose, choice: str) -> None:
    assembly.check(composed(choice))


@pytest.mark.parametrize("dataset", choices("dataset"))
def test_the_types_of_a_data_set_are_known_wherever_its_fields_are_written(
    composed: Compose, dataset: str
) -> None:
    config = composed(f"dataset={dataset}")
    numbers = [key for key, value in config.dataset.items() if isinstance(value, float)]
    for key in numbers:
        with pytest.raises(ValueError, match=f"dataset.{key}=many has the wrong type"):
            assembly.check(composed(f"dataset={dataset}", f"dataset.{key}=many"))
    assert numbers or dataset in ("mnist", "fashion_mnist")


def test_every_target_of_a_group_has_a_config() -> None:
    for group, names in REGISTERED.items():
        assert set(names) - {"*"} <= set(choices(group)), group


@pytest.mark.parametrize("dataset", choices("dataset"))
@pytest.mark.parametrize("optim", choices("optim"))
@pytest.mark.parametrize("scheduler", ["onecycle", "none"])
def test_pairs_with_recipes_pass_their_schema(
    composed: Compose, dataset: str, optim: str, scheduler: str
) -> None:
    assembly.check(composed(f"dataset={dataset}", f"optim={optim}", f"scheduler={scheduler}"))


@pytest.mark.parametrize(
    ("experiment", "parameters", "settings"),
    [
        ("shd_adabreg", 173_844, ("shd", 150, 256, 5e-3, "adabreg")),
        ("shd_adabreg_constant", 173_844, ("shd", 150, 256, 2e-4, "adabreg")),
        ("shd_adam", 173_844, ("shd", 150, 256, 5e-3, "adamw")),
        ("ssc_adabreg", 374_819, ("ssc", 100, 128, 1e-3, "adabreg")),
        ("ssc_adabreg_constant", 374_819, ("ssc", 100, 128, 5e-4, "adabreg")),
        ("ssc_adam", 374_819, ("ssc", 100, 128, 1e-3, "adam")),
        ("psmnist_adabreg", 156_154, ("psmnist", 200, 256, 1e-3, "adabreg")),
        ("psmnist_adabreg_constant", 156_154, ("psmnist", 200, 256, 1e-4, "adabreg")),
        ("psmnist_adam", 156_154, ("psmnist", 200, 256, 1e-3, "adamw")),
    ],
)
def test_experiments_are_the_published_ones(
    composed: Compose, experiment: str, parameters: int, settings: tuple[Any, ...]
) -> None:
    config = assembly.check(composed(f"experiment={experiment}"))
    assert settings == (
        config["dataset"]["name"],
        config["trainer"]["epochs"],
        config["dataset"]["batch_size"],
        config["optim"]["lr"],
        config["optim"]["name"],
    )
    channels, classes = {"shd": (140, 20), "ssc": (140, 35), "psmnist": (1, 10)}[settings[0]]
    network = assembly.build_network(config, channels, classes, torch.device("cpu"))
    assert sum(p.numel() for p in network.parameters()) == parameters
    text = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text()
    assert f"python train.py -m experiment={experiment}" in text.splitlines()[1]


def test_the_command_line_wins_over_recipe_and_experiment(composed: Compose) -> None:
    config = assembly.check(composed("experiment=ssc_adam", "optim.lr=0.25", "seed=9"))
    assert config["optim"]["lr"] == 0.25
    assert config["seed"] == 9


def test_no_optimizer_inherits_anothers_learning_rate(composed: Compose) -> None:
    rates = {
        optim: assembly.check(composed("dataset=spoken_digits", f"optim={optim}"))["optim"]["lr"]
        for optim in ("adabreg", "adam", "linbreg", "adamw", "sgd")
    }
    assert rates == {"adabreg": 1e-2, "adam": 2e-3, "linbreg": 3.0, "adamw": 1e-3, "sgd": 1e-1}


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("optim", {"lrr": 1}, "optim.lrr is no option of optim=adabreg. Did you mean lr"),
        ("optim", {"lr": "abc"}, "optim.lr=abc has the wrong type"),
        ("optim", {"name": "adamm"}, "Did you mean optim.name=adam|Valid names: adabreg"),
        ("trainer", {"epochs": 1.5}, "trainer.epochs=1.5 has the wrong type"),
        ("scheduler", {"pct_start": None}, "scheduler.pct_start=None has the wrong type"),
        ("dataset", {"batch_size": "x"}, "dataset.batch_size=x has the wrong type"),
    ],
)
def test_a_wrong_key_or_type_is_named(
    composed: Compose, group: str, change: dict[str, Any], message: str
) -> None:
    cfg = assembly.check(composed())
    cfg[group] |= change
    with pytest.raises(ValueError, match=message):
        assembly.check(cfg)


def test_a_missing_key_is_named(composed: Compose) -> None:
    cfg = assembly.check(composed())
    del cfg["optim"]["lam"]
    with pytest.raises(ValueError, match=r"says nothing about optim\.lam"):
        assembly.check(cfg)


def test_a_key_that_no_longer_exists_may_stand_in_a_saved_config_alone(composed: Compose) -> None:
    cfg = assembly.check(composed("dataset=rows_mnist"))
    old = {**cfg, "dataset": {**cfg["dataset"], "binning": "fixed"}}
    assert assembly.check(old, saved=True) == cfg
    with pytest.raises(ValueError, match=r"dataset\.binning is no option of dataset=rows_mnist"):
        assembly.check(old)
    old["dataset"]["binnings"] = "fixed"
    with pytest.raises(ValueError, match=r"dataset\.binnings is no option"):
        assembly.check(old, saved=True)
    shd = assembly.check(composed("dataset=shd", "dataset.binning=delrec"))
    assert assembly.check(shd, saved=True)["dataset"]["binning"] == "delrec"


def test_a_key_younger_than_a_saved_config_takes_the_constructors_default(
    composed: Compose,
) -> None:
    cfg = assembly.check(composed("dataset.fold=3", "model.tau=5.0"))
    del cfg["dataset"]["fold"], cfg["model"]["tau"]
    saved = assembly.check(cfg, saved=True)
    assert (saved["dataset"]["fold"], saved["model"]["tau"]) == (0, 2.0)
    del cfg["optim"]["init_allocation"]  # building alone knows this key
    assert assembly.check(cfg, saved=True)["optim"]["init_allocation"] == "uniform"
    del saved["optim"]["init_allocation"]
    with pytest.raises(ValueError, match=r"says nothing about optim\.init_allocation"):
        assembly.check(saved)
    del cfg["dataset"]["batch_size"]
    with pytest.raises(ValueError, match=r"says nothing about dataset\.batch_size"):
        assembly.check(cfg, saved=True)


def test_augmentation_is_a_name_or_strengths_by_name(composed: Compose) -> None:
    names = assembly.check(composed("dataset.augment=shift+pace"))
    assert names["dataset"]["augment"] == "shift+pace"
    given = composed("dataset.augment={shift:4,pace:0.2}", "+dataset.augment.lose=0.3")
    augment = assembly.check(given)["dataset"]["augment"]
    assert augment == {"shift": 4, "pace": 0.2, "lose": 0.3}
    assert type(augment) is dict


@pytest.mark.parametrize("dataset", ["spoken_digits", "rows_mnist"])
def test_the_dense_network_beside_the_sparsest_differs_in_its_optimizer_alone(
    composed: Compose, dataset: str
) -> None:
    sparse, dense = (
        assembly.check(composed(f"experiment={dataset}_sparse{end}")) for end in ("", "_adam")
    )
    del sparse["optim"], dense["optim"], sparse["scheduler"]["lam"], dense["scheduler"]["lam"]
    assert sparse == dense
