"""What TensorBoard gets, read back from its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnbreg.training import RunFolder


def test_tensorboard_holds_the_metrics_and_hides_what_was_undone(
    small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from snnbreg.runs import load_checkpoint

    run = RunFolder(tmp_path)
    config = small("logger=tensorboard", "optim.lam=0.01")
    train(config, run)
    first = load_checkpoint(run.last)
    state = {**first, "epoch": 2, "history": first["history"][:2]}
    summary = train(config, run, state)  # the third epoch once more, from another start
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = load_checkpoint(run.last)["history"]
    for name in ("val_loss", "density", "lam"):
        events = read.Scalars(name)
        assert [event.step for event in events] == [1, 2, 3]
        assert [event.value for event in events] == pytest.approx([row[name] for row in rows])
    layer = read.Scalars("density/readout.linear.weight")[-1].value
    assert layer == pytest.approx(rows[-1]["nonzero/readout.linear.weight"] / 100)  # 10 x 10
    assert sum(read.Histograms("delay/layers.0")[0].histogram_value.bucket) == 12
    text = read.Tensors("summary/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert str(summary["test_acc"]) in text


def test_without_tensorboard_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    from snnbreg.training import TensorboardLogger

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        TensorboardLogger(tmp_path, {})
