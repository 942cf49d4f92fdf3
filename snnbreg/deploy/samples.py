"""``samples.bin``: recordings with the answers that a C program must give."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnbreg.deploy.network import Array, DeployedNetwork
from snnbreg.deploy.simulator import Simulator

NAME = "samples.bin"
MAGIC, VERSION = 0x534E4E42, 1
UNLABELLED = 65535


class Sample(NamedTuple):
    """A recording and what is known of it."""

    counts: Array
    """(T, C) uint8."""
    label: Array
    """A scalar array or (T,); -1 where there is none."""
    classes: Array
    """What a program must answer; as ``label``."""


def write_samples(path: Path, network: DeployedNetwork, samples: Sequence[Sample]) -> None:
    """Write recordings, expected classes, and the simulator's scores and spikes.

    Args:
        path: of the file.
        network: the one the program was made of.
        samples: their classes are the trained network's own or, of integers, the simulator's.
    """
    simulator = Simulator(network)
    kinds = (network.integer, network.decision == "step")
    sizes = (network.inputs, network.classes, network.steps, len(network.layers))
    parts = [struct.pack("<9I", MAGIC, VERSION, *sizes, *kinds, len(samples))]
    number = "q" if network.integer else "d"
    for sample in samples:
        answer = simulator.run(sample.counts)
        scores = answer.scores[-1] if answer.scores.ndim == 2 else answer.scores
        parts.append(struct.pack("<I", len(sample.counts)))
        pairs = np.stack([np.atleast_1d(sample.classes), np.atleast_1d(sample.label)], 1)
        parts.append(np.where(pairs < 0, UNLABELLED, pairs).astype("<u2").tobytes())
        parts.append(struct.pack(f"<{len(scores)}{number}", *scores.tolist()))
        spikes = [len(events.sender) for events in answer.spikes]
        parts.append(struct.pack(f"<{len(spikes)}I", *spikes))
        parts += [_step(row) for row in sample.counts]
    path.write_bytes(b"".join(parts))


def _step(counts: Array) -> bytes:
    """The events of one step: their number, then channel and count of each."""
    channels = np.flatnonzero(counts)
    events = np.zeros(len(channels), np.dtype([("channel", "<u2"), ("count", "u1")]))
    events["channel"], events["count"] = channels, counts[channels]
    return struct.pack("<H", len(channels)) + events.tobytes()
