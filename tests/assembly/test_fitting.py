"""``snnbreg.fit``: the run that the command line makes of the same data, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import snnbreg
from snnbreg import assembly
from snnbreg.analysis import report_tables
from snnbreg.assembly.resume import write_yaml
from snnbreg.commands.evaluate import evaluate_run
from snnbreg.datasets.loader import permutation
from snnbreg.optim import AdaBreg, LinBreg
from snnbreg.runs import FolderInUseError, RunFolder
from snnbreg.training import Trainer
from tests_support import assert_equal_states


def samples(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with more events in some channels, by class; (count, 6, 5) of three classes."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 3
    rates = 0.3 + np.eye(3, 5)[labels]
    return rng.poisson(np.repeat(rates[:, None], 6, 1)), labels


class Plain(nn.Module):
    """A network without spikes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(5, 3)

    def forward(self, frames: Tensor) -> Tensor:
        return self.layer(frames)


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Any]:
    def run(network: nn.Module, **options: Any) -> Any:
        frames, labels = samples(30)
        given = {"epochs": 3, "batch_size": 8, "folder": tmp_path / "run", "progress": False}
        return snnbreg.fit(network, frames, labels, **{**given, **options})

    return run


def write_files(root: Path) -> Path:
    root.mkdir()
    for seed, (split, count) in enumerate((("train", 30), ("valid", 9), ("test", 12))):
        frames, labels = samples(count, seed)
        np.savez(root / f"{split}.npz", frames=frames, labels=labels)
    return root


OWN = [
    "dataset=own", "dataset.batch_size=8", "dataset.limit=null", "scheduler.per=step",
    "scheduler.lam=null", "optim.lr=0.01", "optim.lam=0.1", "model.engine=reference",
]  # fmt: skip


def test_it_is_the_run_of_the_command_line(
    small: Callable[..., dict[str, Any]], train: Callable[..., Any], tmp_path: Path
) -> None:
    """Of the files of these arrays, with the same initial weights; a report shows both."""
    config = small(*OWN, f"dataset.root={write_files(tmp_path / 'files')}")
    folder = RunFolder(tmp_path / "runs" / "line")
    write_yaml(folder.config, config)
    train(config, folder)
    network = assembly.build_network(config, 5, 3, torch.device("cpu"))
    place = tmp_path / "runs" / "fit"
    run = snnbreg.fit(
        network, *samples(30), valid=samples(9, 1), test=samples(12, 2),
        epochs=3, batch_size=8, folder=place, progress=False,
    )  # fmt: skip
    line = snnbreg.load_run(folder.path)
    for ours, theirs in ((run.history, line.history), (run.summary, line.summary)):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    for name, values in line.predictions().items():
        assert (run.predictions()[name] == values).all(), name
    assert run.network is network
    assert_equal_states(run.checkpoint()["network"], line.checkpoint()["network"])
    assert_equal_states(dict(network.state_dict()), run.checkpoint()["network"])
    (table,) = report_tables(tmp_path / "runs", ["table2"])
    assert {row[0] for row in table.rows} == {"own_files", "own_arrays"}
    assert "aper" not in table.to_markdown()


def test_torchs_optimizer_and_schedule_are_a_literal_loop(fit: Callable[..., Any]) -> None:
    def parts(network: nn.Module) -> tuple[Any, Any]:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=9)

    network, oracle = Plain(), Plain()
    optimizer, scheduler = parts(network)
    run = fit(network, optimizer=optimizer, scheduler=scheduler, select="last")
    optimizer, scheduler = parts(oracle)
    frames, labels = (torch.from_numpy(a) for a in samples(30))
    held = set(permutation(30, 0)[:6].tolist())
    kept = torch.tensor([i for i in range(30) if i not in held])
    lrs = []
    for epoch in range(3):
        lrs.append(optimizer.param_groups[0]["lr"])
        order = kept[permutation(24, 0, epoch, 0)]
        for batch in order.split(8):
            optimizer.zero_grad()
            sums = oracle(frames[batch].transpose(0, 1).float()).sum(0)
            nn.functional.cross_entropy(sums, labels[batch]).backward()
            optimizer.step()
            scheduler.step()
    assert run.history["lr"] == lrs
    assert torch.allclose(network.layer.weight, oracle.layer.weight, rtol=1e-5)
    assert run.summary["test_acc"] is None
    assert run.config["optim"]["momentum"] == 0.9
    assert run.config["scheduler"] == {"name": "OneCycleLR"}


