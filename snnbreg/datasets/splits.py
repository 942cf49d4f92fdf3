"""The three splits of a data set: validation by seed, limits, and what a run should be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snnbreg.datasets.binning import Array, Totals
from snnbreg.datasets.loader import Encoder, FrameLoader, FrameSet, permutation

SPLITS = ("train", "valid", "test")
_LIMIT_SEED = 20_240_229  # the samples that a limit keeps do not depend on a run's seed


@dataclass(frozen=True)
class Splits:
    """A loaded data set.

    Args:
        name: of the data set.
        train, valid, test: the splits.
        channels: C of a batch.
        classes: number of classes, or of outputs where there are none.
        steps: T of a batch (the longest one where recordings differ).
        notes: sentences that a run prints at its start.
        encoder: turns a batch of images into spikes; None where frames are used as they are.
        augmented_loader: makes the loader of the shuffled training split where that is augmented;
            None where it is not.
        plain_loader: makes all other loaders.
        image: (colours, height, width) where a step of a batch is a whole image; else None.
    """

    name: str
    train: FrameSet
    valid: FrameSet
    test: FrameSet
    channels: int
    classes: int
    steps: int
    notes: tuple[str, ...] = ()
    encoder: Encoder | None = None
    augmented_loader: Callable[..., FrameLoader] | None = None
    plain_loader: Callable[..., FrameLoader] = FrameLoader
    image: tuple[int, int, int] | None = None

    @property
    def sizes(self) -> tuple[int, int, tuple[int, int, int] | None]:
        """What a network is built for: channels, classes and, of whole images, their shape."""
        return self.channels, self.classes, self.image

    def nbytes(self) -> int:
        """Bytes of all frames; splits that share frames count once."""
        frames = {s.frames.data_ptr(): s.frames for s in (self.train, self.valid, self.test)}
        return sum(tensor.nbytes for tensor in frames.values())

    def to(self, device: torch.device | str) -> Splits:
        """Return the data set with its frames on a device; splits that share frames still do.

        Labels and indices stay where they are.
        """
        moved: dict[int, Tensor] = {}

        def move(split: FrameSet) -> FrameSet:
            place = split.frames.data_ptr()
            if place not in moved:
                moved[place] = split.frames.to(device)
            return replace(split, frames=moved[place])

        return replace(self, train=move(self.train), valid=move(self.valid), test=move(self.test))

    def loader(
        self,
        split: str,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> FrameLoader:
        """Return a loader of one split with this data set's encoder.

        The training split is augmented where the data set asks for it, if it is shuffled.

        Args:
            split: ``train``, ``valid`` or ``test``; other arguments as :class:`FrameLoader`.
            batch_size: samples per batch.
            shuffle: new order in each epoch.
            seed: of order and encoding.
            device: where batches go.

        Raises:
            ValueError: if there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be train, valid or test, got {split!r}")
        frames: FrameSet = getattr(self, split)
        make = self.plain_loader
        if split == "train" and shuffle and self.augmented_loader is not None:
            make = self.augmented_loader
        return make(frames, batch_size, shuffle, seed, self.encoder, device)


