"""The loop around a method that only counts: rows, files, random numbers, endings."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm

from plain_networks import Batches, Delayed, batches
from snnbreg.runs import RunFolder, load_checkpoint
from snnbreg.training import TASKS, DivergedError, Trainer, trainer
from snnbreg.training.trainer import SELECT, best_row

TASK = TASKS["sum_cross_entropy"]


class Counting:
    """A method that sets one weight to the number of epochs so far and draws a random number."""

    def __init__(self, network: Delayed) -> None:
        self.network, self.drawn, self.value = network, dict[int, float](), 0.0

    def epoch(
        self, number: int, given: Iterable[tuple[Tensor, Tensor]], done: Callable[[], object]
    ) -> dict[str, float]:
        self.drawn[number] = float(torch.rand(()))
        self.network.inward.data[0, 0] = self.value = number + 1.0
        for _ in given:
            done()
        return {"train_loss": 0.25, "train_acc": 0.5, "grad_norm": 1.0, "lr": 0.1, "lam": 0.0}

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None:
        if "value" not in state:
            raise ValueError(f"{source} has no value")
        self.value = state["value"]


class Notes:
    """A logger."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log_epoch(self, row: Mapping[str, Any], network: nn.Module) -> None:
        assert isinstance(network, Delayed)
        self.rows.append(dict(row))

    def finish(self, summary: Mapping[str, Any] | None) -> None: ...


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Trainer]:
    def make(folder: str = "run", **options: Any) -> Trainer:
        network = Delayed()
        options = {"epochs": 3, **options}
        return Trainer(
            network, TASK, Counting(network), batches([2, 2]), batches([3]),
            RunFolder(tmp_path / folder), {"a": 1}, **options,
        )  # fmt: skip

    return make


def drawn(trainer: Trainer) -> list[float]:
    assert isinstance(trainer.method, Counting)
    return list(trainer.method.drawn.values())


def test_every_epoch_has_its_batches_its_row_and_its_checkpoint(
    make: Callable[..., Trainer],
) -> None:
    notes = Notes()
    one = make(loggers=[notes], sizes=(3, 2))
    assert one.fit() == "completed"
    assert isinstance(one.train, Batches)
    assert one.train.asked == [0, 1, 2]
    assert notes.rows == one.history
    assert [row["epoch"] for row in one.history] == [1, 2, 3]
    assert list(one.history[0])[:3] == ["epoch", "train_loss", "train_acc"]
    assert {"val_loss", "deployed_val_acc", "density", "born"} <= set(one.history[0])
    assert all(0 <= row["seconds"] < 60 for row in one.history)
    assert all(row["seconds"] == round(row["seconds"], 3) for row in one.history)
    last, initial = load_checkpoint(one.run.last), load_checkpoint(one.run.initial)
    assert set(last) == {
        "value", "epoch", "network", "history", "ever_alive", "config", "sizes"
    }  # fmt: skip
    assert (last["epoch"], last["value"], last["config"], last["sizes"]) == (
        3,
        3.0,
        {"a": 1},
        (3, 2),
    )
    assert float(last["network"]["inward"][0, 0]) == 3.0
    assert (initial["epoch"], initial["history"], initial["value"]) == (0, [], 0.0)
    assert float(initial["network"]["inward"][0, 0]) != 3.0
    assert list(last["ever_alive"]) == ["in", "out"]
    metrics = one.run.read_metrics()
    assert metrics is not None
    assert metrics["epoch"] == [1, 2, 3]


def test_the_best_checkpoint_is_that_of_the_best_row(make: Callable[..., Trainer]) -> None:
    one = make()
    values = {1: 0.5, 2: 0.75, 3: 0.25}
    record = one._record
    one._record = lambda row: record({**row, "val_acc": values[row["epoch"]]})  # type: ignore[method-assign]
    one.fit()
    best = load_checkpoint(one.run.best)
    assert (best["epoch"], float(best["network"]["inward"][0, 0])) == (2, 2.0)
    assert one.best is one.history[1]


def test_best_is_the_last_of_equals(make: Callable[..., Trainer]) -> None:
    history = [
        {"epoch": n, "val_acc": a, "deployed_val_acc": d, "val_mse": a, "deployed_val_mse": d}
        for n, a, d in [(1, 0.5, 0.9), (2, 0.7, 0.1), (3, 0.7, 0.2), (4, 0.6, 0.3)]
    ]
    for task, epochs in (
        (TASK, {"published": 3, "deployed": 1, "last": 4}),
        (TASKS["mean_squared_error"], {"published": 1, "deployed": 2, "last": 4}),
    ):
        found = {select: best_row(history, select, task) for select in SELECT}
        assert {select: row and row["epoch"] for select, row in found.items()} == epochs
    one = make(select="deployed")
    assert one.best is None
    one.history = history
    assert one.best is history[0]


