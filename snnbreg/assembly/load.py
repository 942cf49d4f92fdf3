"""Networks as runs have trained them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snnbreg.assembly.objects import CPU, build_network, build_splits
from snnbreg.assembly.schema import check
from snnbreg.runs import Run, RunFolder, load_checkpoint, load_network

Sizes = tuple[int, int, tuple[int, int, int] | None]  # channels of a frame, classes, image


class TrainedRun(Run):
    """A run with its network, see :func:`load_run`."""

    @cached_property
    def network(self) -> nn.Module:
        """The network with the weights of the best checkpoint, on the CPU, in ``eval`` mode.

        Raises:
            FileNotFoundError: the run left no ``checkpoints/best.pt``.
            ValueError: the checkpoint is damaged or that of another network.
        """
        checkpoint = self.checkpoint("best")
        config = check(checkpoint["config"], saved=True)
        if config["model"].get("engine") == "triton":  # which knows no CPU
            config["model"]["engine"] = "auto"
        sizes = checkpoint.get("sizes") or _sizes(checkpoint["network"])  # older runs lack them
        sizes = sizes or build_splits(config).sizes
        return trained_network(config, checkpoint, sizes, str(self.folder.best))


def load_run(folder: str | os.PathLike[str]) -> TrainedRun:
    """Read a run folder.

    Args:
        folder: with ``config.yaml`` and ``metrics.csv`` or ``summary.json``.

    Returns:
        A run with ``config`` (nested), ``history`` (a column of ``metrics.csv`` per name, a value
        per epoch), ``summary`` and ``network``, which is built when it is first asked for.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: one of its files is damaged.
    """
    return TrainedRun.read(folder)


def with_options(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's config with some settings changed, checked.

    Args:
        config: as the checkpoint holds it.
        given: nested as the config; a group keeps its other settings.

    Raises:
        ValueError: a setting is wrong.
    """
    changed = dict(config)
    for group, values in given.items():
        changed[group] = {**changed[group], **values} if isinstance(values, dict) else values
    return check(changed, saved=True)


def trained_network(
    config: Mapping[str, Any],
    checkpoint: Mapping[str, Any],
    sizes: Sizes,
    source: str,
    device: torch.device = CPU,
) -> nn.Module:
    """A checkpoint's network in ``eval`` mode; torch's generator stays as it is.

    Args:
        config: checked.
        checkpoint: as :func:`~snnbreg.runs.load_checkpoint` returns it.
        sizes: channels of a frame, classes and, of whole images, (colours, height, width).
        source: where the checkpoint comes from, for messages.
        device: where to put the network.

    Raises:
        ValueError: the checkpoint is that of another network.
    """
    channels, classes, image = sizes
    with torch.random.fork_rng():
        network = build_network(config, channels, classes, device, image)
    load_network(network, checkpoint["network"], source)
    return network.eval()


def init_checkpoint(config: Mapping[str, Any]) -> Path | None:
    """The checkpoint that ``trainer.init_from`` means, the best one of a run folder; or None.

    Raises:
        FileNotFoundError: there is no such file.
    """
    source = config["trainer"]["init_from"]
    if source is None:
        return None
    path = RunFolder(source).best if Path(source).is_dir() else Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"trainer.init_from={source}: there is no checkpoint {path}. Give a run folder, or a "
            "checkpoint such as RUN/checkpoints/last.pt"
        )
    return path


def load_start(config: Mapping[str, Any], network: nn.Module) -> None:
    """Give a new network the weights of ``trainer.init_from``, where that is asked for.

    Args:
        config: checked.
        network: is changed.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is damaged, or that of another network.
    """
    path = init_checkpoint(config)
    if path is not None:
        load_network(network, load_checkpoint(path)["network"], str(path))


def _sizes(state: Mapping[str, torch.Tensor]) -> Sizes | None:
    """Of a spiking network's state: no data set is needed for them."""
    first, last = state.get("layers.0.linear.weight"), state.get("readout.linear.weight")
    if first is None or last is None:
        return None
    return first.shape[1], last.shape[0], None