@pytest.mark.parametrize("own", [True, False])
def test_a_run_that_was_stopped_goes_on(
    fit: Callable[..., Any], small: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, own: bool,
) -> None:  # fmt: skip
    config = small(*OWN, "dataset.root=none", "model.hidden=[6]")

    def call(network: nn.Module | None = None, **options: Any) -> Any:
        network = network or assembly.build_network(config, 5, 3, torch.device("cpu"))
        if own:
            optimizer = LinBreg(network.parameters(), lr=0.1, lam=0.1)
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
            options |= {"optimizer": optimizer, "scheduler": cosine}
        return fit(network, **options)

    whole = call(folder=tmp_path / "whole")
    record = Trainer._record

    def stop(self: Trainer, row: dict[str, Any]) -> None:
        record(self, row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_record", stop)
        network = assembly.build_network(config, 5, 3, torch.device("cpu"))
        with pytest.raises(KeyboardInterrupt):
            call(network)
    assert snnbreg.load_run(tmp_path / "run").status == "interrupted"
    with pytest.raises(ValueError, match="continue it with resume=True"):
        call()
    with pytest.raises(ValueError, match=r"is a run of 3 epochs, not 5: continue it with epochs=3"):
        call(resume=True, epochs=5)
    with pytest.raises(ValueError, match=r"holds another run: dataset\.sha256"):
        call(resume=True, test=samples(3))
    with pytest.raises(ValueError, match="started with select=published"):
        call(resume=True, select="last")
    for parameter in network.parameters():
        parameter.data.add_(1.0)
    assert network.sigma < config["model"]["sigma"]
    run = call(network, resume=True)
    for column in run.history.keys() - {"seconds"}:
        assert run.history[column] == whole.history[column], column
    with pytest.raises(ValueError, match=r"holds a finished run.*snnbreg\.load_run"):
        call(resume=True)


def test_it_says_what_cannot_be(fit: Callable[..., Any], tmp_path: Path) -> None:
    frames, labels = samples(30)
    network = Plain()
    other = torch.optim.SGD(Plain().parameters(), lr=0.1)
    mine = torch.optim.SGD(network.parameters(), lr=0.1)
    short = torch.optim.lr_scheduler.OneCycleLR(mine, 0.1, total_steps=5)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": other}, "parameters that are not the network's"),
        ({"optimizer": torch.optim.SGD([network.layer.bias], lr=0.1)}, "lacks weights .*layer.wei"),
        ({"optimizer": mine, "scheduler": short}, "made for 5 steps, but the run has 9 batches"),
        ({"scheduler": short}, "moves another optimizer"),
        ({"scheduler": "onecircle"}, "Invalid scheduler: 'onecircle'"),
        ({"scheduler": 3}, "scheduler must be one of"),
        ({"task": "mean_squared_error"}, "task=mean_squared_error is no option of snnbreg.fit"),
        ({"valid": 1.0}, r"valid=1.0 holds out 30 of 30"),
        ({"valid": (frames[:, :4], labels)}, r"valid has samples of \(4, 5\)"),
        ({"test": frames}, "test must be a pair of frames and labels"),
        (
            {"test": (frames, labels + 1)},
            "3 outputs, but there is the label 3: it needs at least 4",
        ),
        ({"class_names": ["a", "b"]}, "has 3 outputs, but there are 2 names"),
        ({"select": "none"}, "trainer.select=none must be one of"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            fit(network, **options)
    for bad, message in (
        (nn.Linear(4, 3), r"cannot take frames \(T, B, C\) = \(6, 2, 5\)"),
        (nn.Sequential(nn.Linear(5, 3), nn.Flatten()), r"\(T, B, K\) of outputs .*not to \(6, 6\)"),
        (nn.Identity(), "no weight matrix to train"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(bad)
    with pytest.raises(ValueError, match=r"fit: labels must be \(30,\)"):
        snnbreg.fit(network, frames, labels[:5])
    assert not (tmp_path / "run").exists()  # nothing was begun
    with RunFolder(tmp_path / "run").locked(), pytest.raises(FolderInUseError, match="give fit"):
        fit(network)


class Noting(Plain):
    """Notes in which mode it was called."""

    def forward(self, frames: Tensor) -> Tensor:
        self.modes = [*getattr(self, "modes", []), self.training]
        torch.rand(())
        return super().forward(frames)


@pytest.mark.parametrize(
    ("lam", "scheduler", "warns"),
    [
        (0.04, None, False),  # nine steps of 0.01 move v by 0.09
        (0.06, None, True),
        (0.04, "cosine", True),  # half as far
        (0.06, {"name": "target", "field": "lam", "density": 0.5}, True),
        (0.06, "torch", False),  # nobody knows
    ],
)
def test_a_lambda_out_of_reach_is_named(
    lam: float,
    scheduler: Any,
    warns: bool,
    fit: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = Plain()
    optimizer = AdaBreg(network.parameters(), lr=0.01, lam=lam)
    if scheduler == "torch":
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1.0)
    fit(network, optimizer=optimizer, scheduler=scheduler)
    assert ("is out of reach" in caplog.text) == warns


def test_a_network_is_tried_out_without_a_trace(fit: Callable[..., Any]) -> None:
    network, before = Noting(), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"trainer\.select=none"):
        fit(network, select="none")
    assert network.modes == [False]
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


def test_its_folder_is_read_but_not_evaluated(fit: Callable[..., Any], tmp_path: Path) -> None:
    network = Plain()
    run = fit(network, name="my data", scheduler=["cosine"])
    assert snnbreg.load_run(run.path).dataset == "own_my_data"
    assert run.config["scheduler"] == {"name": "cosine"}
    for ask in (
        lambda: evaluate_run(str(run.path), []),
        lambda: snnbreg.load_run(run.path).network,
    ):
        with pytest.raises(ValueError, match=r"made by snnbreg\.fit.*load_state_dict"):
            ask()


def test_a_class_at_every_step(tmp_path: Path) -> None:
    frames, labels = samples(30)
    steps = np.repeat(labels[:, None], 6, 1)
    steps[:, 0] = -1
    run = snnbreg.fit(
        Plain(), torch.from_numpy(frames), steps, epochs=1, folder=tmp_path, progress=False
    )
    assert run.config["model"]["objective"] == "step_cross_entropy"
    assert run.predictions()["valid_published"].shape == (6, 6)