def test_random_numbers_are_those_of_seed_and_epoch(make: Callable[..., Trainer]) -> None:
    first, same, other = make(), make("same"), make("other", seed=1)
    first.fit()
    torch.rand(5)
    same.fit()
    other.fit()
    assert drawn(first) == drawn(same)
    assert len({*drawn(first), *drawn(other)}) == 6
    torch.manual_seed((1 << 20) + 3)
    assert drawn(other)[2] == float(torch.rand(()))


def test_a_run_goes_on_where_it_stopped(make: Callable[..., Trainer]) -> None:
    whole, first, second = make("whole"), make("run", epochs=2), make("run")
    whole.fit()
    first.fit()
    first.run.initial.unlink()
    first.run.best.unlink()
    state = load_checkpoint(first.run.last)
    second.load_state_dict(state)
    assert isinstance(second.method, Counting)
    assert (second.method.value, len(second.history)) == (2.0, 2)
    assert second.history[0] is not state["history"][0]
    assert second.fit() == "completed"
    assert drawn(second) == drawn(whole)[2:]
    without = [{k: v for k, v in row.items() if k != "seconds"} for row in second.history]
    assert without == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert not second.run.initial.exists()  # it is written before the first epoch only


@pytest.mark.parametrize("old", [True, False])
def test_a_continued_run_knows_which_weights_were_ever_alive(
    make: Callable[..., Trainer], old: bool
) -> None:
    """Of 4 x 3 weights 9 vanished before the checkpoint; an old one does not say so."""
    one = make(epochs=1)
    state = one.state_dict()
    state["network"]["inward"][1:] = 0
    again = make(epochs=1)
    again.load_state_dict({k: v for k, v in state.items() if not (old and k == "ever_alive")})
    again.fit()
    assert again.history[0]["ever_alive"] == (3 if old else 12) + 8


@pytest.mark.parametrize("better", [True, False])
def test_a_continued_run_whose_last_epoch_is_the_best_has_it_as_best(
    make: Callable[..., Trainer], better: bool
) -> None:
    first = make()
    first.fit()
    first.run.best.unlink()
    state = load_checkpoint(first.run.last)
    state["history"][-1]["val_acc"] = 1.0 if better else -1.0
    again = make()
    again.load_state_dict(state)
    again.run.metrics.unlink()
    assert again.fit() == "completed"
    assert again.run.best.exists() == better
    metrics = again.run.read_metrics()
    assert metrics is not None
    assert metrics["epoch"] == [1, 2, 3]
    assert drawn(again) == []


def test_a_state_of_another_network_or_method_is_refused(make: Callable[..., Trainer]) -> None:
    one = make()
    state = one.state_dict()
    with pytest.raises(ValueError, match="the checkpoint belongs to another network"):
        one.load_state_dict({**state, "network": {}})
    with pytest.raises(ValueError, match=r"a\.pt has no value"):
        one.load_state_dict({k: v for k, v in state.items() if k != "value"}, "a.pt")
    one.load_state_dict({k: v for k, v in state.items() if k != "ever_alive"})  # an old one


def test_a_process_that_does_not_write_leaves_no_file(make: Callable[..., Trainer]) -> None:
    notes = Notes()
    one = make(loggers=[notes])
    one.processes.writes = False
    assert one.fit() == "completed"
    assert len(one.history) == 3
    assert not one.run.path.exists()
    assert notes.rows == []


@pytest.mark.parametrize(
    ("error", "status", "level", "message"),
    [
        (DivergedError("too large"), "diverged", "ERROR", "too large"),
        (
            KeyboardInterrupt(), "interrupted", "WARNING",
            "Interrupted after 1 of 3 epochs. Continue with:\n"
            "  hydra.run.dir={} trainer.resume=true",
        ),
    ],
)  # fmt: skip
def test_a_run_that_ends_early_says_how(
    make: Callable[..., Trainer],
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    status: str,
    level: str,
    message: str,
) -> None:
    one = make()
    epoch = one._epoch

    def stop(number: int, bar: Any) -> None:
        if number == 1:
            raise error
        epoch(number, bar)

    one._epoch = stop  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        assert one.fit() == status
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, message.format(one.run.path))
    assert load_checkpoint(one.run.last)["epoch"] == 1