def split_validation(
    train: FrameSet, fraction: float, seed: int, key: str = "dataset.valid_fraction"
) -> tuple[FrameSet, FrameSet]:
    """Divide a training set in two at random, the same way on every machine.

    Args:
        train: the official training set.
        fraction: part that becomes the validation set, rounded to whole samples.
        seed: of the division.
        key: what sets the fraction, for the message.

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
            f"{key}={fraction} holds out {size} of {len(train)} training samples: "
            "both parts need at least one"
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


def joined(parts: Iterable[FrameSet]) -> FrameSet:
    """Return whole recordings one behind the other: one copy, shorter ones end in empty frames."""
    parts = list(parts)
    steps = max(part.frames.shape[1] for part in parts)
    samples = sum(len(part.frames) for part in parts)
    frames = torch.zeros(samples, steps, parts[0].frames.shape[2], dtype=torch.uint8)
    totals, start = Totals(), 0
    for part in parts:
        stop = start + len(part.frames)
        frames[start:stop, : part.frames.shape[1]] = part.frames
        totals, start = totals.plus(part.totals), stop
    lengths = [part.lengths for part in parts if part.lengths is not None]
    speakers = [part.speakers for part in parts if part.speakers is not None]
    return FrameSet(
        frames,
        torch.cat([part.labels for part in parts]),
        lengths=torch.cat(lengths) if lengths else None,
        scale=parts[0].scale,
        totals=totals,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        speakers=torch.cat(speakers) if len(speakers) == len(parts) else None,
        class_names=parts[0].class_names,
    )


def describe(parts: Mapping[str, FrameSet]) -> tuple[str, ...]:
    """Return the notes a run prints about its data: what was dropped, saturated or empty."""
    notes: list[str] = []
    for name, part in parts.items():
        for count, text in (
            (part.totals.empty, "recordings without events: their frames are all zero"),
            (part.totals.dropped, "events beyond the grid's duration dropped"),
            (part.totals.saturated, "counts above 255 set to 255"),
        ):
            if count:
                notes.append(f"{name}: {count:,} {text}")
        notes += [note for note in part.notes if note not in notes]
    return tuple(notes)


def missing_note(targets: Tensor, classes: int) -> str:
    """Say which classes no training label names; empty where there is none.

    Example:
        >>> missing_note(torch.tensor([0, 2, 2, -1]), 4)
        'There is no training sample of the classes 1, 3'
    """
    counts = targets[targets >= 0].bincount(minlength=classes)
    missing = (counts == 0).nonzero().flatten().tolist()
    if not missing:
        return ""
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    which = ", ".join(map(str, missing[:10])) + more
    return f"There is no training sample of the class{'es' * (len(missing) > 1)} {which}"


def make_splits(
    name: str,
    parts: Mapping[str, FrameSet],
    classes: int,
    *,
    members: Mapping[str, Array] | None = None,
    limit: int | None = None,
    valid_fraction: float = 0.0,
    split_seed: int = 0,
    encoder: Encoder | None = None,
    steps: int | None = None,
    augmented_loader: Callable[..., FrameLoader] | None = None,
    plain_loader: Callable[..., FrameLoader] = FrameLoader,
    image: tuple[int, int, int] | None = None,
) -> Splits:
    """Make splits of binned recordings or images.

    Args:
        name: of the data set.
        parts: the samples of ``train``, of ``valid`` where there is an official one, and of
            ``test``; they are numbered in this order.
        classes: number of classes.
        members: the numbers of each split's samples; None where the parts are the splits.
        limit: at most so many samples per split.
        valid_fraction: part of the training set that becomes the validation set, where ``parts``
            has none.
        split_seed: of that division.
        encoder: applied to batches of images.
        steps: T of a batch; None for that of the frames.
        augmented_loader: makes the loader of the training split where that is augmented.
        plain_loader: makes the others.
        image: (colours, height, width) where a step of a batch is a whole image.

    Raises:
        ValueError: if a part has no recordings or an option is impossible.
    """
    for part, recordings in parts.items():
        if not len(recordings):
            raise ValueError(f"{name}: the {part} file holds no recordings")
    if members is None:
        sets, first = {}, 0
        for part, recordings in parts.items():
            sets[part] = replace(recordings, first=first)
            first += len(recordings.frames)
    else:
        whole = joined(parts.values())
        parts = {"all splits": whole}
        sets = {split: whole.subset(torch.from_numpy(own)) for split, own in members.items()}
    if "valid" not in sets:
        sets["train"], sets["valid"] = split_validation(sets["train"], valid_fraction, split_seed)
    notes = [*describe(parts), missing_note(sets["train"].targets, classes)]
    sets = {split: limited(sets[split], limit) for split in SPLITS}
    shapes = [recordings.frames.shape for recordings in parts.values()]
    return Splits(
        name=name,
        **sets,
        channels=shapes[0][2],
        classes=classes,
        steps=max(shape[1] for shape in shapes) if steps is None else steps,
        notes=tuple(filter(None, notes)),
        encoder=encoder,
        augmented_loader=augmented_loader,
        plain_loader=plain_loader,
        image=image,
    )
