"""snnbreg evaluate: never augmented, never another network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg.commands.evaluate import evaluate_run
from snnbreg.training import RunFolder


@pytest.fixture
def folder(
    small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]], tmp_path: Path
) -> str:
    """A run on augmented recordings."""
    config = small("dataset.epochs=1", "dataset.augment=delrec_shift")
    train(config, RunFolder(tmp_path))
    return str(tmp_path)


@pytest.mark.parametrize("evaluation", ["published", "deployed"])
def test_training_samples_are_evaluated_as_they_are(folder: str, evaluation: str) -> None:
    """Each once, in any number at a time, with the same answer."""
    found = [
        evaluate_run(folder, ["split=train", f"evaluation={evaluation}", *more])
        for more in ([], ["dataset.eval_batch_size=7"], ["dataset.eval_batch_size=1"])
    ]
    assert [figures["samples"] for figures in found] == [40, 40, 40]
    assert len({figures["acc"] for figures in found}) == 1
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-5)


def test_the_figures_say_of_what_they_are(folder: str) -> None:
    found = evaluate_run(folder, ["split=valid", "checkpoint=last", "evaluation=deployed"])
    names = ["split", "checkpoint", "evaluation", "loss", "acc", "samples", "nonzero", "density"]
    assert list(found) == names
    assert list(found.values())[:3] == ["valid", "last", "deployed"]
    assert list(evaluate_run(folder, []).values())[:3] == ["test", "best", "published"]


@pytest.mark.parametrize("option", [
    "model.tau=5", "model.hidden=[12,10]", "dataset.bin_ms=100", "dataset.fold=1",
    "dataset.augment=none", "optim.lr=1", "seed=3", "model=shd",
])  # fmt: skip
def test_what_makes_it_another_network_or_data_set_is_refused(folder: str, option: str) -> None:
    key = option.split("=")[0]
    with pytest.raises(ValueError, match=f"{key} is no option of an evaluation.*eval_batch_size"):
        evaluate_run(folder, [option])


def test_heartbeats_may_be_counted_the_other_way(
    small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    options = ["dataset.limit=5", "model.hidden=[3]", "trainer.epochs=1"]
    train(small("dataset=ecg", *options), RunFolder(tmp_path))
    published, ignored = (
        evaluate_run(str(tmp_path), [f"dataset.unlabelled={way}"])
        for way in ("published", "ignored")
    )
    assert published == evaluate_run(str(tmp_path), [])
    assert published["acc"] != ignored["acc"]


def test_what_changes_neither_is_taken(folder: str) -> None:
    plain = evaluate_run(folder, [])
    given = ["device=cpu", "model.engine=reference", "dataset.eval_batch_size=11"]
    assert evaluate_run(folder, given)["acc"] == plain["acc"]
    with pytest.raises(ValueError, match="key=value, not split"):
        evaluate_run(folder, ["split"])
    with pytest.raises(ValueError, match="split=tset must be one of"):
        evaluate_run(folder, ["split=tset"])
