"""Two processes that share every batch make the run of one, to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from snnbreg.datasets import FrameLoader, FrameSet
from snnbreg.optim import AdaBreg
from snnbreg.runs import RunFolder
from snnbreg.training import TASKS, GradientSteps, Trainer

EPOCHS = 3


def train(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """A small network on 7 samples in batches of 3: the last batch has one sample alone."""
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 3).double()
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 9, (7, 5, 4), dtype=torch.uint8, generator=generator)
    # Two of three labels per step are missing at random, so that shares differ in their weight.
    labels = torch.randint(0, 3, (7, 5), generator=generator)
    labels[torch.rand(7, 5, generator=generator) < 0.5] = -1
    loader = _Doubles(FrameSet(frames, labels), 3, shuffle=True)
    optimizer = AdaBreg(network.parameters(), lr=0.02, lam=0.1)
    method = GradientSteps(network, TASKS["step_cross_entropy"], {"weights": optimizer})
    trainer = Trainer(
        network, TASKS["step_cross_entropy"], method, loader, loader, RunFolder(folder), {},
        epochs=EPOCHS, progress=False,
    )  # fmt: skip
    assert trainer.fit() == "completed"
    return network.state_dict(), trainer.history


class _Doubles(FrameLoader):
    """Frames in float64, so that sums in another order differ by 1e-16 and not by 1e-7."""

    def _time_first(self, counts: torch.Tensor) -> torch.Tensor:
        return counts.transpose(0, 1).double()


def _process(rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
    torch.save(train(folder / str(rank)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_together_train_as_one(tmp_path: Path) -> None:
    """The second one has no sample in the last batch."""
    state, history = train(tmp_path / "one")
    mp.spawn(_process, (2, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
    for rank in range(2):
        found, rows = torch.load(tmp_path / f"{rank}.pt")
        for name, tensor in state.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-12, rtol=0)
        for row, expected in zip(rows, history, strict=True):
            for key in ("train_loss", "train_acc", "grad_norm", "val_loss", "val_acc", "density"):
                assert row[key] == pytest.approx(expected[key], abs=1e-12)
    assert (tmp_path / "0" / "metrics.csv").is_file()
    assert not (tmp_path / "1").exists()  # rank 0 writes
