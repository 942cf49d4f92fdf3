"""Making the three splits: validation by seed, limits, and what a run should be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from snnbreg.datasets.binning import Array
from snnbreg.datasets.cache import Recordings
from snnbreg.datasets.encoders import ImageEncoder
from snnbreg.datasets.loader import FrameLoader, FrameSet, Splits
from snnbreg.datasets.seeds import permutation

BINNINGS = ("fixed", "delrec")
_LIMIT_SEED = 20_240_229  # the samples that a limit keeps do not depend on a run's seed


def grid_of(binning: str, delrec: str) -> str:
    """Return the grid that the config's ``binning`` means for a data set.

    Args:
        binning: ``fixed`` or ``delrec``.
        delrec: the grid published for this data set.

    Raises:
        ValueError: for another name.
    """
    if binning not in BINNINGS:
        raise ValueError(f"dataset.binning must be fixed or delrec, got {binning!r}")
    return delrec if binning == "delrec" else "fixed"


def split_validation(train: FrameSet, fraction: float, seed: int) -> tuple[FrameSet, FrameSet]:
    """Divide a training set in two at random, the same way on every machine.

    Args:
        train: the official training set.
        fraction: part that becomes the validation set, rounded to whole samples.
        seed: of the division.

    Returns:
        the training and the validation split, sharing their frames; both keep the file's order.

    Raises:
        ValueError: if one of them would be empty.

    Example:
        >>> import torch
        >>> s = FrameSet(torch.zeros(8156, 1, 1, dtype=torch.uint8), torch.zeros(8156).long())
        >>> [len(part) for part in split_validation(s, 0.2, seed=0)]
        [6525, 1631]
    """
    size = round(fraction * len(train))
    if not 0 < size < len(train):
        raise ValueError(
            f"dataset.valid_fraction={fraction} leaves {size} of {len(train)} training samples "
            "for validation; both parts need at least one"
        )
    order = permutation(len(train), seed)
    chosen, rest = order[:size].sort().values, order[size:].sort().values
    return train.subset(rest), train.subset(chosen)


def limited(split: FrameSet, limit: int | None) -> FrameSet:
    """Return at most ``limit`` samples of a split: a fixed random choice in the split's order."""
    if limit is None or limit >= len(split):
        return split
    if limit < 1:
        raise ValueError(f"dataset.limit must be 1 or more, or null for all, got {limit}")
    return split.subset(permutation(len(split), _LIMIT_SEED)[:limit].sort().values)


def frame_set(recordings: Recordings, scale: float = 1.0, first: int = 0) -> FrameSet:
    """Return a split with all recordings, numbered from ``first``; the frames are shared."""
    lengths = recordings.lengths
    return FrameSet(
        torch.from_numpy(recordings.frames),
        torch.from_numpy(recordings.labels),
        lengths=None if lengths is None else torch.from_numpy(lengths),
        scale=scale,
        first=first,
    )


def joined(parts: Iterable[Recordings]) -> Recordings:
    """Return recordings one behind the other: one copy, shorter ones end in empty frames."""
    parts = list(parts)
    steps = max(part.frames.shape[1] for part in parts)
    samples = sum(len(part.frames) for part in parts)
    frames = np.zeros((samples, steps, parts[0].frames.shape[2]), np.uint8)
    start = 0
    for part in parts:
        stop = start + len(part.frames)
        frames[start:stop, : part.frames.shape[1]] = part.frames
        start = stop
    lengths = [part.lengths for part in parts if part.lengths is not None]
    return Recordings(
        frames,
        np.concatenate([part.labels for part in parts]),
        np.concatenate(lengths) if lengths else None,
        saturated=sum(part.saturated for part in parts),
        dropped=sum(part.dropped for part in parts),
        empty=sum(part.empty for part in parts),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def describe(parts: Mapping[str, Recordings]) -> tuple[str, ...]:
    """Return the notes a run prints about its data: what was dropped, saturated or empty."""
    notes: list[str] = []
    for name, part in parts.items():
        for count, text in (
            (part.empty, "recordings without events: their frames are all zero"),
            (part.dropped, "events beyond the grid's duration dropped"),
            (part.saturated, "counts above 255 set to 255"),
        ):
            if count:
                notes.append(f"{name}: {count:,} {text}")
        notes += [note for note in part.notes if note not in notes]
    return tuple(notes)


def assemble(
    name: str,
    parts: Mapping[str, Recordings],
    classes: int,
    *,
    members: Mapping[str, Array] | None = None,
    limit: int | None = None,
    valid_fraction: float = 0.0,
    split_seed: int = 0,
    scale: float = 1.0,
    encoder: ImageEncoder | None = None,
    augmented_loader: Callable[..., FrameLoader] | None = None,
) -> Splits:
    """Make splits of binned recordings.

    Args:
        name: of the data set.
        parts: recordings of ``train``, of ``valid`` where there is an official one, and of
            ``test``; samples are numbered in this order.
        classes: number of classes.
        members: the numbers of each split's samples; None where the parts are the splits.
        limit: at most so many samples per split.
        valid_fraction: part of the training set that becomes the validation set, where ``parts``
            has none.
        split_seed: of that division.
        scale: frames are multiplied by it in a batch.
        encoder: applied to batches of images.
        augmented_loader: makes the loader of the training split where that is augmented.

    Raises:
        ValueError: if a part has no recordings or an option is impossible.
    """
    for part, recordings in parts.items():
        if not len(recordings.frames):
            raise ValueError(f"{name}: the {part} file holds no recordings")
    if members is None:
        sets = _numbered(parts, scale)
    else:
        parts = {"all splits": joined(parts.values())}
        whole = frame_set(parts["all splits"], scale)
        sets = {split: whole.subset(torch.from_numpy(own)) for split, own in members.items()}
    if "valid" not in sets:
        sets["train"], sets["valid"] = split_validation(sets["train"], valid_fraction, split_seed)
    chosen: dict[str, Any] = {part: limited(split, limit) for part, split in sets.items()}
    shapes = [recordings.frames.shape for recordings in parts.values()]
    steps = max(shape[1] for shape in shapes)
    return Splits(
        name=name,
        **chosen,
        channels=shapes[0][2],
        classes=classes,
        steps=steps if encoder is None else encoder.steps_of(steps),
        saturated=sum(recordings.saturated for recordings in parts.values()),
        notes=describe(parts),
        encoder=encoder,
        augmented_loader=augmented_loader,
    )


def _numbered(parts: Mapping[str, Recordings], scale: float) -> dict[str, FrameSet]:
    sets: dict[str, FrameSet] = {}
    first = 0
    for part, recordings in parts.items():
        sets[part] = frame_set(recordings, scale, first)
        first += len(recordings.frames)
    return sets
