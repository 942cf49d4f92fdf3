"""What data sets of images share: splits, and how pixels become channels, steps and spikes.

Legend: S samples, T0 rows of pixels a batch comes with (1 for whole images), T time steps, B batch,
C pixels per step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from snnbreg.datasets.binning import Array
from snnbreg.datasets.loader import FrameSet
from snnbreg.datasets.splits import Splits, make_splits

BYTE = 1.0 / 255.0
ENCODERS = ("none", "rate", "latency", "delta")


@dataclass
class ImageDataset(ABC):
    """Images with labels 0 to 9: an official test split, a validation split chosen by seed.

    Pixels are divided by 255 and nothing else is done to them.

    Args:
        root: folder with the files; None for the user's cache.
        cache: folder for data where ``root`` is None; None for the user's (``SNNBREG_CACHE``).
        valid_fraction: part of the training images that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.
        limit: at most so many samples per split, chosen at random once and for all; None for all.
    """

    root: str | None = None
    cache: str | None = None
    valid_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None

    NAME: ClassVar[str]
    CLASSES: ClassVar[int] = 10

    @abstractmethod
    def read(self) -> dict[str, tuple[Array, Array]]:
        """Return images, uint8 (S, ...), and labels, int64 (S,), of ``train`` and ``test``."""

    @abstractmethod
    def arrange(self, images: Array) -> Array:
        """Return images (S, ...) as frames (S, T0, C)."""

    def image_encoder(self) -> ImageEncoder | None:
        """Return what turns a batch into a sequence; None where frames are used as they are."""
        return None

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        encoder = self.image_encoder()
        parts = {}
        for part, (images, labels) in self.read().items():
            frames = np.ascontiguousarray(self.arrange(images))
            frames = frames if frames.flags.writeable else frames.copy()
            parts[part] = FrameSet(torch.from_numpy(frames), torch.from_numpy(labels), scale=BYTE)
        return make_splits(
            self.NAME,
            parts,
            self.CLASSES,
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
            encoder=encoder,
            steps=None if encoder is None else encoder.steps_of(frames.shape[1]),
        )


@dataclass
class EncodedImages(ImageDataset):
    """Whole images, shown for some steps as a constant current or as spikes.

    Args:
        root, cache, valid_fraction, split_seed, limit: see :class:`ImageDataset`.
        encoder: ``none``, ``rate``, ``latency`` or ``delta``; see :class:`ImageEncoder`.
        steps: T; ``delta`` reads the image row by row and has as many steps as rows.
        threshold: of ``latency`` and ``delta``, in units of the full intensity.
    """

    encoder: str = "rate"
    steps: int = 25
    threshold: float = 0.1

    def image_encoder(self) -> ImageEncoder | None:
        """Return what turns a batch of images into a sequence."""
        return ImageEncoder(self.encoder, self.steps, self.threshold)

    def arrange(self, images: Array) -> Array:
        """Return whole images (S, 1, C), or their rows (S, rows, C) for ``delta``."""
        if self.encoder != "delta":
            return images.reshape(len(images), 1, -1)
        rows = images if images.ndim == 3 else images.transpose(0, 2, 1, 3)
        return rows.reshape(len(rows), rows.shape[1], -1)


@dataclass(frozen=True)
class ImageEncoder:
    """Turns intensities into a sequence of T steps.

    * ``none``: the intensities at every step, a constant current;
    * ``rate``: a spike with the intensity as probability, at each step anew;
    * ``latency``: one spike per pixel, the brighter the earlier: at step (T - 1)(1 - intensity),
      rounded; pixels below ``threshold`` are silent;
    * ``delta``: the image is read row by row (T = rows), with a spike of +1 where a pixel is
      brighter than the one above it by ``threshold`` or more, -1 where it is darker by as much;
      the first row is silent.

    Args:
        kind: one of these.
        steps: T; ``delta`` has the image's rows instead.
        threshold: of ``latency`` and ``delta``, in units of the full intensity.

    Raises:
        ValueError: if an argument is impossible.

    Reference: Eshraghian et al. 2023, arXiv 2109.12894, section III; ``snntorch.spikegen``.

    Example:
        >>> ImageEncoder("none", 3)(torch.tensor([[[0.5, 1.0]]]), seed=0).tolist()
        [[[0.5, 1.0]], [[0.5, 1.0]], [[0.5, 1.0]]]
    """

    kind: str = "rate"
    steps: int = 25
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise ValueError(
                f"dataset.encoder must be one of {', '.join(ENCODERS)}, got {self.kind!r}"
            )
        least = 2 if self.kind == "latency" else 1
        if self.steps < least:
            raise ValueError(
                f"dataset.steps must be {least} or more for the encoder {self.kind}, "
                f"got {self.steps}"
            )
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"dataset.threshold must lie between 0 and 1, got {self.threshold}")

    def steps_of(self, rows: int) -> int:
        """Return T for frames with T0 = ``rows``."""
        return rows if self.kind == "delta" else self.steps

    def __call__(self, frames: Tensor, seed: int) -> Tensor:
        """Encode a batch.

        Args:
            frames: float (T0, B, C) in [0, 1]; T0 = 1 except for ``delta``.
            seed: of ``rate``, which is a pure function of it on one kind of device; the global
                generators are left as they were.

        Returns:
            float32 (T, B, C).
        """
        if self.kind == "none":
            return frames.repeat(self.steps, 1, 1)
        from snntorch import spikegen

        if self.kind == "delta":
            return spikegen.delta(frames, threshold=self.threshold, padding=True, off_spike=True)
        if self.kind == "latency":
            return spikegen.latency(
                frames[0],
                num_steps=self.steps,
                threshold=self.threshold,
                linear=True,
                normalize=True,
                clip=True,
            )
        devices = [frames.device] if frames.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            return spikegen.rate(frames[0], num_steps=self.steps)


def checked_labels(path: Path, labels: Array, classes: int = 10) -> Array:
    """Return labels as int64 after a look at their range.

    Raises:
        ValueError: if a label is not among ``0..classes - 1``.
    """
    if len(labels) and int(labels.max()) >= classes:
        raise ValueError(
            f"{path} holds label {labels.max()}, but there are only classes 0 to {classes - 1}"
        )
    return labels.astype(np.int64)
