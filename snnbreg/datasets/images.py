"""What data sets of images share: splits, and how pixels become channels, steps and spikes.

Legend: S samples, T0 rows of pixels a batch comes with (1 for whole images), T time steps, B batch,
C pixels per step.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from snnbreg.datasets.binning import Array
from snnbreg.datasets.image_encoder import ImageEncoder
from snnbreg.datasets.image_loader import ImageLoader, fixed_noise
from snnbreg.datasets.loader import FrameSet
from snnbreg.datasets.splits import Splits, make_splits

BYTE = 1.0 / 255.0
TARGETS = ("label", "image")


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

    def shown(self, shape: tuple[int, ...], samples: int) -> dict[str, Any]:
        """Return ``classes``, ``image`` and the loaders, as :func:`make_splits` takes them.

        Args:
            shape: of an image, as it is read.
            samples: of all splits together.
        """
        return {"classes": self.CLASSES}

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        encoder = self.image_encoder()
        parts = {}
        content = self.read()
        for part, (images, labels) in content.items():
            frames = np.ascontiguousarray(self.arrange(images))
            frames = frames if frames.flags.writeable else frames.copy()
            parts[part] = FrameSet(torch.from_numpy(frames), torch.from_numpy(labels), scale=BYTE)
        return make_splits(
            self.NAME,
            parts,
            **self.shown(content["train"][0].shape[1:], sum(map(len, parts.values()))),
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
            encoder=encoder,
            steps=None if encoder is None else encoder.steps_of(frames.shape[1]),
        )


@dataclass
class EncodedImages(ImageDataset):
    """Whole images, shown once, or for some steps as a constant current or as spikes.

    Args:
        root, cache, valid_fraction, split_seed, limit: see :class:`ImageDataset`.
        encoder: ``image``, ``none``, ``rate``, ``latency`` or ``delta``; see
            :class:`ImageEncoder`.
        steps: T; ``image`` has one step, ``delta`` reads the image row by row and has as many
            steps as rows.
        threshold: of ``latency`` and ``delta``, in units of the full intensity.
        mean, std: of the pixels in these units, by colour or one for all; used by ``image`` alone.
        crop_padding: training images are padded with so many black pixels on each side and cut
            out again at a random place, anew in each epoch.
        flip: training images are mirrored left and right at random, anew in each epoch.
        noise: standard deviation of normal noise that is drawn once for all pixels of all splits.
        noise_seed: of the noise; it does not follow the run's seed.
        target: ``label``, or ``image``: what the network is to give are the pixels without noise,
            between 0 and 1, float32 (B, C).
    """

    encoder: str = "rate"
    steps: int = 25
    threshold: float = 0.1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    crop_padding: int = 0
    flip: bool = False
    noise: float = 0.0
    noise_seed: int = 0
    target: str = "label"

    def __post_init__(self) -> None:
        """Refuse settings that no image can go with."""
        self.image_encoder()

    def image_encoder(self) -> ImageEncoder | None:
        """Return what turns a batch of images into a sequence.

        Raises:
            ValueError: if a setting is impossible.
        """
        if self.target not in TARGETS:
            valid = ", ".join(TARGETS)
            raise ValueError(f"dataset.target must be one of {valid}, got {self.target!r}")
        for name in ("crop_padding", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"dataset.{name} must be 0 or more, got {getattr(self, name)}")
        changed = self.crop_padding or self.flip or self.noise or self.target == "image"
        if self.encoder == "delta" and changed:
            raise ValueError(
                "dataset.encoder=delta reads rows, but crop_padding, flip, noise and target=image "
                "need whole images: take another encoder"
            )
        if self.noise and self.encoder not in ("image", "none"):
            raise ValueError(
                f"dataset.noise leaves no intensities between 0 and 1 for the encoder "
                f"{self.encoder}: take dataset.encoder=image or none, or dataset.noise=0"
            )
        return ImageEncoder(
            self.encoder, self.steps, self.threshold, tuple(self.mean), tuple(self.std)
        )

    def shown(self, shape: tuple[int, ...], samples: int) -> dict[str, Any]:
        """Return ``classes``, ``image`` and the loaders, as :func:`make_splits` takes them."""
        if self.encoder == "delta":
            return super().shown(shape, samples)
        colours, height, width = shape if len(shape) == 3 else (1, *shape)
        pixels = colours * height * width
        plain = functools.partial(
            ImageLoader,
            image=(colours, height, width),
            noise=fixed_noise(samples, pixels, self.noise, self.noise_seed) if self.noise else None,
            reconstruct=self.target == "image",
        )
        return {
            "classes": pixels if self.target == "image" else self.CLASSES,
            "image": (colours, height, width),
            "plain_loader": plain,
            "augmented_loader": functools.partial(
                plain, crop_padding=self.crop_padding, flip=self.flip
            ),
        }

    def arrange(self, images: Array) -> Array:
        """Return whole images (S, 1, C), or their rows (S, rows, C) for ``delta``."""
        if self.encoder != "delta":
            return images.reshape(len(images), 1, -1)
        rows = images if images.ndim == 3 else images.transpose(0, 2, 1, 3)
        return rows.reshape(len(rows), rows.shape[1], -1)


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
