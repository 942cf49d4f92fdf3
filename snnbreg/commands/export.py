"""Make a trained network ready for a chip, with the proof that nothing changed."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from snnbreg import assembly
from snnbreg.commands.evaluate import FREE, given_options
from snnbreg.deploy import (
    NAME,
    Batch,
    Conversion,
    DeployedNetwork,
    convert,
    prove,
    trained_answers,
    write_network,
)
from snnbreg.runs import RunFolder, load_checkpoint, write_atomically
from snnbreg.training import Task

REPORT = "export.json"


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

    def batches(self, split: str) -> Any:
        """The batches of a split, in order, never augmented."""
        device = assembly.build_device({**self.config, "device": "cpu"})
        return assembly.build_loader(self.config, self.splits, split, device).epoch(0)


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
    path = {"best": run.best, "last": run.last}.get(checkpoint, Path(checkpoint))
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


def export(folder: str, out: str, checkpoint: str, overrides: list[str]) -> dict[str, Any]:
    """Write all files of an export; returns what ``export.json`` says."""
    trained = load_trained(folder, checkpoint, overrides)
    conversion = convert(
        trained.network,
        trained.splits.steps,
        trained.config["model"]["objective"],
        trained.input_scale,
        trained.about,
    )
    answers = _answers(trained)
    proof = prove(answers, conversion.network, conversion.removed)
    write_network(Path(out) / NAME, conversion.network)
    report = {**_shape(conversion), "split": "test", "proof": proof.as_dict()}
    text = json.dumps(report, indent=2) + "\n"
    write_atomically(Path(out) / REPORT, lambda file: file.write(text.encode()))
    return report


def _answers(trained: Trained) -> list[Batch]:
    """Of the trained network, on the whole test split."""
    network: Any = trained.network
    with assembly.using_threads(trained.config):
        return list(
            trained_answers(network, trained.batches("test"), trained.input_scale, trained.task)
        )


def _shape(conversion: Conversion) -> dict[str, Any]:
    network: DeployedNetwork = conversion.network
    return {
        "weights": network.about["trained"]["weights"],
        "nonzero": network.nonzero,
        "neurons": [layer.neurons for layer in network.layers],
        "removed": conversion.removed,
        "late_weights": conversion.late,
        "longest_delays": {name: s.longest_delay for name, s in network.matrices()},
        "bits": network.bits,
    }


def run(options: Namespace) -> None:
    """Export and say what was found."""
    report = export(options.folder, options.out, options.checkpoint, options.overrides)
    print(_table(report, options.out))


def _table(report: dict[str, Any], out: str) -> str:
    proof = report["proof"]
    removed = sum(len(names) for why in report["removed"] for names in why.values())
    rows = [
        ("neurons", f"{sum(report['neurons'])} of {sum(report['neurons']) + removed}"),
        ("weights", f"{report['nonzero']:,} of {report['weights']:,}"),
        ("test samples", f"{proof['samples']}"),
        ("spikes that differ", f"{proof['differing_spikes']} of {sum(proof['spikes']):,}"),
        ("classes that differ", f"{proof['differing_classes']}"),
        ("accuracy", f"{proof['acc']:.4f}; trained network: {proof['trained_acc']:.4f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"  {name:<{width}}  {value}" for name, value in rows] + [f"Export: {out}"])
