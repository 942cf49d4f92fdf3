"""What a run ends with: ``summary.json``, ``predictions.npz`` and a short table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnbreg.runs import chosen_key, load_checkpoint, load_network
from snnbreg.training.evaluation import EVALUATIONS, Loader, evaluate, evaluation_mode
from snnbreg.training.network import delays_of, hard_delays_of
from snnbreg.training.tasks import Reconstruction, StepClassification
from snnbreg.training.trainer import Trainer

SHOWN = 16
"""Test samples of a reconstruction that are kept to look at."""
SHOWN_STEPS = 4
"""Test samples with a class at every step whose frames are kept to look at."""


def summarise(trainer: Trainer, status: str, test: Loader | None) -> dict[str, Any]:
    """Evaluate the best checkpoint, write predictions and summary, and tell the loggers.

    The network holds the best checkpoint's state afterwards. ``predictions.npz`` has, for each
    ``SPLIT`` of valid and test, ``SPLIT_ids`` (numbers of the samples in their data set),
    ``SPLIT_labels``, and the predicted classes ``SPLIT_published`` and ``SPLIT_deployed``, (n,) or
    (n, T); where the data set knows them, also ``SPLIT_speakers`` (n,) and ``class_names`` (K,). Of
    a reconstruction it has some test samples to look at instead, see :func:`examples`.

    Args:
        trainer: after its ``fit``.
        status: what :meth:`Trainer.fit` returned.
        test: test batches, or None to leave the test out.

    Returns:
        The summary; figures that were not reached (no epoch finished) are None.
    """
    measure = trainer.task.measure
    processes = trainer.processes
    checkpoint = {}
    if trainer.history:
        checkpoint = processes.first(lambda: load_checkpoint(trainer.run.best))
    best = checkpoint["history"][-1] if checkpoint else {}  # what was measured on this network
    summary: dict[str, Any] = {
        "status": status,
        "measure": measure,
        "higher_is_better": trainer.task.higher_is_better,
        "best_epoch": best.get("epoch"),
        f"best_val_{measure}": best.get(f"val_{measure}"),
        f"best_deployed_val_{measure}": best.get(f"deployed_val_{measure}"),
        "select": trainer.select,
    }
    tested: dict[str, dict[str, float]] = {}
    if best:
        load_network(trainer.network, checkpoint["network"], "best.pt")
        _, predictions = _answers(trainer, "valid", trainer.valid)
        if test is not None:
            tested, more = _answers(trainer, "test", test)
            predictions |= more | (examples(trainer, test) if processes.writes else {})
        if predictions and processes.writes:
            trainer.run.write_predictions(predictions)
    for prefix, evaluation in (("", "published"), ("deployed_", "deployed")):
        for key in (measure, "loss"):
            summary[f"{prefix}test_{key}"] = tested.get(evaluation, {}).get(key)
    costs = [f"{prefix}{key}" for prefix in ("", "deployed_") for key in ("synops", "firing_rate")]
    summary |= {key: best.get(key) for key in ("nonzero", "density", *costs)}
    summary["parameters"] = sum(p.numel() for p in trainer.network.parameters() if p.requires_grad)
    summary["epochs"] = len(trainer.history)
    summary["seconds"] = round(sum(row["seconds"] for row in trainer.history), 3)
    summary["processes"] = processes.count
    if processes.writes:
        trainer.run.write_summary(summary)
    for logger in trainer.loggers:
        logger.finish(summary)
    return summary


def _answers(
    trainer: Trainer, split: str, loader: Loader
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray[Any, Any]]]:
    """Figures and predictions of both evaluations; the numbers as small as they can be."""
    figures: dict[str, dict[str, float]] = {}
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for evaluation in EVALUATIONS:
        if not figures or delays_of(trainer.network):  # without delays both are the same
            answers: list[tuple[Tensor, Tensor]] = []
            score = evaluate(
                trainer.network, loader, trainer.task, evaluation,
                answers=answers, processes=trainer.processes,
            )  # fmt: skip
        figures[evaluation] = score
        if not answers:
            continue
        labels, predicted = (torch.cat(part).cpu().numpy() for part in zip(*answers, strict=True))
        arrays[f"{split}_ids"] = loader.ids.cpu().numpy()
        for name, classes in (("labels", labels), (evaluation, predicted)):
            arrays[f"{split}_{name}"] = classes.astype(_smallest(classes))
        speakers, words = (getattr(loader, name, None) for name in ("speakers", "class_names"))
        if speakers is not None:
            arrays[f"{split}_speakers"] = speakers.cpu().numpy()
        if words:
            arrays["class_names"] = np.array(words)
    return figures, arrays


def examples(trainer: Trainer, test: Loader) -> dict[str, np.ndarray[Any, Any]]:
    """The first test samples of a reconstruction, as deployed, or of a task of classes by steps.

    Returns:
        Of classes by steps: ``test_events`` (n, T, C), float16. Of other tasks but reconstruction:
        nothing. Of a reconstruction:
        ``test_ids`` (n,), and as float16 ``test_inputs`` (n, ...), the mean over time of what the
        network sees, ``test_outputs`` and ``test_targets`` (n, ...). What has the size of the
        loader's images has their shape, (n, colours, height, width).
    """
    if isinstance(trainer.task, StepClassification):
        frames, _ = next(iter(test.epoch(0)))
        shown = frames[:, :SHOWN_STEPS].transpose(0, 1)
        return {"test_events": shown.half().cpu().numpy()}
    if not isinstance(trainer.task, Reconstruction):
        return {}
    frames, labels = next(iter(test.epoch(0)))
    frames, labels = frames[:, :SHOWN], labels[:SHOWN]
    with evaluation_mode(trainer.network), hard_delays_of(trainer.network, 0.0):
        outputs = trainer.task.pattern(trainer.network(frames))
    image = getattr(test, "image", None)  # of the loaders of images

    def array(values: Tensor) -> np.ndarray[Any, Any]:
        values = values.flatten(1)
        if image is not None and values.shape[1] == math.prod(image):
            values = values.unflatten(1, image)
        return values.half().cpu().numpy()

    return {
        "test_ids": test.ids[: len(labels)].cpu().numpy(),
        "test_inputs": array(frames.mean(0)),
        "test_outputs": array(outputs),
        "test_targets": array(labels),
    }


def _smallest(classes: np.ndarray[Any, Any]) -> np.dtype[Any]:
    """The smallest type that holds all of them; -1 stands for no label."""
    low, high = int(classes.min()), int(classes.max())
    return np.min_scalar_type(min(low, -high - 1) if low < 0 else high)


def chosen_score(summary: Mapping[str, Any]) -> float:
    """The validation score that ``trainer.select`` chose the checkpoint by.

    With ``select=last``, where none chose, the published one of the last epoch; NaN where no
    epoch finished.
    """
    value = summary[chosen_key(summary)]
    return math.nan if value is None else float(value)


def summary_table(summary: Mapping[str, Any]) -> str:
    """The summary as the short table a run ends with.

    Example:
        >>> print(summary_table({"status": "interrupted"}))
        interrupted before the end of the first epoch
    """
    if summary.get("best_epoch") is None:
        return f"{summary['status']} before the end of the first epoch"
    weights = f"{summary['nonzero']:,} ({summary['density']:.1%} of the weights)"
    measure = summary.get("measure", "acc")
    word = {"acc": "accuracy"}.get(measure, measure)
    rows = [
        ("status", summary["status"]),
        ("best epoch", f"{summary['best_epoch']} of {summary['epochs']}"),
        (f"validation {word}", f"{summary[f'best_val_{measure}']:.4f}"),
        *(
            (title, f"{summary[key]:.4f}")
            for title, key in (
                (f"test {word}", f"test_{measure}"),
                (f"test {word}, deployed", f"deployed_test_{measure}"),
                ("test loss", "test_loss"),
            )
            if summary[key] is not None  # nothing was tested
        ),
        ("non-zero weights", weights),
        ("seconds", f"{summary['seconds']:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
