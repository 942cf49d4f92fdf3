"""What the data sets of images share: files, splits, and how pixels become channels and steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from snnbreg.datasets.binning import Array
from snnbreg.datasets.cache import Recordings
from snnbreg.datasets.encoders import ImageEncoder
from snnbreg.datasets.idx import read_labelled
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.locate import data_root, require
from snnbreg.datasets.splits import assemble, grid_of

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
BYTE = 1.0 / 255.0


@dataclass
class ImageSet(ABC):
    """Images with labels 0 to 9: an official test split, a validation split chosen by seed.

    Pixels are divided by 255 and nothing else is done to them.

    Args:
        root: folder with the files; None for the user's cache.
        cache: folder for data where ``root`` is None; None for the user's (``SNNBREG_CACHE``).
        binning: ``fixed`` or ``delrec``, which are the same for images.
        valid_fraction: part of the training images that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.
        limit: at most so many samples per split, chosen at random once and for all; None for all.
    """

    root: str | None = None
    cache: str | None = None
    binning: str = "fixed"
    valid_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None

    NAME: ClassVar[str]
    FILES: ClassVar[str] = "mnist"
    CLASSES: ClassVar[int] = 10

    @abstractmethod
    def arrange(self, images: Array) -> Array:
        """Return images (S, ...) as frames (S, T, C)."""

    def image_encoder(self) -> ImageEncoder | None:
        """Return what turns a batch into a sequence; None where frames are used as they are."""
        return None

    def read(self) -> dict[str, tuple[Array, Array]]:
        """Return images and labels of the official training and test split."""
        root = data_root(self.FILES, self.root, self.cache)
        files = require(self.FILES, root, [f"{name}|{name}.gz" for name in IDX_FILES])
        return {
            "train": read_labelled(files[0], files[1]),
            "test": read_labelled(files[2], files[3]),
        }

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        grid_of(self.binning, "delrec")
        encoder = self.image_encoder()
        parts = {}
        for part, (images, labels) in self.read().items():
            frames = np.ascontiguousarray(self.arrange(images))
            frames = frames if frames.flags.writeable else frames.copy()
            parts[part] = Recordings(frames, labels, None, 0, 0, 0)
        return assemble(
            self.NAME,
            parts,
            self.CLASSES,
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
            scale=BYTE,
            encoder=encoder,
        )


@dataclass
class PlainImages(ImageSet):
    """Whole images, shown for some steps as a constant current or as spikes.

    Args:
        root, cache, binning, valid_fraction, split_seed, limit: see :class:`ImageSet`.
        encoder: ``none``, ``rate``, ``latency`` or ``delta``; see
            :class:`~snnbreg.datasets.encoders.ImageEncoder`.
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
