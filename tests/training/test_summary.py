"""Summaries and predictions of a network of a few weights, against its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plain_networks import Batches, Delayed, batches
from snnbreg.runs import RunFolder
from snnbreg.training import TASKS, Trainer, chosen_score, evaluate, summarise, summary_table
from snnbreg.training.summary import SHOWN, _smallest, examples

PATTERN = TASKS["mean_squared_error"]


class Halving:
    """A method that halves all weights."""

    def __init__(self, network: nn.Module, measure: str) -> None:
        self.network, self.measure = network, measure

    def epoch(
        self, number: int, given: Iterable[tuple[Tensor, Tensor]], done: Callable[[], object]
    ) -> dict[str, float]:
        for parameter in self.network.parameters():
            parameter.data.mul_(0.5)
        return {"train_loss": 0.25, f"train_{self.measure}": 0.5, "lr": 0.1}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], source: str) -> None: ...


class Ends:
    """A logger that keeps the summary."""

    def __init__(self) -> None:
        self.summaries: list[Mapping[str, Any] | None] = []

    def log_epoch(self, row: Mapping[str, Any], network: nn.Module) -> None: ...

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        self.summaries.append(summary)


@pytest.fixture
def fitted(tmp_path: Path) -> Callable[..., Trainer]:
    """A trainer after its run."""

    def make(network: nn.Module, task: str, valid: Batches, **options: Any) -> Trainer:
        trainer = Trainer(
            network, TASKS[task], Halving(network, TASKS[task].measure), valid, valid,
            RunFolder(tmp_path), {}, **{"epochs": 2, **options},
        )  # fmt: skip
        assert trainer.fit() == "completed"
        return trainer

    return make


def classes_of(network: nn.Module, loader: Batches) -> list[int]:
    with torch.no_grad():
        parts = [network(frames).sum(0).argmax(1) for frames, _ in loader.batches]
    return torch.cat(parts).tolist()


def test_a_summary_is_that_of_the_best_checkpoint(fitted: Callable[..., Trainer]) -> None:
    network, valid, test = Delayed(delay=6.4, sigma=2.0), batches([3, 2]), batches([4, 3], seed=5)
    network.outward.data[0, :] = 0
    network.inward.requires_grad_(False)
    test.ids += 100
    ends = Ends()
    trainer = fitted(network, "sum_cross_entropy", valid, loggers=[ends])
    for value in network.parameters():
        value.data.mul_(-3.0)  # what was trained since the checkpoint
    trainer.history[0]["val_acc"], trainer.history[1]["val_acc"] = 0.0, 0.0
    summary = summarise(trainer, "completed", test)
    best = trainer.history[-1]
    assert network.delay.item() == 1.6  # 6.4 halved twice: the checkpoint's state
    tested = {e: evaluate(network, test, trainer.task, e) for e in ("published", "deployed")}
    assert tested["published"] != tested["deployed"]
    assert ends.summaries == [trainer.run.read_summary()] == [summary]
    seconds = summary.pop("seconds")
    assert seconds == round(sum(row["seconds"] for row in trainer.history), 3)
    best_row = trainer.run.read_metrics()
    assert best_row is not None
    assert summary == {
        "status": "completed", "measure": "acc", "higher_is_better": True, "select": "published",
        "processes": 1, "best_epoch": 2, "best_val_acc": best_row["val_acc"][1],
        "best_deployed_val_acc": best["deployed_val_acc"],
        "test_acc": tested["published"]["acc"], "test_loss": tested["published"]["loss"],
        "deployed_test_acc": tested["deployed"]["acc"],
        "deployed_test_loss": tested["deployed"]["loss"],
        "nonzero": 16, "density": 0.8, "parameters": 8 + 1, "epochs": 2,
        **{k: best[k] for k in ("synops", "firing_rate")},
        **{f"deployed_{k}": best[f"deployed_{k}"] for k in ("synops", "firing_rate")},
    }  # fmt: skip
    found = trainer.run.read_predictions()
    assert set(found) == {f"{s}_{k}" for s in ("valid", "test")
                          for k in ("ids", "labels", "published", "deployed")}  # fmt: skip
    for split, loader in (("valid", valid), ("test", test)):
        labels = torch.cat([labels for _, labels in loader.batches])
        assert found[f"{split}_ids"].tolist() == loader.ids.tolist()
        assert found[f"{split}_labels"].tolist() == labels.tolist()
        network.delay.data.fill_(2.0)
        for evaluation, network.sigma in (("published", 2.0), ("deployed", 0.0)):
            assert found[f"{split}_{evaluation}"].tolist() == classes_of(network, loader)
            assert found[f"{split}_{evaluation}"].dtype == np.uint8
    assert found["test_published"].tolist() != found["test_deployed"].tolist()


def test_a_network_without_delays_answers_once(fitted: Callable[..., Trainer]) -> None:
    network, valid, test = nn.Linear(3, 2).double(), batches([2]), batches([3, 1], seed=2)
    trainer = fitted(network, "sum_cross_entropy", valid, select="last")
    valid.asked.clear()
    summary = summarise(trainer, "diverged", test)
    assert (valid.asked, test.asked) == ([0], [0])
    assert summary["test_acc"] == summary["deployed_test_acc"]
    assert summary["test_loss"] == summary["deployed_test_loss"]
    assert (summary["status"], summary["select"], summary["synops"]) == ("diverged", "last", None)
    found = trainer.run.read_predictions()
    assert found["test_published"].tolist() == found["test_deployed"].tolist()
    assert found["test_published"].tolist() == classes_of(network, test)


def test_speakers_and_words_are_kept_where_the_data_set_knows_them(
    fitted: Callable[..., Trainer],
) -> None:
    valid, test = batches([2]), batches([3, 1], seed=2)
    test.speakers, test.class_names = torch.tensor([5, 5, 2, 5]), ("yes", "no")
    trainer = fitted(nn.Linear(3, 2).double(), "sum_cross_entropy", valid)
    summarise(trainer, "completed", test)
    found = trainer.run.read_predictions()
    assert found["test_speakers"].tolist() == [5, 5, 2, 5]
    assert found["class_names"].tolist() == ["yes", "no"]
    assert "valid_speakers" not in found


def test_a_class_per_step_keeps_the_events_of_some_samples(
    fitted: Callable[..., Trainer],
) -> None:
    loader = batches([3, 3])
    loader.batches = [(x, torch.stack([y, y], 1)) for x, y in loader.batches]
    trainer = fitted(nn.Linear(3, 2).double(), "step_cross_entropy", loader)
    summarise(trainer, "completed", loader)
    found = trainer.run.read_predictions()
    assert found["test_labels"].shape == (6, 2)
    expected = loader.batches[0][0].transpose(0, 1).half().numpy()
    assert np.array_equal(found["test_events"], expected)


def test_without_a_test_only_the_validation_is_predicted(fitted: Callable[..., Trainer]) -> None:
    trainer = fitted(
        nn.Linear(3, 2).double(), "sum_cross_entropy", batches([2]), select="last", epochs=3
    )
    summary = summarise(trainer, "completed", None)
    assert {k: summary[k] for k in ("test_acc", "test_loss")} == {
        "test_acc": None,
        "test_loss": None,
    }
    assert summary["best_epoch"] == 3
    assert all(name.startswith("valid_") for name in trainer.run.read_predictions())


def test_without_an_epoch_there_are_no_figures(tmp_path: Path) -> None:
    network, valid, ends = nn.Linear(3, 2).double(), batches([2]), Ends()
    trainer = Trainer(
        network, PATTERN, Halving(network, "mse"), valid, valid, RunFolder(tmp_path), {}, epochs=1,
        loggers=[ends],
    )  # fmt: skip
    trainer.run.path.mkdir(exist_ok=True)
    summary = summarise(trainer, "interrupted", valid)
    given = {"status": "interrupted", "measure": "mse", "higher_is_better": False}
    given |= {"select": "published", "parameters": 8, "epochs": 0, "seconds": 0}
    given |= {"processes": 1}
    assert {k: v for k, v in summary.items() if v is not None} == given
    assert set(summary) - set(given) == {
        "best_epoch", "best_val_mse", "best_deployed_val_mse", "test_mse", "test_loss",
        "deployed_test_mse", "deployed_test_loss", "nonzero", "density", "synops", "firing_rate",
        "deployed_synops", "deployed_firing_rate",
    }  # fmt: skip
    assert valid.asked == []
    assert not trainer.run.predictions.exists()
    assert ends.summaries == [summary]


def test_labels_that_are_missing_need_a_sign(fitted: Callable[..., Trainer]) -> None:
    labels = torch.tensor([[0, 300], [-1, 1]])
    valid = Batches((torch.ones(2, 2, 3).double(), labels))
    network = nn.Linear(3, 301).double()
    with torch.no_grad():
        network.bias[200] = 99.0
    trainer = fitted(network, "step_cross_entropy", valid)
    summarise(trainer, "completed", None)
    found = trainer.run.read_predictions()
    assert (found["valid_labels"].dtype, found["valid_published"].dtype) == (np.int16, np.uint8)
    assert found["valid_labels"].tolist() == labels.tolist()
    assert found["valid_published"].tolist() == [[200, 200]] * 2
    assert found["valid_ids"].tolist() == [0, 1]


def images(count: int) -> Batches:
    """Frames (T, B, C) = (2, count, 6) and patterns of the same size, as images (1, 2, 3)."""
    generator = torch.Generator().manual_seed(3)
    frames = torch.rand(2, count, 6, generator=generator).double()
    return Batches((frames, torch.rand(count, 1, 2, 3, generator=generator).double()), first_id=40)


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (SHOWN + 2, SHOWN)])
def test_a_reconstruction_keeps_some_samples_to_look_at(
    fitted: Callable[..., Trainer], count: int, shown: int
) -> None:
    network, valid, test = nn.Linear(6, 6).double(), images(2), images(count)
    test.image = (1, 2, 3)  # type: ignore[attr-defined]
    trainer = fitted(network, "mean_squared_error", valid)
    summary = summarise(trainer, "completed", test)
    mse = evaluate(network, test, PATTERN)["mse"]
    assert (summary["test_mse"], summary["deployed_test_mse"]) == (mse, mse)
    found = trainer.run.read_predictions()
    assert set(found) == {"test_ids", "test_inputs", "test_outputs", "test_targets"}
    frames, targets = test.batches[0]
    outputs = network(frames).mean(0).detach()
    assert found["test_ids"].tolist() == list(range(40, 40 + shown))
    for name, values in (("inputs", frames.mean(0)), ("outputs", outputs), ("targets", targets)):
        array = found[f"test_{name}"]
        assert (array.dtype, array.shape) == (np.float16, (shown, 1, 2, 3))
        np.testing.assert_allclose(array, values[:shown].reshape(shown, 1, 2, 3), atol=1e-3)


def test_what_is_no_image_stays_flat_and_is_shown_as_deployed(
    fitted: Callable[..., Trainer],
) -> None:
    frames = torch.rand(2, 4, 3).double()
    test = Batches((frames, torch.rand(4, 1, 2).double()))
    network = Delayed(delay=7.2, sigma=3.0)
    trainer = fitted(network, "mean_squared_error", test)
    network.train()
    test.asked.clear()
    found = examples(trainer, test)
    assert test.asked == [0]
    assert [found[f"test_{n}"].shape for n in ("inputs", "outputs", "targets")] == [
        (4, 3), (4, 2), (4, 2),
    ]  # fmt: skip
    assert network.training
    with torch.no_grad(), network.hard_delays(0.0):
        outputs = network(frames).mean(0)
    np.testing.assert_allclose(found["test_outputs"], outputs, atol=2e-3)
    test.image = (1, 1, 2)  # type: ignore[attr-defined]
    found = examples(trainer, test)
    assert [found[f"test_{n}"].shape for n in ("inputs", "outputs", "targets")] == [
        (4, 3), (4, 1, 1, 2), (4, 1, 1, 2),
    ]  # fmt: skip
    assert examples(fitted(nn.Linear(3, 2).double(), "sum_cross_entropy", batches([2])), test) == {}


def test_the_score_that_chose_the_checkpoint() -> None:
    summary = {
        "select": "deployed",
        "best_val_mse": 1,
        "best_deployed_val_mse": 2,
        "measure": "mse",
    }
    assert chosen_score(summary) == 2.0
    assert isinstance(chosen_score(summary), float)
    assert chosen_score({**summary, "select": "last"}) == 1.0
    assert math.isnan(chosen_score({**summary, "best_deployed_val_mse": None}))


def test_a_table_has_a_line_per_figure() -> None:
    summary = {
        "status": "completed", "measure": "acc", "best_epoch": 3, "epochs": 12, "nonzero": 12345,
        "density": 0.0625, "best_val_acc": 0.91234, "test_acc": 0.9, "deployed_test_acc": 0.8,
        "test_loss": 0.123456, "seconds": 61.25,
    }  # fmt: skip
    lines = [
        "  status                   completed",
        "  best epoch               3 of 12",
        "  validation accuracy      0.9123",
        "  test accuracy            0.9000",
        "  test accuracy, deployed  0.8000",
        "  test loss                0.1235",
        "  non-zero weights         12,345 (6.2% of the weights)",
        "  seconds                  61.2",
    ]
    assert summary_table(summary).split("\n") == lines
    del summary["measure"]  # of a run from before there was another one
    assert summary_table(summary).split("\n") == lines
    stopped = {**summary, "status": "diverged", "best_epoch": None}
    assert summary_table(stopped) == "diverged before the end of the first epoch"
    other = {k.replace("acc", "mse"): v for k, v in summary.items()}
    assert "  test mse            0.9000" in summary_table({**other, "measure": "mse"})


@pytest.mark.parametrize("high", [0, 127, 128, 255, 256, 32767, 32768])
@pytest.mark.parametrize("low", [0, -1])
def test_classes_are_kept_in_the_smallest_type_that_holds_them(low: int, high: int) -> None:
    fitting = [
        kind
        for kind in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max
    ]
    assert _smallest(np.array([low, high])) == min(fitting, key=lambda kind: np.iinfo(kind).bits)
