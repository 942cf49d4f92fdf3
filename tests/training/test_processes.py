"""Two processes that share every batch make the run of one, to rounding."""

from __future__ import annotations

import signal
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from snnbreg.datasets import FrameLoader, FrameSet, SpokenDigits
from snnbreg.models import ResNet, SpikingNetwork
from snnbreg.optim import AdaBreg, sparsify_
from snnbreg.runs import RunFolder
from snnbreg.training import TASKS, GradientSteps, Trainer, summarise
from snnbreg.training.batch_norm import SharedBatchNorm
from snnbreg.training.penalties import rate_bounds, spike_count
from snnbreg.training.processes import (
    LostProcessError,
    Processes,
    _Stop,
    process_group,
    stop_together,
)

EPOCHS = 5
SIZE = 7  # an odd number, in batches of half of them: the last batch has one sample alone


def steps_with_labels() -> tuple[nn.Module, str, torch.Tensor, torch.Tensor, list[Any]]:
    """Two of three labels per step are missing at random, so that shares differ in their weight."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 9, (SIZE, 5, 4), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (SIZE, 5), generator=generator)
    labels[torch.rand(SIZE, 5, generator=generator) < 0.5] = -1
    return nn.Linear(4, 3).double(), "step_cross_entropy", frames, labels, []


def spiking() -> tuple[nn.Module, str, torch.Tensor, torch.Tensor, list[Any]]:
    """Batch norm, dropout before the neurons and in the recurrence, and penalties.

    A bias before batch norm has no gradient, of whose rounding AdaBreg would make steps.
    """
    generator = torch.Generator().manual_seed(2)
    frames = torch.randint(0, 3, (SIZE, 12, 4), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (SIZE,), generator=generator)
    network = SpikingNetwork(
        4, 3, (6, 5), norm="batch", dropout=0.3, recurrent_dropout=0.3, delay_scale=2.0, sigma=2.0,
        weight_init="kaiming", engine="reference", bias=False,
    )  # fmt: skip
    penalties = [rate_bounds(3.0, 0.2, 0.21), spike_count(0.1)]
    return network.double(), "sum_cross_entropy", frames, labels, penalties


def residual() -> tuple[nn.Module, str, torch.Tensor, torch.Tensor, list[Any]]:
    """Batch norm of images."""
    generator = torch.Generator().manual_seed(3)
    frames = torch.randint(0, 9, (SIZE, 1, 16), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (SIZE,), generator=generator)
    return ResNet((1, 4, 4), 3, 4, (1, 1)).double(), "sum_cross_entropy", frames, labels, []


def digits() -> tuple[nn.Module, str, torch.Tensor, torch.Tensor, list[Any]]:
    """Spoken digits, from a sparse start, with batch norm."""
    train = SpokenDigits().load().train
    network = SpikingNetwork(train.frames.shape[2], 10, (32, 32), norm="batch").double()
    sparsify_([weight for _, weight, _ in network.synapses()], 0.1)
    return network, "sum_cross_entropy", train.frames[:41], train.labels[:41], []


CASES: list[Callable[[], Any]] = [steps_with_labels, spiking, residual, digits]


def train(
    case: Callable[[], Any], folder: Path
) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """The state, the history and the summary of a run."""
    torch.manual_seed(0)
    network, task, frames, labels, penalties = case()
    loader = _Doubles(FrameSet(frames, labels), len(frames) // 2, shuffle=True)
    optimizer = AdaBreg(network.parameters(), lr=0.02, lam=0.1)
    method = GradientSteps(
        network, TASKS[task], {"weights": optimizer}, penalties=penalties, grad_clip=1.0
    )
    trainer = Trainer(
        network, TASKS[task], method, loader, loader, RunFolder(folder), {},
        epochs=EPOCHS, select="last", progress=False,
    )  # fmt: skip
    assert trainer.fit() == "completed"
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return state, trainer.history, summarise(trainer, "completed", loader)


class _Doubles(FrameLoader):
    """Frames in float64, so that sums in another order differ by 1e-16 and not by 1e-7."""

    def _time_first(self, counts: torch.Tensor) -> torch.Tensor:
        return counts.transpose(0, 1).double()


def _process(rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    with process_group("gloo", init_method=store, rank=rank, world_size=count):
        group = weakref.ref(dist.group.WORLD)
        found = [train(case, folder / f"{rank}{case.__name__}") for case in CASES]
        processes = Processes()
        others = [_refused(processes), _stopped(processes), _failed(processes)]
    torch.save((found, [*others, group() is None]), folder / f"{rank}.pt")


def _refused(processes: Processes) -> str:
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, 1.0 + processes.rank)
    try:
        processes.check_equal(network)
    except RuntimeError as error:
        return str(error)
    return ""


def _stopped(processes: Processes) -> list[float]:
    """Only the last process is asked to stop; all of them do, once."""
    for together in (lambda: processes.sums(1.0), processes.wait):
        _Stop.asked = processes.rank == processes.count - 1
        with pytest.raises(KeyboardInterrupt):
            together()
    return processes.sums(1.0, processes.rank)


def _failed(processes: Processes) -> tuple[int, str]:
    """What the first process makes, and how all leave when it cannot."""
    made = processes.first(lambda: 7)
    try:
        processes.first(lambda: 1 // 0)
    except BaseException as error:
        return made, type(error).__name__
    return made, ""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[Any], list[Any]]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(_process, (2, folder), nprocs=2)  # type: ignore[no-untyped-call]
    for case in CASES:
        assert (folder / f"0{case.__name__}" / "summary.json").is_file()
        assert not (folder / f"1{case.__name__}").exists()  # rank 0 writes
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_together_train_as_one(
    case: Callable[[], Any], two: list[tuple[list[Any], list[Any]]], tmp_path: Path
) -> None:
    """The second one has no sample in the last batch."""
    state, history, summary = train(case, tmp_path)
    bound = 1e-10 if case is digits else 1e-12
    for rank in range(2):
        found, rows, ended = two[rank][0][CASES.index(case)]
        for name, tensor in state.items():
            torch.testing.assert_close(found[name], tensor, atol=bound, rtol=0)
        for row, expected in zip(rows, history, strict=True):
            for key in expected.keys() - {"seconds"}:
                assert row[key] == pytest.approx(expected[key], abs=bound), key
        assert ended.pop("processes") == 2
        for key in ended.keys() - {"seconds"}:
            assert ended[key] == (
                pytest.approx(summary[key], abs=bound)
                if isinstance(summary[key], float)
                else summary[key]
            )


def test_processes_that_differ_are_refused_and_all_stop_with_one(
    two: list[tuple[list[Any], list[Any]]],
) -> None:
    for rank, (_, (refused, sums, (made, error), gone)) in enumerate(two):
        assert gone  # the group, and with it the threads that could outlive the interpreter
        assert made == 7
        assert error == ("SystemExit" if rank else "ZeroDivisionError")  # one message for all
        assert "no longer have the same weights (sums [" in refused
        assert sums == [2.0, 1.0]


def test_shared_batch_norm_alone_is_torchs() -> None:
    """Gradients, running statistics and evaluation of one process, in float64."""
    torch.manual_seed(0)
    x, g = torch.randn(2, 6, 3, 2, dtype=torch.float64)
    for momentum in (0.1, None):
        torchs = nn.BatchNorm1d(3, momentum=momentum).double()
        nn.init.normal_(torchs.weight)
        ours = SharedBatchNorm(nn.BatchNorm1d(3, momentum=momentum).double(), lambda *x: None)
        ours.load_state_dict(torchs.state_dict())
        results = []
        for norm in (torchs, ours):
            inputs = x.clone().requires_grad_()
            norm(3 * inputs)
            (norm(inputs) * g).sum().backward()
            by_all = [inputs.grad, norm.weight.grad, norm.bias.grad]
            results.append([*by_all, *norm.state_dict().values(), norm.eval()(x)])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_a_lost_process_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(tensor: torch.Tensor) -> None:
        raise RuntimeError("[pair.cc] Connection closed by peer [10.0.0.2]. And more\nto read")

    processes = Processes()
    processes.count = 2
    monkeypatch.setattr(dist, "all_reduce", gone)
    expected = r"does not answer: \[pair.cc\] Connection closed by peer \[10.0.0.2\]$"
    with pytest.raises(LostProcessError, match=expected):
        processes.sums(1.0)


def test_a_first_signal_waits_and_a_late_second_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    clock = iter([100.0, 101.0, 106.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with stop_together():
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            assert _Stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    _Stop.asked = False
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
