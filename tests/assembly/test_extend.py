"""trainer.extend: a run that is trained longer equals one that was longer from the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from snnbreg import assembly
from snnbreg.runs import RunFolder, load_checkpoint
from snnbreg.training import Trainer
from tests_support import SMALL_DIGITS, assert_equal_states

Start = Callable[..., Any]
Train = Callable[..., dict[str, Any]]


@pytest.fixture
def start(composed: Callable[..., DictConfig], train: Train, tmp_path: Path) -> Start:
    """Start or continue a run in a folder as the command line would; returns its folder."""

    def make(name: str, *overrides: str) -> RunFolder:
        run = RunFolder(tmp_path / name)
        config, checkpoint = assembly.settle(
            composed(*SMALL_DIGITS, *overrides), run.path, overrides
        )
        train(config, run, checkpoint)
        return run

    return make


def history(run: RunFolder) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = load_checkpoint(run.last)["history"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize(
    "overrides",
    [
        ("scheduler=onecycle", "scheduler.lam={name: target, density: 0.4}"),
        ("scheduler=cosine", "scheduler.per=step", "optim=linbreg"),
        ("scheduler=plateau", "optim=adam"),
        ("optim=adam", "optim.sparsifier={name: magnitude, method: fine_tune, density: 0.4}"),
    ],
)
def test_an_extended_run_equals_one_that_was_longer_from_the_start(
    start: Start, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start("whole", "trainer.extend=2", *overrides)
    run = start("run", *overrides)
    before = history(run)
    epoch = Trainer._epoch

    def stop(trainer: Trainer, number: int, bar: Any) -> None:
        if number == 4:
            raise KeyboardInterrupt
        epoch(trainer, number, bar)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", stop)
        start("run", "trainer.resume=true", "trainer.extend=2")
    assert (run.read_summary() or {})["status"] == "interrupted"
    assert len(history(run)) == 4
    start("run", "trainer.resume=true")
    assert history(run) == history(whole)
    assert history(run)[:3] == before
    assert_equal_states(load_checkpoint(run.last), load_checkpoint(whole.last))
    best = [load_checkpoint(each.best) for each in (run, whole)]  # maybe of before
    for key in ("epoch", "network"):
        assert_equal_states(best[0][key], best[1][key])
    start("run", "trainer.resume=true", "trainer.extend=2")  # said again, it adds nothing
    assert len(history(run)) == 5


@pytest.mark.parametrize(
    ("schedule", "share", "rates", "of_delays"),
    [
        (["scheduler.per=epoch"], "null", [0.1, 0.1], 0.1),
        (["scheduler.per=step"], "0.5", [0.5, 0.5], 0.5),
        (["scheduler=none"], "null", [1.0, 1.0], 1.0),
        (["scheduler=linear", "scheduler.end=0.003"], "null", [0.3, 0.3], 0.1),
        (
            ["scheduler=exponential", "scheduler.decay=0.5", "scheduler.per=epoch"], "null",
            [1 / 8, 0.1], 0.1,
        ),
    ],
)  # fmt: skip
def test_learning_rates_stay_but_not_below_a_share(
    start: Start, schedule: list[str], share: str, rates: list[float], of_delays: float
) -> None:
    run = start(
        "run", *schedule, "optim.lr=0.01", "optim.delay_lr=0.04", f"trainer.extend_lr={share}",
        "trainer.extend=2", "scheduler.lam={name: linear, per: epoch, start: 0.3, end: 0.0}",
    )  # fmt: skip
    rows = history(run)
    assert [row["lr"] / 0.01 for row in rows[3:]] == pytest.approx(rates)
    assert [row["lam"] for row in rows] == pytest.approx([0.3, 0.2, 0.1, 0.0, 0.0])
    sigma = 2 * 0.95 ** (100 * 2 / 3)  # of the third epoch
    assert [row["sigma"] for row in rows[2:]] == pytest.approx([sigma] * 3)
    group = load_checkpoint(run.last)["optimizers"]["delays"]["param_groups"][0]
    assert group["lr"] / 0.04 == pytest.approx(of_delays)


@pytest.mark.parametrize("sparsifier", [
    "{name: magnitude, method: fine_tune}",
    "{name: magnitude, retrain: 0.4}",
    "{name: iterative, rounds: 1}",
])  # fmt: skip
def test_methods_that_rewind_the_schedule_learn_on_too(start: Start, sparsifier: str) -> None:
    """Their schedules span one or two epochs, and are rewound once; added epochs lie behind."""
    run = start(
        "run", "optim=adam", f"optim.sparsifier={sparsifier}", "trainer.extend=2",
        "scheduler=linear", "scheduler.per=epoch", "optim.lr=0.01", "trainer.extend_lr=0.05",
    )  # fmt: skip
    rows = history(run)
    assert [row["lr"] for row in rows[3:]] == pytest.approx([0.0005] * 2)
    assert [row["sigma"] for row in rows[3:]] == [rows[2]["sigma"]] * 2
    assert [row["kept"] for row in rows[3:]] == [rows[2]["kept"]] * 2


def test_a_run_without_it_ends_with_its_schedule(start: Start) -> None:
    run = start("run", "scheduler=linear")
    group = load_checkpoint(run.last)["optimizers"]["weights"]["param_groups"][0]
    assert group["lr"] == pytest.approx(0.0, abs=1e-12)


def test_a_target_density_is_held(start: Start) -> None:
    run = start(
        "run", "trainer.extend=2", "trainer.extend_lr=1", "optim.lr=0.02",
        "scheduler.lam={name: target, density: 0.25}",
    )  # fmt: skip
    weights = 28 * 12 + 12 * 12 + 12 * 10 + 10 * 10 + 10 * 10
    assert [row["nonzero"] for row in history(run)[3:]] == [round(0.25 * weights)] * 2


@pytest.mark.parametrize("change", ["trainer.epochs=5", "dataset.epochs=5"])
def test_more_epochs_are_refused_with_what_to_say_instead(
    start: Start, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    caplog.set_level("INFO")
    run = start("run")
    with pytest.raises(ValueError, match=r"spans 3 epochs.*2 epochs longer.*trainer\.extend=2"):
        start("run", "trainer.resume=true", change)
    assert "Override" not in caplog.text
    assert len(history(run)) == 3
    assert (run.read_summary() or {})["status"] == "completed"


def test_what_was_added_is_not_taken_back(start: Start) -> None:
    start("run", "trainer.extend=2", "trainer.extend_lr=0.5")
    with pytest.raises(ValueError, match=r"has 5 epochs already.*must be at least 2"):
        start("run", "trainer.resume=true", "trainer.extend=1")
    with pytest.raises(ValueError, match=r"2 epochs with trainer\.extend_lr=0\.5, so that 0\.25"):
        start("run", "trainer.resume=true", "trainer.extend=3", "trainer.extend_lr=0.25")
    run = start("run", "trainer.resume=true", "trainer.extend=3")
    assert len(history(run)) == 6


def test_until_its_new_end_an_extended_run_has_no_summary(
    start: Start, composed: Callable[..., DictConfig]
) -> None:
    """Whoever skips finished runs would skip it, and tables would show old figures."""
    run = start("run")
    for options, there in ((["trainer.grad_clip=1"], True), (["trainer.extend=1"], False)):
        words = ["trainer.resume=true", *options]
        assembly.settle(composed(*SMALL_DIGITS, *words), run.path, words)
        assert run.summary.exists() == there
