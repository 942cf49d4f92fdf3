"""Frames to batches: splits without copies, batches in an order that depends on numbers alone.

Legend: T time bins, B batch, C channels.

Randomness is a pure function of numbers (a seed, an epoch, ...), the same on every machine, without
a global generator. NumPy guarantees the streams of ``SeedSequence`` and ``PCG64`` for good, but not
those of the methods built upon them, so permutations are made here from the raw stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from snnbreg.datasets.binning import Array, Totals

Encoder = Callable[[Tensor, int], Tensor]
"""Frames (T, B, C) and a seed to frames (T', B, C')."""

_ORDER, ENCODE = 0, 1  # streams of random numbers; changes.py has 2, image_loader.py 2 and 3
_NOTHING = Totals()


def permutation(n: int, *entropy: int) -> Tensor:
    """Return a permutation of ``0..n-1`` that depends on ``entropy`` alone.

    Args:
        n: number of elements.
        *entropy: non-negative integers (a seed, an epoch, a stream number).

    Returns:
        int64 tensor ``(n,)``.

    Raises:
        ValueError: if a number in ``entropy`` is negative.

    Example:
        >>> permutation(6, 0).tolist()
        [3, 2, 1, 0, 4, 5]
    """
    raw = np.random.PCG64(_sequence(entropy)).random_raw(n)
    return torch.from_numpy(np.argsort(raw, kind="stable"))


def derive_seed(*entropy: int) -> int:
    """Return a seed below 2**63 for a ``torch.Generator``, a pure function of ``entropy``.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    return int(_sequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sequence(entropy: tuple[int, ...]) -> np.random.SeedSequence:
    if any(number < 0 for number in entropy):
        raise ValueError(f"seeds must be 0 or more, got {entropy}")
    return np.random.SeedSequence(entropy)


@dataclass(frozen=True)
class FrameSet:
    """One split: frames of many samples and which of them belong to it.

    Args:
        frames: uint8 counts, or float32, (samples, T, C), in memory, memory-mapped or on a device;
            never copied.
        labels: int64, the first axis is that of the samples: (samples,) for one label each.
        index: int64, the samples of this split in order; None for all.
        lengths: int64 (samples,), frames used by each sample; a batch is cut to its longest.
            None where every sample uses T.
        scale: frames are multiplied by it in a batch (1/255 for images).
        first: number of ``frames[0]`` among all samples of the data set.
        totals: what was saturated, dropped or empty when the frames were binned.
        notes: other sentences that a run prints at its start.
        speakers: int64 (samples,), who is heard in each; None where nobody knows.
        class_names: of class 0, 1, ...; empty where they are numbers.

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
    totals: Totals = _NOTHING
    notes: tuple[str, ...] = ()
    speakers: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.dtype not in (torch.uint8, torch.float32) or self.frames.ndim != 3:
            raise ValueError(
                "frames must be uint8 or float32 (samples, T, C), got "
                f"{self.frames.dtype} {tuple(self.frames.shape)}"
            )
        samples = len(self.frames)
        if self.labels.dtype != torch.int64 or self.labels.shape[:1] != (samples,):
            raise ValueError(
                f"labels must be int64 with {samples} entries, one per sample, got "
                f"{self.labels.dtype} {tuple(self.labels.shape)}"
            )
        for name in ("lengths", "speakers"):
            each = getattr(self, name)
            if each is not None and (each.dtype != torch.int64 or each.shape != (samples,)):
                raise ValueError(
                    f"{name} must be int64 ({samples},), got {each.dtype} {tuple(each.shape)}"
                )

    @classmethod
    def of_arrays(
        cls,
        frames: Array,
        labels: Array,
        lengths: Array | None = None,
        totals: Totals = _NOTHING,
        speakers: Array | None = None,
        class_names: tuple[str, ...] = (),
    ) -> FrameSet:
        """Return a split with all samples of NumPy arrays, sharing their memory.

        Args:
            frames: uint8 or float32 (samples, T, C).
            labels: int64 (samples,), or with more axes after the first.
            lengths: int64 (samples,) or None.
            totals: what was counted in binning.
            speakers: int64 (samples,) or None.
            class_names: of class 0, 1, ...; empty where they are numbers.
        """
        return cls(
            torch.from_numpy(frames),
            torch.from_numpy(labels),
            lengths=None if lengths is None else torch.from_numpy(lengths),
            totals=totals,
            speakers=None if speakers is None else torch.from_numpy(speakers),
            class_names=class_names,
        )

    def __len__(self) -> int:
        return len(self.frames) if self.index is None else len(self.index)

    @property
    def targets(self) -> Tensor:
        """Labels of the split's samples in order, int64: (len,) for one label each."""
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


class FrameLoader:
    """Batches of a split, as a pure function of (seed, epoch).

    A batch is one gather of counts, then one conversion to float32 that also makes time the first
    dimension. Nothing touches the global random generators.

    Args:
        frames: the split.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: a new order in each epoch; otherwise the split's own.
        seed: of the order and of a random encoding; 0 or more.
        encoder: applied to each batch with a seed of its own.
        device: where batches go; bytes are moved, so the frames may lie there already or not.

    Raises:
        ValueError: if the batch size is below 1 or the split has no samples.

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
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.frames, self.batch_size, self.shuffle, self.seed = frames, batch_size, shuffle, seed
        self.encoder, self.device = encoder, torch.device(device)
        if not len(frames):
            raise ValueError("no batch can be made of a split without samples")

    @property
    def samples(self) -> int:
        """Number of samples in an epoch."""
        return len(self.frames)

    @property
    def ids(self) -> Tensor:
        """Numbers of the samples in the order of an unshuffled epoch, int64 (len of the split,)."""
        return self.frames.ids

    @property
    def speakers(self) -> Tensor | None:
        """Who is heard in the samples, in the order of ``ids``; None where nobody knows."""
        known, index = self.frames.speakers, self.frames.index
        return known if known is None or index is None else known[index]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of class 0, 1, ...; empty where they are numbers."""
        return self.frames.class_names

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.samples // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch.

        Args:
            epoch: its number, 0 or more.

        Yields:
            float32 frames (T, B, C), contiguous, and their int64 labels, samples first: (B,) for
            one label each; both on the device.
        """
        for batch, items in enumerate(self._order(epoch)):
            index = items if self.frames.index is None else self.frames.index[items]
            frames = self._time_first(self._prepared(self._counts(index), epoch, batch))
            if self.encoder is not None:
                frames = self.encoder(frames, derive_seed(self.seed, epoch, ENCODE, batch))
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
        """Gather samples as they are stored, (B, T, C) on the device, cut to the longest."""
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
