"""Which weights are non-zero, in what structures, how that changes by epoch; their l1 norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snnbreg.training.network import Weights


class Supports:
    """Compares the supports of weight matrices at the ends of successive epochs.

    Args:
        weights: named; read when asked, one pass over the entries.
    """

    def __init__(self, weights: Sequence[Weights]) -> None:
        self.weights = list(weights)
        self.last = self._now()
        self.ever = {w.name: support.clone() for w, support in self._pairs()}

    def row(self) -> dict[str, float]:
        """What has changed since the last call: ``born``, ``died``, ``overlap``, ``ever_alive``."""
        counts = torch.zeros(4, dtype=torch.int64, device=self.last[0].device)
        now = self._now()
        for weight, before, after in zip(self.weights, self.last, now, strict=True):
            self.ever[weight.name] |= after
            sets = (before & after, before, after, self.ever[weight.name])
            counts += torch.stack([torch.count_nonzero(s) for s in sets])
        self.last = now
        both, before_all, after_all, ever = counts.tolist()
        either = before_all + after_all - both
        return {
            "born": after_all - both,
            "died": before_all - both,
            "overlap": both / either if either else 1.0,
            "ever_alive": ever,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Which weights have ever been non-zero at the end of an epoch, bool by name."""
        return dict(self.ever)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue; the network has been loaded already. What an old state lacks starts now."""
        self.last = self._now()
        for weight, support in self._pairs():
            saved = state.get(weight.name, support)
            self.ever[weight.name] = saved.to(support.device, copy=True)

    def _now(self) -> list[Tensor]:
        return [w.weight.detach() != 0 for w in self.weights]

    def _pairs(self) -> list[tuple[Weights, Tensor]]:
        return list(zip(self.weights, self.last, strict=True))


def counts(weights: Sequence[Weights]) -> dict[str, Any]:
    """Columns that count non-zero weights, rows of matrices and kernels of convolutions; ``l1``.

    Args:
        weights: named; matrices (receivers, senders) or (out, in, *kernel).

    Returns:
        ``nonzero``, ``density`` and ``l1`` (the sum of the sizes) of all; ``rows``, the share of
        rows of matrices with a non-zero weight; where there are convolutions, ``linear`` (density
        of the matrices alone) and ``kernels`` (share of kernels with a non-zero weight); and per
        weight ``nonzero/NAME``, ``rows/NAME`` or ``kernels/NAME``, numbers.
    """
    alive = {w.name: w.weight.detach() != 0 for w in weights}
    matrices = {name: s for name, s in alive.items() if s.ndim == 2}
    rows = {name: s.any(1) for name, s in matrices.items()}
    kernels = {name: s.flatten(2).any(2) for name, s in alive.items() if s.ndim > 2}
    groups = [("nonzero", alive), ("linear", matrices), ("rows", rows), ("kernels", kernels)]
    number = {title: _numbers(part) for title, part in groups}
    share = {
        title: sum(number[title].values()) / sum(s.numel() for s in part.values())
        for title, part in groups
        if part
    }
    return {
        "nonzero": sum(number["nonzero"].values()),
        "density": share["nonzero"],
        "l1": _l1([w.weight.detach() for w in weights]),
        **{key: share[key] for key in ("rows", "kernels") if key in share},
        **({"linear": share["linear"]} if matrices and kernels else {}),
        **{
            f"{title}/{name}": count
            for title in ("nonzero", "rows", "kernels")
            for name, count in number[title].items()
        },
    }


def _l1(weights: Sequence[Tensor]) -> float:
    """The sum of all sizes, with one wait for the device.

    Not ``vector_norm``, which adds in order: in float32 it loses a percent of ten million weights.
    """
    return torch.stack([w.abs().sum().double() for w in weights]).sum().item()


def _numbers(supports: Mapping[str, Tensor]) -> dict[str, int]:
    """How many entries are True, with one wait for the device."""
    if not supports:
        return {}
    found = torch.stack([torch.count_nonzero(s) for s in supports.values()]).tolist()
    return dict(zip(supports, found, strict=True))