def test_a_validation_loss_that_is_no_number_ends_the_run(make: Callable[..., Trainer]) -> None:
    one = make()
    one.valid.batches[0][0][:] = math.nan  # type: ignore[attr-defined]
    assert one.fit() == "diverged"
    assert one.history == []


def test_every_epoch_is_told(
    make: Callable[..., Trainer],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bars: list[Any] = []

    class Bar(trainer.tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.options, self.told = options, list[str]()
            bars.append(self)

        def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
            self.told.append(str(desc))

        def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
            self.told.append(s)

    monkeypatch.setattr(trainer, "tqdm", Bar)
    one = make(epochs=10)
    first = make("first", epochs=2)
    first.fit()
    one.load_state_dict(first.state_dict())
    with caplog.at_level(logging.INFO):
        one.fit()
    bar, row = bars[1], one.history[2]
    assert {name: bar.options[name] for name in ("total", "initial", "disable")} == {
        "total": 20, "initial": 4, "disable": True,
    }  # fmt: skip
    assert bar.told[:2] == [
        "epoch 3/10",
        f"loss 0.250 val {row['val_acc']:.3f} density {row['density']:.3f}",
    ]
    assert caplog.records[0].getMessage() == (
        f"epoch  3/10  loss 0.2500  acc 0.500  val {row['val_acc']:.3f}  deployed "
        f"{row['deployed_val_acc']:.3f}  density {row['density']:.3f}  {row['seconds']:.1f} s"
    )


@pytest.mark.parametrize(("done", "percent"), [(3, "  8%"), (20, " 50%")])
def test_the_bar_says_of_what_its_percentage_is(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, done: int, percent: str
) -> None:
    formats: list[str] = []

    def bar(**options: Any) -> None:
        formats.append(options["bar_format"])
        raise InterruptedError

    monkeypatch.setattr(trainer, "tqdm", bar)
    with pytest.raises(InterruptedError):
        make().fit()
    meter = tqdm.format_meter(
        done, 40, 5.0, prefix="epoch 2/10: ", unit="batch", postfix="loss 1", bar_format=formats[0]
    )
    assert meter.startswith(f"epoch 2/10: whole run {percent}|")
    assert f"| {done}/40 [00:05<" in meter
    assert meter.endswith(", loss 1]")


def test_where_something_else_says_how_to_go_on_the_run_does_not(
    make: Callable[..., Trainer], caplog: pytest.LogCaptureFixture
) -> None:
    one = make()
    one.again = ""
    one._epoch = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    assert one.fit() == "interrupted"
    assert caplog.messages == ["Interrupted after 0 of 3 epochs"]


def test_epochs_may_be_added(make: Callable[..., Trainer]) -> None:
    one = make(epochs=2, extend=1)
    one.fit()
    assert [row["epoch"] for row in one.history] == [1, 2, 3]
    assert make(epochs=2, extend=0).epochs == make(epochs=2).epochs == 2


def test_seconds_are_those_of_the_epoch_to_milliseconds(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, times = make(epochs=1), iter([10.0, 11.23456])
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr(one, "_report", lambda row, bar: None)
    one._epoch(0, MagicMock())
    assert one.history[0]["seconds"] == 1.235


@pytest.mark.parametrize(("progress", "terminal"), [(True, True), (True, False), (False, True)])
def test_the_bar_shows_in_a_terminal(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, progress: bool, terminal: bool
) -> None:
    def bar(**options: Any) -> None:
        assert options["disable"] == (not (progress and terminal))
        raise InterruptedError

    monkeypatch.setattr(trainer, "tqdm", bar)
    monkeypatch.setattr(trainer.sys.stderr, "isatty", lambda: terminal, raising=False)
    with pytest.raises(InterruptedError):
        make(progress=progress).fit()


def test_settings_that_cannot_be_are_refused(make: Callable[..., Trainer]) -> None:
    with pytest.raises(ValueError, match=r"trainer\.epochs must be at least 1, not 0"):
        make(epochs=0)
    assert make(epochs=1).fit() == "completed"
    with pytest.raises(ValueError, match=r"trainer\.extend must be at least 0, or null, not -1"):
        make(extend=-1)
    with pytest.raises(ValueError, match="select=best must be one of published, deployed, last"):
        make(select="best")
    defaults = make()
    assert (defaults.seed, defaults.select, defaults.progress) == (0, "published", True)
    assert (defaults.sizes, defaults.loggers) == ((), [])
