"""Which neurons can be left out without changing any output.

A neuron never fires if even its largest possible membrane stays below the threshold: every
sender with a positive weight firing in every step, for ever, is

    max(0, b + sum_j max(0, W_j) x_max + sum_j max(0, U_j)) / (1 - leak) < threshold,

since a reset only lowers a membrane that has reached a positive threshold. A neuron is unheard if
no path of non-zero weights leads from it to an output. Both are repeated until nothing changes.
That a neuron was silent on some recordings is no proof, and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snnbreg.deploy.network import Array

MARGIN = 1e-5  # of the threshold: float sums in another order are not larger than the bound


@dataclass(frozen=True)
class Dense:
    """A layer's matrices, (receivers, senders), and delays, (senders,) or as the matrix."""

    weight: Array
    delay: Array
    recurrent: Array | None
    recurrent_delay: Array | None
    bias: Array

    def part(self, own: Array, below: Array) -> Dense:
        """The matrices of some neurons and of some of the layer below."""

        def cut(delay: Array, senders: Array) -> Array:
            return delay[senders] if delay.ndim == 1 else delay[np.ix_(own, senders)]

        return Dense(
            self.weight[np.ix_(own, below)],
            cut(self.delay, below),
            None if self.recurrent is None else self.recurrent[np.ix_(own, own)],
            None if self.recurrent_delay is None else cut(self.recurrent_delay, own),
            self.bias[own],
        )


def living(
    hidden: Sequence[Dense], readout: Dense, leak: float, threshold: float, input_max: float
) -> tuple[list[Array], list[dict[str, list[int]]]]:
    """The neurons that may matter, and those that cannot.

    Args:
        hidden: the layers; not changed.
        readout: the last one.
        leak: fraction of a membrane that remains, < 1.
        threshold: > 0.
        input_max: the largest input value.

    Returns:
        By layer the numbers of the neurons to keep, ascending and at least one; and by layer
        ``{"never_fires": [...], "unheard": [...]}``.
    """
    alive = [np.ones(len(dense.bias), bool) for dense in hidden]
    removed: list[dict[str, list[int]]] = [{"never_fires": [], "unheard": []} for _ in hidden]
    while True:
        silent = _never_fire(hidden, alive, leak, threshold, input_max)
        for i, found in enumerate(silent):
            removed[i]["never_fires"] += np.flatnonzero(found).tolist()
            alive[i] &= ~found
        unheard = _unheard(hidden, readout, alive)
        for i, found in enumerate(unheard):
            removed[i]["unheard"] += np.flatnonzero(found).tolist()
            alive[i] &= ~found
        if not any(found.any() for found in [*silent, *unheard]):
            break
    for own, why in zip(alive, removed, strict=True):
        if not own.any():  # a layer of no neurons is more trouble than one that does nothing
            own[0] = True
            for names in why.values():
                names[:] = [number for number in names if number != 0]
    return [np.flatnonzero(own) for own in alive], removed


def _never_fire(
    hidden: Sequence[Dense], alive: list[Array], leak: float, threshold: float, input_max: float
) -> list[Array]:
    found = []
    for i, dense in enumerate(hidden):
        positive = np.maximum(dense.weight, 0.0)
        total = dense.bias + (positive.sum(1) * input_max if i == 0 else positive @ alive[i - 1])
        if dense.recurrent is not None:
            total = total + np.maximum(dense.recurrent, 0.0) @ alive[i]
        largest = np.maximum(total, 0.0) / (1.0 - leak)
        found.append(alive[i] & (largest < threshold * (1.0 - MARGIN)))
    return found


def _unheard(hidden: Sequence[Dense], readout: Dense, alive: list[Array]) -> list[Array]:
    found: list[Array] = []
    above, heard_above = readout.weight, np.ones(len(readout.bias), bool)
    for dense, own in zip(reversed(hidden), reversed(alive), strict=True):
        heard = own & ((above != 0) & heard_above[:, None]).any(0)
        while dense.recurrent is not None:
            more = heard | (own & ((dense.recurrent != 0) & heard[:, None]).any(0))
            if (more == heard).all():
                break
            heard = more
        found.insert(0, own & ~heard)
        above, heard_above = dense.weight, heard
    return found
