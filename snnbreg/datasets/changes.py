"""What makes a recording sound like another voice in another room, anew in each epoch.

Pure functions of counts, a strength and a generator, without a loop over samples, and the loader
that applies them one after the other. Every sample draws how strongly it is changed.
Legend: B batch, T time bins, C channels. Counts are (B, T, C), uint8, and stay so; above 255 they
are set to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnbreg.datasets.loader import FrameLoader, derive_seed

AUGMENT = 2  # stream of random numbers; loader.py has 0 and 1
LIMIT = 255


def shifted_along_channels(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Shift every sample as a whole by a random number of channels; zeros move in.

    The same word in a higher or a lower voice (as in Nowotny et al. 2025, arXiv 2212.01232, for
    SHD).

    Args:
        counts: (B, T, C).
        strength: the number is uniform in [-strength, strength], whole channels.
        generator: of the shifts, on the device of the counts.

    Returns:
        (B, T, C).
    """
    samples, steps, channels = counts.shape
    most = int(strength)
    shift = torch.randint(-most, most + 1, (samples, 1), generator=generator, device=counts.device)
    padded = torch.nn.functional.pad(counts, (most, most))
    rows = torch.arange(samples * steps, device=counts.device).view(samples, steps)
    start = rows * padded.shape[2] + most - shift
    windows = padded.view(-1).unfold(0, channels, 1)
    return windows.index_select(0, start.view(-1)).view(counts.shape)


