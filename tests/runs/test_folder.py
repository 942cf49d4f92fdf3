"""Files of a run survive failures; damaged ones are named."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import nn

from snnbreg.runs import (
    FolderInUseError,
    RunFolder,
    load_checkpoint,
    load_network,
    uninterrupted,
    write_atomically,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full_disk(file: BinaryIO) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="free some space"):
        write_atomically(path, full_disk)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writing fails in the middle."""
    resource = pytest.importorskip("resource")
    run = RunFolder(tmp_path)
    state = {"epoch": 1, "network": {"w": torch.zeros(100)}, "config": {}}
    run.save(run.last, state)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(OSError, match="free some space"):
            run.save(run.last, {**state, "epoch": 2, "network": {"w": torch.zeros(10_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(run.last)["epoch"] == 1
    assert list(run.last.parent.iterdir()) == [run.last]


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_truncated_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.pt"
    state = {"epoch": 1, "network": {"w": torch.zeros(100)}, "config": {}}
    RunFolder(tmp_path).save(path, state)
    assert load_checkpoint(path)["epoch"] == 1
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        load_checkpoint(path)


def test_a_missing_or_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_checkpoint(tmp_path / "last.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no checkpoint of snnbreg"):
        load_checkpoint(tmp_path / "other.pt")


def test_another_network_is_refused_before_anything_is_loaded() -> None:
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    with pytest.raises(ValueError, match=r"weight is \(2, 4\), the network's \(2, 3\)"):
        load_network(network, nn.Linear(4, 2).state_dict(), "best.pt")
    with pytest.raises(ValueError, match="bias is missing"):
        load_network(network, {"weight": torch.zeros(2, 3)}, "best.pt")
    assert torch.equal(network.weight, before)


def test_metrics_and_summary_are_read_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new" / "folder")
    run.write_metrics([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert run.metrics.read_text().split() == ["epoch,loss", "1,0.5", "2,0.25"]
    run.write_metrics([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "rate": 0.1}])
    assert run.metrics.read_text().split() == ["epoch,loss,rate", "1,0.5,", "2,0.25,0.1"]
    assert run.read_summary() is None
    assert not run.finished()
    run.write_summary({"status": "diverged", "test_acc": float("nan")})
    assert run.read_summary() == {"status": "diverged", "test_acc": None}
    assert run.finished()


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new" / "run")
    with run.locked():
        assert run.in_use()
        other = RunFolder(run.path)
        with (
            pytest.raises(FolderInUseError, match=r"Another process.*hydra\.run\.dir"),
            other.locked(),
        ):
            pass
    assert not run.in_use()
    with pytest.raises(KeyError), run.locked():
        raise KeyError
    assert not run.in_use()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_the_end_of_a_block(number: signal.Signals) -> None:
    caught = []
    before = signal.signal(number, lambda *_: caught.append("handled"))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            caught.append("block")
        assert caught == ["block", "handled"]
        signal.raise_signal(number)  # the handler is back
        assert caught == ["block", "handled", "handled"]
    finally:
        signal.signal(number, before)


def test_blocks_in_other_threads_are_left_alone() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def state(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "network": {}, "config": {}, "history": []}


@pytest.mark.parametrize(("last", "best", "found"), [
    (None, None, None), (2, None, 2), (None, 1, 1), (2, 1, 2), (2, 2, 2), (2, 3, 3),
])  # fmt: skip
def test_the_later_checkpoint_is_continued(
    tmp_path: Path, last: int | None, best: int | None, found: int | None
) -> None:
    run = RunFolder(tmp_path)
    for path, epoch in ((run.last, last), (run.best, best)):
        if epoch is not None:
            run.save(path, state(epoch))
    latest = run.latest()
    assert (latest and latest["epoch"]) == found
    assert run.last.is_file() == (found is not None)
    if found is not None:
        assert load_checkpoint(run.last)["epoch"] == found


def test_a_damaged_best_checkpoint_does_not_stop_a_run_with_a_last_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save(run.last, state(2))
    run.best.write_bytes(b"no checkpoint")
    assert (run.latest() or {})["epoch"] == 2
    run.last.unlink()
    with pytest.raises(ValueError, match="damaged"):
        run.latest()


def test_a_job_of_a_sweep_waits_for_the_folder(tmp_path: Path) -> None:
    order, tried = [], threading.Event()

    def second() -> None:
        tried.set()
        with RunFolder(tmp_path / "run").locked(wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with (
        RunFolder(tmp_path / "run").locked(wait=True),
        RunFolder(tmp_path / "other").locked(wait=True),
    ):
        thread.start()
        tried.wait()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
