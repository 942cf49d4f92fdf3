"""Networks of a few weights and batches by hand: what training asks of them, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Batches:
    """A loader of given batches, frames (T, B, C) and labels; it notes which epochs were asked."""

    def __init__(self, *batches: tuple[Tensor, Tensor], first_id: int = 0) -> None:
        self.batches, self.asked = list(batches), list[int]()
        self.ids = first_id + torch.arange(sum(len(labels) for _, labels in batches))

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked.append(epoch)
        return iter(self.batches)


def batches(sizes: Sequence[int], seed: int = 0, channels: int = 3, classes: int = 2) -> Batches:
    """Noise of two steps with noise for labels, in batches of these sizes, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return Batches(
        *(
            (
                torch.randn(2, size, channels, generator=generator, dtype=torch.float64),
                torch.randint(classes, (size,), generator=generator),
            )
            for size in sizes
        )
    )


class Synapses(NamedTuple):
    name: str
    weight: Tensor
    senders: str


class Delayed(nn.Module):
    """One layer that spikes above 0, and a readout that is scaled by its delay and sigma.

    The outputs depend on the two, so that evaluations with other delays or sigmas differ.
    """

    def __init__(self, delay: float = 1.3, sigma: float = 0.5) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.inward = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.outward = nn.Parameter(torch.randn(2, 4, generator=generator, dtype=torch.float64))
        self.delay = nn.Parameter(torch.tensor([delay], dtype=torch.float64))
        self.spikes, self.sigma = nn.Identity(), sigma

    def forward(self, frames: Tensor) -> Tensor:
        spikes = self.spikes((frames @ self.inward.T > 0).double())
        return spikes @ self.outward.T * self.delay + self.sigma * frames[..., :2]

    def spiking_layers(self) -> dict[str, nn.Module]:
        return {"hidden": self.spikes}

    def synapses(self) -> list[Synapses]:
        inward = Synapses("in", self.inward, "input")
        return [inward, Synapses("out", self.outward, "hidden")]

    def delays(self) -> dict[str, Tensor]:
        return {"hidden": self.delay.detach()}

    @contextmanager
    def hard_delays(self, sigma: float | None = None) -> Iterator[None]:
        kept = self.delay.detach().clone(), self.sigma
        with torch.no_grad():
            self.delay.round_()
            self.sigma = self.sigma if sigma is None else sigma
            try:
                yield
            finally:
                self.delay.copy_(kept[0])
                self.sigma = kept[1]

    def round_delays_(self) -> None:
        self.delay.data.round_()

    def clamp_delays_(self) -> None:
        self.delay.data.clamp_(min=0)
