"""Frames to batches: splits without copies, batches in an order that depends on numbers alone.

Legend: T time bins, B batch, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snnbreg.datasets.seeds import derive_seed, permutation

Encoder = Callable[[Tensor, int], Tensor]
"""Frames (T, B, C) and a seed to frames (T', B, C')."""

_ORDER, _ENCODE = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class FrameSet:
    """One split: frames of many samples and which of them belong to it.

    Args:
        frames: uint8 (samples, T, C), in memory, memory-mapped or on a device; never copied.
        labels: int64 (samples,).
        index: int64, the samples of this split in order; None for all.
        lengths: int64 (samples,), frames used by each sample; a batch is cut to its longest.
            None where every sample uses T.
        scale: frames are multiplied by it in a batch (1/255 for images).
        first: number of ``frames[0]`` among all samples of the data set.

    Raises:
        ValueError: if types or shapes do not fit together.

    Example:
        >>> s = FrameSet(torch.zeros(5, 3, 2, dtype=torch.uint8), torch.arange(5), first=100)
        >>> part = s.subset(torch.tensor([4, 1]))
        >>> len(s), part.targets.tolist(), part.ids.tolist()
        (5, [4, 1], [104, 101])
    """

    frames: Tensor
    labels: Tensor
    index: Tensor | None = None
    lengths: Tensor | None = None
    scale: float = 1.0
    first: int = 0

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.ndim != 3:
            raise ValueError(
                "frames must be uint8 (samples, T, C), got "
                f"{self.frames.dtype} {tuple(self.frames.shape)}"
            )
        for name, values in (("labels", self.labels), ("lengths", self.lengths)):
            if values is not None and (
                values.dtype != torch.int64 or values.shape != self.frames.shape[:1]
            ):
                raise ValueError(
                    f"{name} must be int64 ({len(self.frames)},), got "
                    f"{values.dtype} {tuple(values.shape)}"
                )

    def __len__(self) -> int:
        return len(self.frames) if self.index is None else len(self.index)

    @property
    def targets(self) -> Tensor:
        """Labels of the split's samples in order, int64 (len,)."""
        return self.labels if self.index is None else self.labels[self.index]

    @property
    def ids(self) -> Tensor:
        """Numbers of the split's samples in their data set, int64 (len,).

        The samples of the training, validation and test files are numbered one behind the other,
        so that each has a number of its own, and the same one whichever split it lands in.
        """
        index = torch.arange(len(self.frames)) if self.index is None else self.index
        return index + self.first

    def subset(self, index: Tensor) -> FrameSet:
        """Return the samples of this split at the given positions, sharing the frames.

        Args:
            index: int64 positions within this split.
        """
        return replace(self, index=index if self.index is None else self.index[index])

    def to(self, device: torch.device | str) -> FrameSet:
        """Return the split with its frames on a device (labels and index stay where they are)."""
        return replace(self, frames=self.frames.to(device))


@dataclass(frozen=True)
class Splits:
    """A loaded data set.

    Args:
        name: of the data set.
        train, valid, test: the splits.
        channels: C of a batch.
        classes: number of classes.
        steps: T of a batch (the longest one where recordings differ).
        saturated: how many counts above 255 were set to 255, over all splits.
        notes: sentences that a run prints at its start.
        encoder: turns a batch of images into spikes; None where frames are used as they are.
        augmented_loader: makes the loader of the shuffled training split where that is augmented;
            None where it is not.
    """

    name: str
    train: FrameSet
    valid: FrameSet
    test: FrameSet
    channels: int
    classes: int
    steps: int
    saturated: int = 0
    notes: tuple[str, ...] = ()
    encoder: Encoder | None = None
    augmented_loader: Callable[..., FrameLoader] | None = None

    def nbytes(self) -> int:
        """Bytes of all frames; splits that share frames count once."""
        frames = {s.frames.data_ptr(): s.frames for s in (self.train, self.valid, self.test)}
        return sum(tensor.nbytes for tensor in frames.values())

    def to(self, device: torch.device | str) -> Splits:
        """Return the data set with its frames on a device; splits that share frames still do."""
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
        drop_last: bool = False,
    ) -> FrameLoader:
        """Return a loader of one split with this data set's encoder.

        The training split is augmented where the data set asks for it, if it is shuffled.

        Args:
            split: ``train``, ``valid`` or ``test``; other arguments as :class:`FrameLoader`.
            batch_size: samples per batch.
            shuffle: new order in each epoch.
            seed: of order and encoding.
            device: where batches go.
            drop_last: leave out a last batch that is smaller than the others.

        Raises:
            ValueError: if there is no such split.
        """
        if split not in ("train", "valid", "test"):
            raise ValueError(f"split must be train, valid or test, got {split!r}")
        frames: FrameSet = getattr(self, split)
        make: Callable[..., FrameLoader] = FrameLoader
        if split == "train" and shuffle and self.augmented_loader is not None:
            make = self.augmented_loader
        return make(frames, batch_size, shuffle, seed, self.encoder, device, drop_last)


