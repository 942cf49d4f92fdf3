"""Evaluate a run's checkpoint; prints one JSON object.

    python scripts/evaluate.py RUN_FOLDER [dataset.root=PATH] [split=test] [checkpoint=best]

Further options: evaluation=published|deployed, device=cpu, and any other key of the run's
config.yaml that leaves the network as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnbreg import assembly
from snnbreg.training import RunFolder, evaluate
from snnbreg.training.run_folder import load_checkpoint, load_network

OWN = {"split": "test", "checkpoint": "best", "evaluation": "published"}
SPLITS = ("train", "valid", "test")


def evaluate_run(folder: str, overrides: list[str]) -> dict[str, float]:
    """Evaluate a checkpoint of a run folder.

    Args:
        folder: a run folder with ``checkpoints/``.
        overrides: ``key=value``; keys of :data:`OWN` or of the run's config.

    Returns:
        ``acc``, ``loss``, ``samples``, ``nonzero`` and ``density``.
    """
    try:
        given = OmegaConf.from_dotlist(overrides)
    except OmegaConfBaseException as error:
        raise ValueError(f"Options are written key=value ({error})") from error
    own = {key: given.pop(key, default) for key, default in OWN.items()}
    if own["split"] not in SPLITS:
        raise ValueError(f"split={own['split']} must be one of {', '.join(SPLITS)}")
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"There is no run folder {folder}")
    run = RunFolder(folder)
    path = {"best": run.best, "last": run.last}.get(own["checkpoint"], Path(own["checkpoint"]))
    checkpoint = load_checkpoint(path)
    config = assembly.check(OmegaConf.merge(checkpoint["config"], given), saved=True)
    device = assembly.build_device(config)
    splits = assembly.build_splits(config, device)
    network = assembly.build_network(config, splits.channels, splits.classes, device)
    load_network(network, checkpoint["network"], str(path))
    loader = assembly.build_loader(config, splits, own["split"], device)
    figures = evaluate(network, loader, assembly.build_objective(config), own["evaluation"])
    weights = [synapses.weight for synapses in network.synapses()]
    nonzero = sum(int((weight != 0).sum()) for weight in weights)
    return {**figures, "nonzero": nonzero, "density": nonzero / sum(w.numel() for w in weights)}


def main() -> None:
    """Print the figures of the run named on the command line."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    print(json.dumps(evaluate_run(sys.argv[1], sys.argv[2:])))


if __name__ == "__main__":
    assembly.run(main)