def stretched_along_channels(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Stretch or squeeze every sample along the channels, about their middle.

    Channel c takes what the channel at c / factor holds, counted from the middle: another vocal
    tract. What is squeezed leaves zeros at both ends.

    Args:
        counts: (B, T, C).
        strength: the factor is uniform in [1 - strength, 1 + strength].
        generator: of the factors, on the device of the counts.

    Returns:
        (B, T, C).
    """
    middle = counts.shape[2] / 2
    source, inside = _sources(counts.shape[2], middle, _factors(counts, strength, generator))
    found = counts.gather(2, source[:, None].expand(counts.shape))
    return found * inside[:, None]


def stretched_in_time(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Stretch or squeeze every sample in time, from its beginning: slower and faster speech.

    Frame t takes what the frame at t / factor holds, so that a slower word has more spikes; what
    moves beyond the end is lost.

    Args:
        counts: (B, T, C).
        strength: the factor is uniform in [1 - strength, 1 + strength].
        generator: of the factors, on the device of the counts.

    Returns:
        (B, T, C).
    """
    source, inside = _sources(counts.shape[1], 0.0, _factors(counts, strength, generator))
    found = counts.gather(1, source[:, :, None].expand(counts.shape))
    return found * inside[:, :, None]


def with_losses(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Lose single events: every sample a share of its own.

    Args:
        counts: (B, T, C).
        strength: the share is uniform in [0, strength]; each event is lost with that probability.
        generator: of shares and events, on the device of the counts.

    Returns:
        (B, T, C).
    """
    share = strength * _uniform(len(counts), counts, generator)
    flat = counts.reshape(-1)
    cells = flat.nonzero().view(-1)
    number = flat.index_select(0, cells).long()
    chance = share.index_select(0, cells // counts[0].numel()).repeat_interleave(number)
    lost = _uniform(len(chance), counts, generator) < chance
    events = cells.repeat_interleave(number)[lost]
    return counts - events.bincount(minlength=len(flat)).view(counts.shape).to(counts.dtype)


def with_additions(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Add single events anywhere: every sample a share of its own.

    Args:
        counts: (B, T, C).
        strength: the share is uniform in [0, strength], of the sample's own number of events.
        generator: of shares and events, on the device of the counts.

    Returns:
        (B, T, C).
    """
    sample = _samples_of_new(counts, strength, generator)
    each = counts[0].numel()
    cell = (each * _uniform(len(sample), counts, generator)).long().clamp(max=each - 1)
    return _added(counts, sample * each + cell)


def with_background(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Add the events of a steady noise: every sample a band and a share of its own.

    The channels of the events are normal about the band's middle, which is uniform over the
    channels, with a deviation between 1/50 and 1/5 of them; events outside the channels are lost.
    Their times are uniform.

    Args:
        counts: (B, T, C).
        strength: the share is uniform in [0, strength], of the sample's own number of events.
        generator: of bands, shares and events, on the device of the counts.

    Returns:
        (B, T, C).
    """
    samples, steps, channels = counts.shape
    sample = _samples_of_new(counts, strength, generator)
    middle = channels * _uniform(samples, counts, generator)
    width = channels * (0.02 + 0.18 * _uniform(samples, counts, generator))
    spread = torch.randn(len(sample), generator=generator, device=counts.device)
    channel = (middle[sample] + width[sample] * spread).floor().long()
    time = (steps * _uniform(len(sample), counts, generator)).long().clamp(max=steps - 1)
    heard = (channel >= 0) & (channel < channels)
    return _added(counts, ((sample * steps + time) * channels + channel)[heard])


def with_gaps(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Silence one band of channels and one stretch of time of every sample.

    What a word is must not hang on one place alone (SpecAugment's masks: Park et al. 2019,
    arXiv 1904.08779, section 2).

    Args:
        counts: (B, T, C).
        strength: the width is uniform in [0, strength], a share of the channels and, drawn anew,
            of the time; rounded down to whole ones. Every place is as likely, whole gaps only.
        generator: of widths and places, on the device of the counts.

    Returns:
        (B, T, C).
    """
    for axis in (2, 1):
        size = counts.shape[axis]
        width = (size * strength * _uniform(len(counts), counts, generator)).floor()
        first = ((size + 1 - width) * _uniform(len(counts), counts, generator)).floor()
        place = torch.arange(size, device=counts.device)
        kept = (place < first[:, None]) | (place >= (first + width)[:, None])
        counts = counts * kept.unsqueeze(3 - axis)
    return counts


class Change(NamedTuple):
    """One kind of change.

    Attributes:
        apply: counts, strength and generator to counts.
        standard: its strength where none is given; None for ``dataset.max_shift``.
        most: the greatest strength that makes sense.
    """

    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    standard: float | None
    most: float


CHANGES = {
    "shift": Change(shifted_along_channels, None, 700),
    "stretch": Change(stretched_along_channels, 0.1, 0.9),
    "pace": Change(stretched_in_time, 0.15, 0.9),
    "lose": Change(with_losses, 0.2, 1.0),
    "add": Change(with_additions, 0.1, 10.0),
    "background": Change(with_background, 0.2, 10.0),
    "mask": Change(with_gaps, 0.15, 1.0),
}
"""The changes by name, in the order in which they are applied."""


def checked_changes(augment: str | Mapping[str, float], max_shift: int) -> dict[str, float]:
    """Return the strength of each change, in the order of :data:`CHANGES`.

    Args:
        augment: names joined by ``+``, or the strengths by name, 0 for none.
        max_shift: the strength of ``shift`` where none is given.

    Raises:
        ValueError: for an unknown name or an impossible strength.

    Example:
        >>> checked_changes("pace+shift", 4), checked_changes({"lose": 0.1, "add": 0}, 4)
        ({'shift': 4, 'pace': 0.15}, {'lose': 0.1})
    """
    given: dict[str, Any] = dict(augment) if isinstance(augment, Mapping) else {}
    for name in augment.split("+") if isinstance(augment, str) else ():
        standard = CHANGES[name].standard if name in CHANGES else 0.0
        given[name] = max_shift if standard is None else standard
    for name, strength in given.items():
        if name not in CHANGES:
            raise ValueError(
                f"dataset.augment must be one of none, delrec, delrec_shift, or changes of "
                f"{', '.join(CHANGES)} joined by +, or {{change: strength}}, got {name!r}"
            )
        number = isinstance(strength, (int, float)) and not isinstance(strength, bool)
        if not number or not 0 <= strength <= CHANGES[name].most:
            raise ValueError(
                f"dataset.augment: the strength of {name} must be between 0 and "
                f"{CHANGES[name].most:g}, got {strength}"
            )
    if given.get("shift", 1) % 1:
        raise ValueError(
            f"dataset.augment: shift takes whole channels, got {given['shift']}; a part of one "
            "is what stretch is for"
        )
    return {name: given[name] for name in CHANGES if given.get(name)}


class ChangedLoader(FrameLoader):
    """Every recording is changed, anew in each epoch.

    The draws are a pure function of (seed, epoch, batch) on one kind of device.

    Args:
        *arguments, **options: of :class:`~snnbreg.datasets.loader.FrameLoader`.
        changes: strengths by name, see :func:`checked_changes`.
    """

    def __init__(self, *arguments: Any, changes: Mapping[str, float], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.changes = dict(changes)

    def _prepared(self, counts: Tensor, epoch: int, batch: int) -> Tensor:
        generator = torch.Generator(self.device)
        generator.manual_seed(derive_seed(self.seed, epoch, AUGMENT, batch))
        for name, strength in self.changes.items():
            counts = CHANGES[name].apply(counts, strength, generator)
        return counts


def _uniform(n: int, counts: Tensor, generator: torch.Generator) -> Tensor:
    """Return n numbers in [0, 1) on the device of the counts."""
    return torch.rand(n, generator=generator, device=counts.device)


def _factors(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return a factor per sample, (B, 1)."""
    return 1 + strength * (2 * _uniform(len(counts), counts, generator)[:, None] - 1)


def _sources(size: int, middle: float, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the cells of a stretched axis come from, (B, size), and whether from inside.

    A cell comes from the one that its centre is in before the stretch.
    """
    centres = torch.arange(size, device=factors.device) + (0.5 - middle)
    source = (centres / factors + middle).floor().long()
    return source.clamp(0, size - 1), (source >= 0) & (source < size)


def _samples_of_new(counts: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return for each event to add the number of its sample, ascending."""
    events = counts.sum((1, 2), dtype=torch.float32)
    number = (strength * _uniform(len(counts), counts, generator) * events).round().long()
    return torch.arange(len(counts), device=counts.device).repeat_interleave(number)


def _added(counts: Tensor, cells: Tensor) -> Tensor:
    """Return the counts with an event more for every flat cell number."""
    more = cells.bincount(minlength=counts.numel()).view(counts.shape)
    return (more + counts).clamp_(max=LIMIT).to(counts.dtype)
