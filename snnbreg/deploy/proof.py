"""That a deployed network says what the trained one says, on every sample of a split.

The trained network is evaluated as deployed (rounded delays, sigma 0), and its spikes and classes
are compared with the simulator's, sample for sample. Both add the same numbers in float32, but in
another order. A spike may therefore differ where a membrane is at the threshold to within rounding,
and what follows from it in that sample; the first difference of every sample is looked at, and
anything else than rounding is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from snnbreg.deploy.network import Array, DeployedNetwork
from snnbreg.deploy.simulator import Simulator, raster
from snnbreg.models import SpikingNetwork

ROUNDING = 1e-4
"""Largest distance of a membrane from the threshold, in thresholds, that rounding explains."""


class Task(Protocol):
    """Gives loss and classes of outputs."""

    def score(self, outputs: Tensor, labels: Tensor) -> Any:
        """Has ``loss``, ``predicted`` and ``labels``."""


class Batch(NamedTuple):
    """Samples with the trained network's own answers."""

    counts: Array
    """(B, T, C) uint8."""
    labels: Array
    """(B,) or (B, T)."""
    outputs: Array
    """(T, B, K)."""
    classes: Array
    """(B,) or (B, T)."""
    spikes: list[Array]
    """Of the hidden layers, (T, B, N) uint8."""


@dataclass
class Proof:
    """What was compared and what differed.

    Attributes:
        samples: how many were compared.
        spikes: by layer, of the trained network, in all samples.
        differing_samples: samples in which at least one spike differs.
        differing_spikes: of those samples, all spikes that differ.
        largest_margin: largest distance of a membrane from the threshold, in thresholds, at the
            first difference of a sample; 0.0 where none differs.
        removed_spikes: spikes of neurons that were left out because they never fire; 0.
        differing_classes: classes that differ, of samples or steps.
        largest_output_difference: of samples without differing spikes, in units of an output.
        trained_acc: of the trained network as deployed.
        acc: of the deployed one.
    """

    samples: int = 0
    spikes: list[int] = field(default_factory=list)
    differing_samples: int = 0
    differing_spikes: int = 0
    largest_margin: float = 0.0
    removed_spikes: int = 0
    differing_classes: int = 0
    largest_output_difference: float = 0.0
    trained_acc: float = 0.0
    acc: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def whole_counts(frames: Tensor, scale: float) -> Array:
    """The bytes that frames were made of.

    Args:
        frames: (T, B, C), counts times ``scale``.
        scale: as the loader multiplied by it.

    Returns:
        (B, T, C) uint8.

    Raises:
        ValueError: frames that are no whole counts from 0 to 255.
    """
    counts = torch.round(frames / scale)
    whole = torch.equal(counts * torch.tensor(scale, dtype=frames.dtype), frames)
    if not whole or counts.min() < 0 or counts.max() > 255:
        raise ValueError(
            "These frames are no whole counts from 0 to 255 (times one scale): such inputs cannot "
            "be exported"
        )
    return counts.to(torch.uint8).transpose(0, 1).contiguous().cpu().numpy()


def trained_answers(
    network: SpikingNetwork, batches: Iterable[tuple[Tensor, Tensor]], scale: float, task: Task
) -> Iterator[Batch]:
    """What the trained network says as deployed; it is as before when the iterator ends."""
    training = network.training
    network.eval()
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, spikes: Tensor) -> None:
            found[name] = spikes

        return hook

    layers = network.spiking_layers()
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        with network.hard_delays(0.0), torch.inference_mode():
            for frames, labels in batches:
                outputs = network(frames)
                score = task.score(outputs, labels)
                yield Batch(
                    whole_counts(frames, scale),
                    labels.cpu().numpy(),
                    outputs.cpu().numpy(),
                    score.predicted.cpu().numpy(),
                    [found[name].to(torch.uint8).cpu().numpy() for name in layers],
                )
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)


def prove(
    answers: Iterable[Batch], network: DeployedNetwork, removed: list[dict[str, list[int]]]
) -> Proof:
    """Compare a deployed network of floats with the trained one.

    Args:
        answers: see :func:`trained_answers`.
        network: the deployed one.
        removed: as ``convert`` returns it.

    Raises:
        ValueError: they differ by more than rounding.
    """
    simulator, proof = Simulator(network), Proof(spikes=[0] * len(network.layers))
    right = trained_right = counted = 0
    for batch in answers:
        for b, counts in enumerate(batch.counts):
            answer = simulator.run(counts)
            wanted = [spikes[:, b] for spikes in batch.spikes]
            pairs = [
                (raster(events, layer.neurons), spikes[:, layer.kept])
                for events, layer, spikes in zip(answer.spikes, network.layers, wanted, strict=True)
            ]
            differing = sum(int((ours != theirs).sum()) for ours, theirs in pairs)
            for i, spikes in enumerate(wanted):
                proof.spikes[i] += int(spikes.sum())
                proof.removed_spikes += int(spikes[:, removed[i]["never_fires"]].sum())
            if differing:
                margin = _first_margin(simulator, counts, pairs)
                proof.largest_margin = max(proof.largest_margin, margin)
                proof.differing_samples += 1
                proof.differing_spikes += differing
            elif network.readout_kind != "spiking":
                distance = float(np.abs(answer.outputs - batch.outputs[:, b]).max())
                proof.largest_output_difference = max(proof.largest_output_difference, distance)
            labels, theirs = batch.labels[b], batch.classes[b]
            proof.differing_classes += int((answer.classes != theirs).sum())
            right += int((answer.classes == labels).sum())
            trained_right += int((theirs == labels).sum())
            counted += int((labels >= 0).sum())
        proof.samples += len(batch.counts)
    proof.acc, proof.trained_acc = right / max(counted, 1), trained_right / max(counted, 1)
    _refuse(proof)
    return proof


def _first_margin(simulator: Simulator, counts: Array, pairs: list[tuple[Array, Array]]) -> float:
    """How far from its threshold, in thresholds, a membrane is at the first differing spikes."""
    first = [np.flatnonzero((ours != theirs).any(1))[:1] for ours, theirs in pairs]
    step, i = min((int(steps[0]), i) for i, steps in enumerate(first) if len(steps))
    ours, theirs = pairs[i]
    membranes = simulator.run(counts, membranes=True).membranes[i][step]
    threshold = simulator.network.layers[i].threshold
    distance = np.abs(membranes - threshold) / threshold
    return float(distance[ours[step] != theirs[step]].max())


def _refuse(proof: Proof) -> None:
    if proof.largest_margin > ROUNDING or proof.removed_spikes:
        raise ValueError(
            f"The deployed network does not equal the trained one: {proof.differing_spikes} spikes "
            f"differ in {proof.differing_samples} of {proof.samples} samples, the first of them "
            f"{proof.largest_margin:.2g} thresholds away from firing, and neurons that cannot fire "
            f"fired {proof.removed_spikes} times. This is a mistake of the export: please report it"
        )
