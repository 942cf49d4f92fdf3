"""Moving and mixing the spikes of recordings: pure functions of counts and a generator.

Legend: B batch, T time bins, C channels. Counts are (B, T, C).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

MAX_SHIFT = 100
KEEP = 0.5


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


def shifted_voices(counts: Tensor, max_shift: int, generator: torch.Generator) -> Tensor:
    """Shift every sample as a whole by a random number of channels; zeros move in.

    Args:
        counts: (B, T, C).
        max_shift: the number is uniform in [-max_shift, max_shift].
        generator: of the shifts, on the device of the counts.

    Returns:
        (B, T, C).
    """
    samples, steps, channels = counts.shape
    shift = torch.randint(
        -max_shift, max_shift + 1, (samples, 1), generator=generator, device=counts.device
    )
    padded = torch.nn.functional.pad(counts, (max_shift, max_shift))
    rows = torch.arange(samples * steps, device=counts.device).view(samples, steps)
    start = rows * padded.shape[2] + max_shift - shift
    windows = padded.view(-1).unfold(0, channels, 1)
    return windows.index_select(0, start.view(-1)).view(counts.shape)


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
