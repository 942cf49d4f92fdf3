"""Values out of range are refused by the name of their key, before any data is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from snnbreg import assembly
from snnbreg.assembly.values import check_values
from snnbreg.datasets import SpokenDigits
from tests_support import ROOT, SMALL_DIGITS

Compose = Callable[..., DictConfig]

WRONG = [
    ("dataset.batch_size=0", "dataset.batch_size=0 must be at least 1"),
    ("dataset.limit=0", "dataset.limit=0 must be at least 1, or null"),
    ("dataset.fold=9", "dataset.fold must be 0 to 8"),
    ("dataset.bin_ms=0", "dataset.bin_ms=0.0: bin_ms must be at least 0.001"),
    ("dataset.augment=foo", "dataset.augment must be one of"),
    ("dataset=mnist dataset.encoder=foo", "dataset.encoder must be one of"),
    ("dataset=mnist dataset.valid_fraction=1", "dataset.valid_fraction=1.0 must be between 0"),
    ("dataset=nmnist dataset.duration_ms=1", "dataset.duration_ms=1.0: bin_ms must"),
    ("dataset=ecg dataset.unlabelled=no", "dataset.unlabelled must be published"),
    ("model.dropout=2", "model.dropout=2.0 must be at least 0"),
    ("model.sigma_decay=-1", "model.sigma_decay=-1.0 must be above 0"),
    ("model=mlp model.weight_init=x", "model.weight_init='x' is unknown"),
    ("model=convnet model.kernel=40", "model.kernel=40: "),
    ("optim.delay_lr=-1", "optim.delay_lr=-1.0 must be at least 0"),
    ("optim.lr=-1", "optim.lr=-1.0: Invalid lr"),
    ("optim.init_density=0", "optim.init_density=0.0 must be above 0"),
    ("optim=adam optim.lr=-1", "optim.lr=-1.0: Invalid learning rate"),  # torch's words
    ("optim=adam optim.eps=-1", "optim.eps=-1.0: Invalid epsilon"),
    ("optim.lr=-1 optim.delta=0", "optim.lr=-1.0: Invalid lr"),  # the one it speaks of
    ("optim.regularizer=l3", "optim.regularizer=l3: Invalid regularizer"),
    ("optim.rules=[{pattern:'',lr:-3}]", "optim.rules: Invalid lr: -3"),
    ("optim=adam optim.sparsifier={name:gmp,density:2}", "optim.sparsifier: Invalid density"),
    ("model=lif optim=admm optim.rho=-1", "optim.rho=-1.0"),
    ("scheduler.pct_start=3", "scheduler.pct_start=3.0: Invalid pct_start"),
    ("scheduler.per=week", "scheduler.per=week: Invalid per"),
    ("scheduler.delays={name:foo}", "scheduler.delays: Invalid scheduler"),
    ("scheduler.lam={name:target,density:3}", "scheduler.lam: Invalid density"),
    ("trainer.epochs=0", "trainer.epochs must be at least 1"),
    ("trainer.extend=-1", "trainer.extend must be at least 0"),
    ("trainer.extend_lr=2", "trainer.extend_lr=2.0 must be above 0 and at most 1, or null"),
    ("trainer.select=foo", "trainer.select=foo must be one of"),
    ("trainer.grad_clip=0", "trainer.grad_clip=0.0 must be positive, or null"),
    ("trainer.weight_bits=5", "trainer.weight_bits=5 must be 8, 6, 4 or null"),
    ("trainer.threads=0", "trainer.threads=0 must be at least 1, or null"),
    ("trainer.penalties=[{name:spike_count,weight:-1}]", "trainer.penalties: Invalid weight"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[words for words, _ in WRONG])
def test_a_value_out_of_range_is_named(composed: Compose, words: str, message: str) -> None:
    config = assembly.check(composed(*words.split(" ")))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="^" + message.replace("[", r"\[")):
        check_values(config)
    assert torch.equal(before, torch.get_rng_state())


OPTIMS = sorted(path.stem for path in (ROOT / "configs" / "optim").glob("*.yaml"))
MODELS = sorted(path.stem for path in (ROOT / "configs" / "model").glob("*.yaml"))


@pytest.mark.parametrize("words", [
    *(f"optim={name} model=lif" for name in OPTIMS),
    *(f"model={name}" for name in MODELS),
    "optim=adam optim.sparsifier={name:iterative,rounds:1} scheduler=none",
    "optim=proxadam scheduler.lam={name:target,density:0.1}",
    "optim.regularizer=group_kernels", "optim.regularizer=group_neurons:in+out",
    "scheduler=plateau", "dataset=cifar10 model=resnet18", "trainer.extend=0",
    "experiment=mnist_autoencoder", "experiment=few_bits",
])  # fmt: skip
def test_values_in_range_pass(composed: Compose, words: str) -> None:
    """Whatever shapes the real network has: the one that is tried has others."""
    check_values(assembly.check(composed(*words.split(" "))))


def test_a_run_is_refused_before_its_data_is_read(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: Any) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(SpokenDigits, "load", load)
    words = [*SMALL_DIGITS, "optim.delay_lr=-1"]
    with pytest.raises(ValueError, match=r"optim\.delay_lr=-1"):
        assembly.settle(composed(*words), tmp_path / "run", words)
    assert not (tmp_path / "run").exists()


def test_a_class_of_the_users_own_is_not_made_for_a_trial(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def network(inputs, outputs):\n    raise ValueError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = assembly.check(composed())
    config["model"] = {
        "name": "mine.network", "objective": "sum_cross_entropy", "sigma_decay": 0.95,
    }  # fmt: skip
    check_values(assembly.check(config))


def test_the_config_that_is_shown_is_checked(tmp_path: Path) -> None:
    for words in (["--cfg", "job"], ["--cfg=all"], ["-c", "job", "--resolve", "-p", "optim"]):
        assembly.check_shown([*words, "optim.lr=0.1", "optim=adam", "++optim.lam=3"])
        with pytest.raises(ValueError, match=r"optim\.delay_lr=-1"):
            assembly.check_shown([*words, "optim.delay_lr=-1", "hydra.run.dir=x"])
    assembly.check_shown(["optim.delay_lr=-1"])  # a run says it itself
    assembly.check_shown(["--cfg", "hydra", "optim.delay_lr=-1"])
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("defaults: [adabreg]\neps: -1\n")
    with pytest.raises(ValueError, match=r"optim\.eps=-1"):
        assembly.check_shown(["--config-dir", str(tmp_path), "--cfg", "job", "optim=mine"])
