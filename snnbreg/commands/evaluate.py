"""Evaluate a run's checkpoint. No sample is augmented or shuffled, the training ones neither."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnbreg import assembly
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


def evaluate_run(folder: str, overrides: list[str]) -> dict[str, float]:
    """Evaluate a checkpoint of a run folder.

    Args:
        folder: a run folder with ``checkpoints/``.
        overrides: ``key=value``; keys of :data:`OWN` or of :data:`FREE`.

    Returns:
        ``acc``, ``loss``, ``samples``, ``nonzero`` and ``density``.

    Raises:
        ValueError: another key, which would make it another network or another data set.
    """
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            raise ValueError(f"Options are written key=value, not {override}")
        if key not in (*OWN, *FREE):
            raise ValueError(assembly.unknown_option(key, "of an evaluation", [*OWN, *FREE]))
    given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(overrides))
    own = {key: given.pop(key, default) for key, default in OWN.items()}
    if own["split"] not in SPLITS:
        raise ValueError(f"split={own['split']} must be one of {', '.join(SPLITS)}")
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no run folder {folder}")
    run = RunFolder(folder)
    path = {"best": run.best, "last": run.last}.get(own["checkpoint"], Path(own["checkpoint"]))
    checkpoint = load_checkpoint(path)
    config = dict(checkpoint["config"])
    for group, values in given.items():
        config[group] = {**config[group], **values} if isinstance(values, dict) else values
    config = assembly.check(config, saved=True)
    device = assembly.build_device(config)
    splits = assembly.build_splits(config, device)
    network = assembly.trained_network(config, checkpoint, splits.sizes, str(path), device)
    loader = assembly.build_loader(config, splits, own["split"], device)
    with assembly.using_threads(config):  # as the run itself, to the last digit
        figures = evaluate(network, loader, assembly.build_task(config), own["evaluation"])
    weights = [entry.weight for entry in weights_of(network)]
    nonzero = sum(int((weight != 0).sum()) for weight in weights)
    return {**figures, "nonzero": nonzero, "density": nonzero / sum(w.numel() for w in weights)}


def run(options: Namespace) -> None:
    """Print the figures as one JSON object."""
    print(json.dumps(evaluate_run(options.folder, options.overrides)))
