"""One export of one run: all its files, with the proof that nothing changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from snnbreg import assembly
from snnbreg.commands.evaluate import FREE, given_options
from snnbreg.deploy import (
    NAME,
    Batch,
    Conversion,
    DeployedNetwork,
    Sample,
    Simulator,
    calibrate,
    convert,
    finetune,
    prove,
    trained_answers,
    whole_counts,
    write_network,
    write_program,
    write_samples,
)
from snnbreg.deploy.cost import cost
from snnbreg.deploy.nir_graph import NAME as NIR
from snnbreg.deploy.nir_graph import write_nir
from snnbreg.models import SpikingNetwork
from snnbreg.runs import RunFolder, load_checkpoint, write_atomically
from snnbreg.training import Task

REPORT = "export.json"
SAMPLES = "samples.bin"
COST = "cost.json"
CALIBRATED = 600
"""Training samples, evenly spaced, that choose how weights are rounded."""
SPLITS = ("valid", "test")
"""Whose classes an export keeps."""


class Trained(NamedTuple):
    """A run's network with what is needed to show it recordings."""

    network: nn.Module
    config: dict[str, Any]
    splits: Any
    task: Task
    input_scale: float
    """A frame is a whole count times this."""
    about: dict[str, Any]
    """Of where it comes from, for the file."""

    def loader(self, split: str) -> Any:
        """The samples of a split, in order, never augmented."""
        device = assembly.build_device({**self.config, "device": "cpu"})
        return assembly.build_loader(self.config, self.splits, split, device)

    def batches(self, split: str) -> Any:
        """Its batches."""
        return self.loader(split).epoch(0)


def load_trained(folder: str, checkpoint: str, overrides: list[str]) -> Trained:
    """Read a run folder.

    Args:
        folder: with ``checkpoints/``.
        checkpoint: ``best``, ``last`` or a file.
        overrides: ``key=value``, of ``dataset.root``, ``dataset.cache``, ...

    Raises:
        FileNotFoundError: there is none.
        ValueError: another key, a damaged checkpoint or that of another network.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no run folder {folder}")
    run = RunFolder(folder)
    path = _checkpoint(run, checkpoint)
    state = load_checkpoint(path)
    _, given = given_options(overrides, {}, FREE, "of an export")
    config = assembly.with_options(state["config"], {**given, "device": "cpu"})
    splits = assembly.build_splits(config)
    about = {
        "run": Path(folder).resolve().name,
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "epoch": state["epoch"],
        "config": dict(state["config"]),
    }
    return Trained(
        assembly.trained_network(config, state, splits.sizes, str(path)),
        config,
        splits,
        assembly.build_task(config),
        1.0 if splits.encoder is not None else splits.test.scale,
        about,
    )


class Choices(NamedTuple):
    """What the command line chooses beside the run."""

    bits: int = 32
    samples: int = 100
    layout: str = "auto"
    checkpoint: str = "best"
    finetune: int = 0


def made_of(folder: str | os.PathLike[str], choices: Choices) -> dict[str, Any]:
    """What tells an export from others: the run's checkpoint and what was chosen.

    Raises:
        OSError: there is no such checkpoint.
    """
    path = _checkpoint(RunFolder(folder), choices.checkpoint)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = Path(folder).resolve().name
    return {"run": name, **choices._asdict(), "checkpoint_sha256": digest}


def _checkpoint(run: RunFolder, name: str) -> Path:
    return {"best": run.best, "last": run.last}.get(name, Path(name))


def export(
    folder: str, out: str | os.PathLike[str], choices: Choices, overrides: list[str]
) -> dict[str, Any]:
    """Write all files of an export; returns what ``export.json`` says.

    Args:
        folder: a run folder.
        out: a folder for the files.
        choices: bits of a weight, test samples for ``make check``, layout of the C tables.
        overrides: ``key=value``, see :func:`load_trained`.

    Raises:
        ValueError: the run's network cannot be exported, or the proof failed; nothing is written.
    """
    trained = load_trained(folder, choices.checkpoint, overrides)
    tuned = _finetuned(trained, choices)
    objective = trained.config["model"]["objective"]
    conversion = convert(
        trained.network, trained.splits.steps, objective, trained.input_scale, trained.about
    )
    answers = _answers(trained)
    proof = prove(answers, conversion.network, conversion.removed)
    network = conversion.network
    report = {"made_of": made_of(folder, choices), **_shape(conversion)}
    report |= {"split": "test", "proof": proof.as_dict()}
    if tuned:
        report["finetuned"] = tuned
    if choices.bits < 32:
        network, report["calibration"] = _integers(trained, network, choices.bits)
    predictions = _predictions(trained, network)
    report["acc"] = {split: _accuracy(predictions, split) for split in SPLITS}
    if choices.bits < 32:
        theirs = np.concatenate([batch.classes for batch in answers])
        report["equal_classes"] = int((predictions["test_deployed"] == theirs).sum())
    place = Path(out)
    write_network(place / NAME, network)
    write_program(place, network, choices.layout)
    write_samples(place / SAMPLES, network, _samples(network, answers, choices.samples))
    report["nir"] = _write_nir(place / NIR, network)
    found = cost(network, (recording for batch in answers for recording in batch.counts))
    RunFolder(place).write_predictions(predictions)
    for name, content in ((COST, found), (REPORT, report)):  # the report last: all is there
        _write_json(place / name, content)
    return {**report, "cost": found}


def _write_nir(path: Path, network: DeployedNetwork) -> str:
    """The file's name, or why there is none."""
    if network.integer:
        return "none: NIR has no neurons of whole numbers"
    if importlib.util.find_spec("nir") is None:
        return "none: pip install 'snnbreg[nir]'"
    write_nir(path, network)
    return path.name


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _finetuned(trained: Trained, choices: Choices) -> dict[str, Any]:
    """Train with rounded weights where that is asked for; what there is to say about it."""
    if not choices.finetune:
        return {}
    if choices.bits == 32:
        raise ValueError("--finetune trains rounded weights: give --bits 8, 6 or 4 too")
    config, network = trained.config, cast(SpikingNetwork, trained.network)
    scale = trained.input_scale
    before = convert(network, trained.splits.steps, config["model"]["objective"], scale).network
    device = assembly.build_device(config)
    loader = assembly.build_loader(config, trained.splits, "train", device, training=True)
    torch.manual_seed(config["seed"])  # of dropout
    with assembly.using_threads(config):
        losses = finetune(
            network, before, loader.epoch, trained.task, choices.bits, choices.finetune
        )
    return {"epochs": choices.finetune, "losses": losses}


