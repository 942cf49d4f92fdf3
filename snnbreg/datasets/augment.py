"""The augmentation published for SHD (Queant et al. 2025, arXiv 2509.24852, code).

Legend: B batch, T time bins, C channels. Frames are counts (B, T, C).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from snnbreg.datasets.loader import FrameLoader
from snnbreg.datasets.seeds import derive_seed

MAX_SHIFT = 100
KEEP = 0.5
COPIES = 3
_AUGMENT = 2  # stream of random numbers; loader.py has 0 and 1


class AugmentedLoader(FrameLoader):
    """Three copies of every sample in an epoch: untouched, shifted, blended.

    * shifted: every channel on its own by a random whole number of frames in [-100, 100], zeros
      moving in; what leaves the recording is lost;
    * blended: with a random other sample of the same class; the one whose centre of mass in time
      is earlier is delayed by the rounded difference, each spike of both is kept with probability
      1/2, and the two are added. Frames of recordings that differ in length grow as needed; on a
      fixed grid what moves beyond its end is lost.

    The draws are a pure function of (seed, epoch, batch) on one kind of device. Arguments as
    :class:`~snnbreg.datasets.loader.FrameLoader`.
    """

    @property
    def samples(self) -> int:
        """Number of samples in an epoch: three times those of the split."""
        return COPIES * len(self.frames)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, as :meth:`FrameLoader.epoch` does."""
        partners = _Partners(self.frames.targets)
        for batch, items in enumerate(self._order(epoch)):
            seed = derive_seed(self.seed, epoch, _AUGMENT, batch)
            cpu = torch.Generator().manual_seed(seed)
            generator = torch.Generator(self.device).manual_seed(seed)
            samples, copy = items % len(self.frames), items // len(self.frames)
            parts = [samples[copy == kind] for kind in range(COPIES)]
            made = [self._part(parts[0])] if len(parts[0]) else []
            if len(parts[1]):
                counts = self._part(parts[1])
                made.append(shifted(counts, self._used(parts[1], counts), generator))
            if len(parts[2]):
                others = partners.draw(parts[2], cpu)
                made.append(self._blended(parts[2], others, generator))
            longest = max(part.shape[1] for part in made)
            counts = torch.cat([_padded(part.float(), longest) for part in made])
            yield self._time_first(counts), self.frames.targets[torch.cat(parts)].to(self.device)

    def _part(self, samples: Tensor) -> Tensor:
        index = self.frames.index
        return self._counts(samples if index is None else index[samples])

    def _used(self, samples: Tensor, counts: Tensor) -> Tensor:
        """Return the frames that each sample uses, (B,) on the device."""
        if self.frames.lengths is None:
            return torch.full((len(samples),), counts.shape[1], device=self.device)
        index = samples if self.frames.index is None else self.frames.index[samples]
        return self.frames.lengths[index].to(self.device)

    def _blended(self, samples: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        a, b = self._part(samples), self._part(others)
        delay_a, delay_b = aligning_delays(a, b)
        if self.frames.lengths is None:
            steps = a.shape[1]
        else:
            end_a, end_b = self._used(samples, a) + delay_a, self._used(others, b) + delay_b
            steps = int(torch.maximum(end_a, end_b).max())
        return blended(moved(a, delay_a, steps), moved(b, delay_b, steps), generator)


class Cells(NamedTuple):
    """The non-zero counts of a batch.

    Attributes:
        where: int64 (n,), flat positions in (B, T, C).
        counts: (n,), how many spikes each holds.
        shape: (B, T, C).
    """

    where: Tensor
    counts: Tensor
    shape: tuple[int, int, int]

    def dense(self) -> Tensor:
        """Return the batch, (B, T, C)."""
        frames = self.counts.new_zeros(self.shape)
        frames.view(-1)[self.where] = self.counts
        return frames


def shifted(counts: Tensor, used: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every channel of every sample by a random number of frames.

    Args:
        counts: (B, T, C).
        used: (B,), frames of each recording; nothing is moved beyond them.
        generator: of the shifts, on the device of the counts.

    Returns:
        (B, T, C).
    """
    samples, _, channels = counts.shape
    shift = torch.randint(
        -MAX_SHIFT,
        MAX_SHIFT + 1,
        (samples, channels),
        generator=generator,
        device=counts.device,
    )
    return moved(counts, shift, used).dense()


def aligning_delays(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how many frames each of two batches is delayed so that their centres meet.

    Args:
        a: (B, T, C).
        b: (B, T', C).

    Returns:
        two int64 tensors (B,), of which one is 0 in each place.

    Example:
        >>> early, late = torch.zeros(1, 9, 1), torch.zeros(1, 9, 1)
        >>> early[0, 2], late[0, 7] = 3, 1
        >>> aligning_delays(early, late)
        (tensor([5]), tensor([0]))
    """
    difference = (_centre(a) - _centre(b)).round().long()
    return (-difference).clamp(min=0), difference.clamp(min=0)


def moved(counts: Tensor, shift: Tensor, steps: Tensor | int) -> Cells:
    """Move spikes in time and drop those that leave the recording.

    Args:
        counts: (B, T, C).
        shift: frames by which each sample (B,), or each of its channels (B, C), moves.
        steps: frames of the result, or the frames each sample may use (B,) within T.

    Returns:
        the moved spikes, in T frames or in ``steps`` where that is a number.
    """
    samples, had, channels = counts.shape
    frames = steps if isinstance(steps, int) else had
    flat = counts.reshape(-1)
    where = flat.nonzero().view(-1)
    row, sample = where // channels, where // (had * channels)
    which = sample if shift.ndim == 1 else sample * channels + where % channels
    by = shift.reshape(-1).index_select(0, which)
    time = row - sample * had + by
    limit = steps if isinstance(steps, int) else steps.index_select(0, sample)
    inside = ((time >= 0) & (time < limit)).nonzero().view(-1)
    target = where + (by + sample * (frames - had)) * channels
    found = flat.index_select(0, where.index_select(0, inside))
    return Cells(target.index_select(0, inside), found, (samples, frames, channels))


def blended(a: Cells, b: Cells, generator: torch.Generator) -> Tensor:
    """Keep each spike of two batches of one shape with probability 1/2 and add them.

    Args:
        a: one batch.
        b: the other.
        generator: of the choice, on their device.

    Returns:
        int64 counts (B, T, C).
    """
    spikes = torch.cat([part.where.repeat_interleave(part.counts.long()) for part in (a, b)])
    kept = torch.rand(len(spikes), generator=generator, device=spikes.device) < KEEP
    return spikes[kept].bincount(minlength=math.prod(a.shape)).view(a.shape)


def _centre(counts: Tensor) -> Tensor:
    """Mean time of the spikes in frames, (B,); 0 without spikes."""
    per_frame = counts.sum(dim=2, dtype=torch.float32)
    time = torch.arange(counts.shape[1], device=counts.device, dtype=torch.float32)
    return (per_frame @ time) / per_frame.sum(dim=1).clamp(min=1.0)


def _padded(counts: Tensor, steps: int) -> Tensor:
    return torch.nn.functional.pad(counts, (0, 0, 0, steps - counts.shape[1]))


class _Partners:
    """Another sample of the same class for each sample of a split."""

    def __init__(self, targets: Tensor) -> None:
        self.by_class = targets.argsort(stable=True)
        sizes = targets.bincount()
        self.size = sizes[targets]
        self.start = (sizes.cumsum(0) - sizes)[targets]
        self.rank = torch.empty_like(targets)
        self.rank[self.by_class] = torch.arange(len(targets)) - self.start[self.by_class]

    def draw(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """Return one of the others for each sample; itself where there is no other."""
        size = self.size[samples]
        step = 1 + (torch.rand(len(samples), generator=generator) * (size - 1)).long()
        return self.by_class[self.start[samples] + (self.rank[samples] + step) % size]
