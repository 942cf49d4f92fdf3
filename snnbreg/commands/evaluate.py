"""Evaluate a run's checkpoint or an exported network. No sample is augmented or shuffled."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from snnbreg import assembly
from snnbreg.deploy import NAME, Simulator, read_network, whole_counts
from snnbreg.runs import RunFolder, load_checkpoint
from snnbreg.training import evaluate
from snnbreg.training.network import weights_of

OWN = {"split": "test", "checkpoint": "best", "evaluation": "published"}
SPLITS = ("train", "valid", "test")
FREE = (
    "device", "dataset.root", "dataset.cache", "dataset.eval_batch_size", "dataset.unlabelled",
    "model.engine",
)  # fmt: skip
"""Keys of a run's config that change neither the network nor its samples; ``dataset.unlabelled``
says which of their steps count."""
FREE_OF_EXPORT = ("dataset.root", "dataset.cache", "dataset.eval_batch_size")


def evaluate_run(folder: str, overrides: list[str]) -> dict[str, Any]:
    """Evaluate a checkpoint of a run folder.

    Args:
        folder: a run folder with ``checkpoints/``.
        overrides: ``key=value``; keys of :data:`OWN` or of :data:`FREE`.

    Returns:
        ``split``, ``checkpoint`` (as asked for) and ``evaluation``, then the figures: ``acc``,
        ``loss``, ``samples``, ``nonzero`` and ``density``.

    Raises:
        ValueError: another key, which would make it another network or another data set.
    """
    own, given = given_options(overrides, OWN, FREE, "of an evaluation")
    _check_split(own["split"])
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no run folder {folder}")
    run = RunFolder(folder)
    path = {"best": run.best, "last": run.last}.get(own["checkpoint"], Path(own["checkpoint"]))
    checkpoint = load_checkpoint(path)
    config = assembly.with_options(checkpoint["config"], given)
    device = assembly.build_device(config)
    splits = assembly.build_splits(config, device)
    network = assembly.trained_network(config, checkpoint, splits.sizes, str(path), device)
    loader = assembly.build_loader(config, splits, own["split"], device)
    with assembly.using_threads(config):  # as the run itself, to the last digit
        figures = evaluate(network, loader, assembly.build_task(config), own["evaluation"])
    weights = [entry.weight for entry in weights_of(network)]
    nonzero = sum(int((weight != 0).sum()) for weight in weights)
    density = nonzero / sum(w.numel() for w in weights)
    return {**own, **figures, "nonzero": nonzero, "density": density}


def evaluate_export(folder: str, overrides: list[str]) -> dict[str, Any]:
    """Run an exported network on a split, event by event.

    Args:
        folder: holds ``network.npz``.
        overrides: ``key=value``; ``split`` or of :data:`FREE_OF_EXPORT`.

    Returns:
        ``split``, ``evaluation`` (deployed, which an export always is), ``acc``, ``loss``,
        ``samples``, ``nonzero``, ``density`` (of the trained network's weights) and ``bits``.

    Raises:
        ValueError: another key, or a damaged file.
    """
    own, given = given_options(overrides, {"split": "test"}, FREE_OF_EXPORT, "of an export")
    _check_split(own["split"])
    network = read_network(folder)
    config = assembly.with_options(network.about["config"], {**given, "device": "cpu"})
    splits, task = assembly.build_splits(config), assembly.build_task(config)
    device = assembly.build_device(config)
    simulator = Simulator(network)
    right = counted = samples = 0
    loss = 0.0
    for frames, labels in assembly.build_loader(config, splits, own["split"], device).epoch(0):
        counts = whole_counts(frames, network.input_scale)
        answers = [simulator.run(recording) for recording in counts]
        outputs = np.stack([answer.outputs for answer in answers], 1).astype(np.float32)
        score = task.score(torch.from_numpy(outputs) * network.output_scale, labels)
        classes = np.stack([answer.classes for answer in answers])
        right += int((classes == labels.numpy()).sum())
        loss += float(score.loss) * score.count
        counted += score.count
        samples += len(answers)
    density = network.nonzero / network.about["trained"]["weights"]
    return {
        **own, "evaluation": "deployed",
        "acc": right / counted, "loss": loss / counted, "samples": samples,
        "nonzero": network.nonzero, "density": density, "bits": network.bits,
    }  # fmt: skip


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split={split} must be one of {', '.join(SPLITS)}")


def given_options(
    overrides: list[str], own: Mapping[str, Any], free: Sequence[str], what: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A command's own options and those for the run's config, nested, from ``key=value``.

    Args:
        overrides: as on the command line.
        own: the command's own, with their defaults.
        free: the others.
        what: whose options they are, for the message.

    Raises:
        ValueError: another key, or no ``=``.
    """
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            raise ValueError(f"Options are written key=value, not {override}")
        if key not in (*own, *free):
            raise ValueError(assembly.unknown_option(key, what, [*own, *free]))
    given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(overrides))
    return {key: given.pop(key, default) for key, default in own.items()}, given


def run(options: Namespace) -> None:
    """Print the figures as one JSON object."""
    exported = (Path(options.folder) / NAME).is_file()
    evaluated = evaluate_export if exported else evaluate_run
    print(json.dumps(evaluated(options.folder, options.overrides)))
