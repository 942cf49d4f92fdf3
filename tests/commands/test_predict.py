"""From a folder of sounds to a trained network to what it hears, by the commands' own functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from snnbreg import cli
from snnbreg.commands import predict, prepare
from snnbreg.runs import RunFolder
from snnbreg.training import TASKS

soundfile = pytest.importorskip("soundfile")


def write_words(root: Path) -> Path:
    """Two words, a high and a low tone, of four speakers."""
    t = np.arange(480) / 8000
    for word, pitch in (("high", 2000.0), ("low", 300.0)):
        (root / word).mkdir(parents=True)
        for number, speaker in enumerate("abcd"):
            tone = 0.4 * np.sin(2 * np.pi * pitch * (1 + 0.02 * number) * t)
            soundfile.write(root / word / f"{speaker}_1.wav", tone, 8000)
    return root


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sounds, and below ``events`` what prepare made of them."""
    root = tmp_path_factory.mktemp("words")
    write_words(root / "sounds")
    prepare.run(cli.parse("prepare", ["audio", f"{root}/sounds", "--root", f"{root}/events"]))
    return root


@pytest.fixture
def trained(
    words: Path,
    small: Callable[..., dict[str, Any]],
    train: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> Path:
    config = small(
        "dataset=audio", f"dataset.root={words}/events", f"dataset.cache={tmp_path}",
        "dataset.duration_ms=120", "dataset.epochs=3", "dataset.batch_size=4", "model.hidden=[8]",
        "model.engine=reference", "optim=adam",
    )  # fmt: skip
    train(config, RunFolder(tmp_path / "run"))
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "run"


def answers(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_heard_is_what_the_run_predicted_of_the_same_recordings(
    words: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import h5py

    shutil.move(words / "events", words / "elsewhere")  # the run alone must do
    try:
        with h5py.File(words / "elsewhere" / "test.h5") as file:
            files = [str(words / "sounds" / name) for name in file["extra/files"].asstr()]
        predicted = RunFolder(trained).read_predictions()
        for evaluation in ("deployed", "published"):
            options = [str(trained), *files, "--evaluation", evaluation]
            assert predict.run(cli.parse("predict", options)) == 0
            said = answers(capsys.readouterr().out)
            assert [answer["file"] for answer in said] == files
            classes = [["high", "low"].index(answer["class"]) for answer in said]
            assert classes == predicted[f"test_{evaluation}"].tolist()
            for answer in said:
                others = sum(answer["others"].values())
                assert answer["probability"] + others == pytest.approx(1, abs=2e-4)
                assert answer["probability"] >= others
    finally:
        shutil.move(words / "elsewhere", words / "events")


def test_each_file_gets_an_answer_or_a_reason(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t = np.arange(1600) / 8000
    soundfile.write(tmp_path / "long.wav", 0.4 * np.sin(2 * np.pi * 300 * t), 8000)
    (tmp_path / "text.wav").write_text("hello")
    files = [str(tmp_path / name) for name in ("text.wav", "long.wav", "none.wav")]
    assert predict.run(cli.parse("predict", [str(trained), *files])) == 1
    text, long, none = answers(capsys.readouterr().out)
    assert "cannot be read as sound" in text["error"]
    assert "There is no file" in none["error"]
    assert long["class"] in ("high", "low")
    assert long["note"] == "of 0.20 s, the first 0.07 s are heard"
    assert "note" not in text


def test_a_run_on_images_hears_nothing(
    small: Callable[..., dict[str, Any]],
    train: Callable[..., dict[str, Any]],
    tmp_path: Path,
    idx_root: Path,
) -> None:
    config = small(
        "dataset=rows_mnist", f"dataset.root={idx_root}", "dataset.epochs=1", "model.hidden=[4]"
    )
    train(config, RunFolder(tmp_path / "run"))
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="trained on rows_mnist, not on spoken words"):
        predict.Listener(str(tmp_path / "run"))


@pytest.mark.parametrize(("name", "expected"), [
    ("sum_cross_entropy", [4.0, 1.0]),
    ("softmax_sum_cross_entropy", [1.0 + 1 / (1 + np.e), np.e / (1 + np.e)]),
    ("last_cross_entropy", [1.0, 2.0]),
])  # fmt: skip
def test_probabilities_are_those_of_the_loss(name: str, expected: list[float]) -> None:
    outputs = torch.tensor([[[3.0, -90.0]], [[1.0, 2.0]]])
    if name == "sum_cross_entropy":
        outputs[0, 0, 1] = -1.0
    found = TASKS[name].probabilities(outputs)
    loss = TASKS[name].score(outputs, torch.tensor([1])).loss
    assert found.shape == (1, 2)
    assert torch.allclose(found, torch.tensor([expected]).softmax(-1), atol=1e-5)
    assert -found[0, 1].log().item() == pytest.approx(loss.item(), rel=1e-4)


def test_a_task_without_a_class_per_sample_has_no_probabilities() -> None:
    for name in ("step_cross_entropy", "mean_squared_error"):
        with pytest.raises(ValueError, match="not trained to name one class"):
            TASKS[name].probabilities(torch.zeros(3, 2, 4))