class FrameLoader:
    """Batches of a split, as a pure function of (seed, epoch).

    A batch is one gather of bytes, then one conversion to float32 that also makes time the first
    dimension. Nothing touches the global random generators.

    Args:
        frames: the split.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: a new order in each epoch; otherwise the split's own.
        seed: of the order and of a random encoding; 0 or more.
        encoder: applied to each batch with a seed of its own.
        device: where batches go; bytes are moved, so the frames may lie there already or not.
        drop_last: leave out a last batch that is smaller than the others.

    Raises:
        ValueError: if the batch size is below 1 or the split gives no batch.

    Example:
        >>> s = FrameSet(torch.ones(5, 3, 2, dtype=torch.uint8), torch.arange(5))
        >>> [(tuple(x.shape), y.tolist()) for x, y in FrameLoader(s, 3).epoch(0)]
        [((3, 3, 2), [0, 1, 2]), ((3, 2, 2), [3, 4])]
    """

    def __init__(
        self,
        frames: FrameSet,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        encoder: Encoder | None = None,
        device: torch.device | str = "cpu",
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.frames, self.batch_size, self.shuffle, self.seed = frames, batch_size, shuffle, seed
        self.encoder, self.device, self.drop_last = encoder, torch.device(device), drop_last
        if len(self) == 0:
            raise ValueError(
                f"no batch can be made of {len(frames)} samples with batch_size={batch_size} "
                f"and drop_last={drop_last}"
            )

    @property
    def samples(self) -> int:
        """Number of samples in an epoch."""
        return len(self.frames)

    @property
    def ids(self) -> Tensor:
        """Numbers of the samples in the order of an unshuffled epoch, int64 (len of the split,)."""
        return self.frames.ids

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        down, up = self.samples // self.batch_size, -(-self.samples // self.batch_size)
        return down if self.drop_last else up

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch.

        Args:
            epoch: its number, 0 or more.

        Yields:
            float32 frames (T, B, C), contiguous, and int64 labels (B,), on the device.
        """
        for batch, items in enumerate(self._order(epoch)):
            index = items if self.frames.index is None else self.frames.index[items]
            frames = self._time_first(self._prepared(self._counts(index), epoch, batch))
            if self.encoder is not None:
                frames = self.encoder(frames, derive_seed(self.seed, epoch, _ENCODE, batch))
            yield frames, self.frames.labels[index].to(self.device)

    def _prepared(self, counts: Tensor, epoch: int, batch: int) -> Tensor:
        """What a loader that augments does to a batch of counts (B, T, C)."""
        return counts

    def _order(self, epoch: int) -> Iterator[Tensor]:
        """Yield the numbers of the items of each batch, int64 (B,), below ``samples``."""
        order = torch.arange(self.samples)
        if self.shuffle:
            order = permutation(self.samples, self.seed, epoch, _ORDER)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _counts(self, index: Tensor) -> Tensor:
        """Gather samples, uint8 (B, T, C) on the device, cut to the longest."""
        source = self.frames.frames
        counts = source.index_select(0, index.to(source.device))
        if self.frames.lengths is not None:
            counts = counts[:, : int(self.frames.lengths[index].max())]
        if self.device.type == "cuda" and counts.device.type == "cpu":
            counts = counts.pin_memory()  # so that the copy does not wait for the device
        return counts.to(self.device, non_blocking=True)

    def _time_first(self, counts: Tensor) -> Tensor:
        """Convert (B, T, C) to float32 (T, B, C), contiguous and scaled."""
        counts = counts.transpose(0, 1)
        frames = torch.empty(counts.shape, device=self.device).copy_(counts)
        return frames if self.frames.scale == 1.0 else frames.mul_(self.frames.scale)
