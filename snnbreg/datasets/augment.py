"""Augmentation of recordings: which loader a name means, and what is published for SHD.

Its loader, and the pure functions of counts and a generator that it calls.
Legend: B batch, T time bins, C channels. Counts are (B, T, C).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from snnbreg.datasets.changes import (
    AUGMENT,
    ChangedLoader,
    checked_changes,
    shifted_along_channels,
)
from snnbreg.datasets.loader import FrameLoader, derive_seed

COPIES = 3
MAX_SHIFT = 100  # frames
KEEP = 0.5


def augmentation(
    augment: str | Mapping[str, float], max_shift: int
) -> Callable[..., FrameLoader] | None:
    """Return what makes the loader of a training split; None without augmentation.

    Args:
        augment: ``none``; changes (:data:`~snnbreg.datasets.changes.CHANGES`) joined by ``+``, or
            their strengths by name; ``delrec``, as published for SHD (:class:`AugmentedLoader`);
            ``delrec_shift``, the same with whole recordings shifted along the channels in place
            of single channels in time.
        max_shift: of ``shift`` and ``delrec_shift``, in channels.

    Raises:
        ValueError: for another name, or a shift below 1 where one is used.
    """
    named = augment.split("+") if isinstance(augment, str) else []
    if max_shift < 1 and {"shift", "delrec_shift"} & set(named):
        raise ValueError(
            f"dataset.augment={augment} needs dataset.max_shift of 1 channel or more, got "
            f"{max_shift}"
        )
    if augment == "delrec":
        return AugmentedLoader
    if augment == "delrec_shift":
        return functools.partial(AugmentedLoader, max_shift=max_shift)
    changes = {} if augment == "none" else checked_changes(augment, max_shift)
    return functools.partial(ChangedLoader, changes=changes) if changes else None


class AugmentedLoader(FrameLoader):
    """Three copies of every sample in an epoch: untouched, shifted, blended.

    Published for SHD (Queant et al. 2025, arXiv 2509.24852, code).

    * shifted: every channel on its own by a random whole number of frames in [-100, 100], zeros
      moving in; what leaves the recording is lost. This tears a word apart: with ``max_shift``
      the recording is shifted as a whole, as by the change ``shift``;
    * blended: with a random other sample of the same class; the one whose centre of mass in time
      is earlier is delayed by the rounded difference, each spike of both is kept with probability
      1/2, and the two are added. Frames of recordings that differ in length grow as needed; on a
      fixed grid what moves beyond its end is lost.

    The draws are a pure function of (seed, epoch, batch) on one kind of device.

    Args:
        *arguments, **options: of :class:`~snnbreg.datasets.loader.FrameLoader`.
        max_shift: channels, for shifts of whole recordings; None for the published shift.
    """

    def __init__(self, *arguments: Any, max_shift: int | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.max_shift = max_shift

    @property
    def samples(self) -> int:
        """Number of samples in an epoch: three times those of the split."""
        return COPIES * len(self.frames)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, as :meth:`FrameLoader.epoch` does."""
        partners = _Partners(self.frames.targets)
        for batch, items in enumerate(self._order(epoch)):
            seed = derive_seed(self.seed, epoch, AUGMENT, batch)
            cpu = torch.Generator().manual_seed(seed)
            generator = torch.Generator(self.device).manual_seed(seed)
            samples, copy = items % len(self.frames), items // len(self.frames)
            parts = [samples[copy == kind] for kind in range(COPIES)]
            made = [self._part(parts[0])] if len(parts[0]) else []
            if len(parts[1]):
                made.append(self._shifted(parts[1], generator))
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

    def _shifted(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        counts = self._part(samples)
        if self.max_shift is None:
            return shifted_in_time(counts, self._used(samples, counts), generator)
        return shifted_along_channels(counts, self.max_shift, generator)

    def _blended(self, samples: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
        a, b = self._part(samples), self._part(others)
        delay_a, delay_b = aligning_delays(a, b)
        if self.frames.lengths is None:
            steps = a.shape[1]
        else:
            end_a, end_b = self._used(samples, a) + delay_a, self._used(others, b) + delay_b
            steps = int(torch.maximum(end_a, end_b).max())
        return blended(a, delay_a, b, delay_b, steps, generator)


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


def shifted_in_time(counts: Tensor, used: Tensor, generator: torch.Generator) -> Tensor:
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
    return moved(counts, shift, used)


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


def moved(counts: Tensor, shift: Tensor, steps: Tensor | int) -> Tensor:
    """Move spikes in time and drop those that leave the recording.

    Args:
        counts: (B, T, C).
        shift: frames by which each sample (B,), or each of its channels (B, C), moves.
        steps: frames of the result, or the frames each sample may use (B,) within T.

    Returns:
        (B, T, C), or (B, steps, C) where that is a number.
    """
    samples, had, channels = counts.shape
    where, found = _moved_cells(counts, shift, steps)
    result = found.new_zeros(samples, steps if isinstance(steps, int) else had, channels)
    result.view(-1)[where] = found
    return result


def blended(
    a: Tensor, delay_a: Tensor, b: Tensor, delay_b: Tensor, steps: int, generator: torch.Generator
) -> Tensor:
    """Delay two batches, keep each of their spikes with probability 1/2 and add them.

    Args:
        a: (B, T, C).
        delay_a: frames by which each sample of it moves, (B,).
        b: (B, T', C).
        delay_b: the same of ``b``.
        steps: frames of the result.
        generator: of the choice, on their device.

    Returns:
        int64 counts (B, steps, C).
    """
    shape = (a.shape[0], steps, a.shape[2])
    cells = (_moved_cells(a, delay_a, steps), _moved_cells(b, delay_b, steps))
    spikes = torch.cat([where.repeat_interleave(counts.long()) for where, counts in cells])
    kept = torch.rand(len(spikes), generator=generator, device=spikes.device) < KEEP
    return spikes[kept].bincount(minlength=math.prod(shape)).view(shape)


def _moved_cells(counts: Tensor, shift: Tensor, steps: Tensor | int) -> tuple[Tensor, Tensor]:
    """Return the flat positions (n,) in the result of :func:`moved`, and the counts there."""
    _, had, channels = counts.shape
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
    return target.index_select(0, inside), found


def _centre(counts: Tensor) -> Tensor:
    """Mean time of the spikes in frames, (B,); 0 without spikes."""
    per_frame = counts.sum(dim=2, dtype=torch.float32)
    time = torch.arange(counts.shape[1], device=counts.device, dtype=torch.float32)
    return (per_frame @ time) / per_frame.sum(dim=1).clamp(min=1.0)