def _answers(trained: Trained) -> list[Batch]:
    """Of the trained network, on the whole test split."""
    network: Any = trained.network
    with assembly.using_threads(trained.config):
        return list(
            trained_answers(network, trained.batches("test"), trained.input_scale, trained.task)
        )


def _integers(
    trained: Trained, network: DeployedNetwork, bits: int
) -> tuple[DeployedNetwork, dict[str, Any]]:
    """The network in whole numbers, calibrated on training samples."""
    frames = [whole_counts(frames, trained.input_scale) for frames, _ in trained.batches("train")]
    chosen = np.linspace(0, sum(map(len, frames)) - 1, CALIBRATED).astype(int)
    steps = max(part.shape[1] for part in frames)
    counts = np.concatenate([_longer(part, steps) for part in frames])[np.unique(chosen)]
    return calibrate(network, bits, list(counts))


def _predictions(trained: Trained, network: DeployedNetwork) -> dict[str, Any]:
    """Numbers, labels and classes of the validation and test samples, named as a run's are."""
    simulator, found = Simulator(network), {}
    for split in SPLITS:
        loader = trained.loader(split)
        labels, classes = [], []
        for frames, targets in loader.epoch(0):
            labels.append(targets.cpu().numpy())
            counts = whole_counts(frames, trained.input_scale)
            classes += [simulator.run(recording).classes for recording in counts]
        found[f"{split}_ids"] = loader.ids.cpu().numpy().astype(np.int32)
        found[f"{split}_labels"] = np.concatenate(labels).astype(np.int16)
        found[f"{split}_deployed"] = np.stack(classes).astype(np.int16)
    return found


def _accuracy(predictions: dict[str, Any], split: str) -> float:
    """Of the labelled samples or steps the share that is right."""
    labels, classes = predictions[f"{split}_labels"], predictions[f"{split}_deployed"]
    return float((classes == labels).sum() / max((labels >= 0).sum(), 1))


def _longer(counts: Any, steps: int) -> Any:
    """Recordings with empty steps at their end."""
    return np.pad(counts, ((0, 0), (0, steps - counts.shape[1]), (0, 0)))


def _samples(network: DeployedNetwork, answers: list[Batch], number: int) -> list[Sample]:
    """The first test samples; the trained network's classes, or integers' own."""
    simulator = Simulator(network)
    found: list[Sample] = []
    for batch in answers:
        for counts, label, classes in zip(batch.counts, batch.labels, batch.classes, strict=True):
            if len(found) < number:
                own = simulator.run(counts).classes if network.integer else classes
                found.append(Sample(counts, label, own))
    return found


def _shape(conversion: Conversion) -> dict[str, Any]:
    network = conversion.network
    return {
        "weights": network.about["trained"]["weights"],
        "nonzero": network.nonzero,
        "neurons": [layer.neurons for layer in network.layers],
        "removed": conversion.removed,
        "late_weights": conversion.late,
        "longest_delays": {name: s.longest_delay for name, s in network.matrices()},
    }
