"""The groups ``debug``, ``hparams_search`` and ``local``: what they set and what wins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig, OmegaConf

from snnbreg import assembly
from tests_support import COARSE, ROOT

Compose = Callable[..., DictConfig]


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))


def test_without_these_groups_a_run_has_the_name_it_had(composed: Compose) -> None:
    config = assembly.check(composed())
    assert set(config) == {
        "dataset", "model", "optim", "scheduler", "trainer", "logger", "seed", "device",
    }  # fmt: skip


def test_debug_is_one_batch_of_one_epoch(composed: Compose) -> None:
    config = assembly.check(composed("debug=default", "dataset=shd"))
    assert (config["dataset"]["limit"], config["trainer"]["epochs"]) == (256, 1)
    typed = ["debug=default", "logger=wandb", "dataset.batch_size=8", "trainer.epochs=2"]
    config = assembly.check(composed(*typed))
    assert (config["dataset"]["limit"], config["trainer"]["epochs"]) == (8, 2)
    assert config["logger"]["name"] == "wandb"


def test_debug_names_the_operation_whose_gradient_is_not_a_number() -> None:
    assert not torch.is_anomaly_enabled()
    try:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            cfg = compose("config", ["debug=default"], return_hydra_config=True)
        (target,) = {entry["_target_"] for entry in cfg.hydra.callbacks.values()} - {
            "snnbreg.assembly.cli.FailedJobs"
        }
        module, _, name = target.rpartition(".")
        callback = getattr(sys.modules[module], name)()
        callback.on_job_start(config=cfg)
        x = torch.zeros(1, requires_grad=True)
        with pytest.warns(UserWarning, match="SqrtBackward0"), pytest.raises(RuntimeError):
            (x.sqrt() * 0).backward()
    finally:
        torch.autograd.set_detect_anomaly(False)


@pytest.mark.parametrize("name", names("hparams_search"))
def test_every_search_is_a_sweep_whose_jobs_compose(composed: Compose, name: str) -> None:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("config", [f"hparams_search={name}"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    typed = [f"{key}={value}" for key, value in cfg.hydra.sweeper.params.items()]  # as Hydra does
    jobs = jobs_of([*typed, "seed=7"])
    assert len(jobs) > 1
    folders = set()
    for job in jobs:
        config = assembly.check(composed(*job))
        assert config["seed"] == 7
        folders.add(assembly.run_name(config, job))
    assert len(folders) == len(jobs)


def jobs_of(overrides: list[str]) -> list[list[str]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return jobs


def test_a_machines_own_settings_come_before_the_command_line(tmp_path: Path) -> None:
    own = tmp_path / "own" / "local"
    (own / "dataset").mkdir(parents=True)
    head = "# @package _global_\n"
    (own / "default.yaml").write_text(head + "device: cpu\ndataset: {cache: here, limit: 7}\n")
    (own / "dataset" / "shd.yaml").write_text(head + "dataset: {root: heidelberg}\n")

    def said(*overrides: str) -> DictConfig:
        done = subprocess.run(
            [sys.executable, "-m", "snnbreg", "train", f"--config-dir={own.parent}", *overrides,
             "--cfg", "job"],
            capture_output=True, text=True, cwd=tmp_path, env={**os.environ},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        config = OmegaConf.create(done.stdout)
        assert isinstance(config, DictConfig)
        return config

    config = said(*COARSE, "dataset.limit=8")
    assert (config.device, config.dataset.cache, config.dataset.limit) == ("cpu", "here", 8)
    assert config.dataset.root is None
    assert said("experiment=shd_adam").dataset.root == "heidelberg"
