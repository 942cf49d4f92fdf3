"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32 x 32 in colour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnbreg.datasets.binning import Array
from snnbreg.datasets.idx import read_cifar_batch
from snnbreg.datasets.images import PlainImages
from snnbreg.datasets.locate import data_root, require

BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


@dataclass
class CIFAR10(PlainImages):
    """Ten kinds of things, C = 3,072: all red pixels, then green, then blue.

    Fields: see :class:`~snnbreg.datasets.images.PlainImages`. ``root`` holds the six batches
    ``data_batch_1`` to ``data_batch_5`` and ``test_batch`` of the binary version (``.bin``) or the
    Python version, directly or in the folder their archive unpacks to (``cifar-10-batches-bin``,
    ``cifar-10-batches-py``).
    """

    NAME = "cifar10"
    FILES = "cifar10"

    def read(self) -> dict[str, tuple[Array, Array]]:
        """Return images (S, 3, 32, 32) and labels of the official training and test split."""
        root = data_root(self.FILES, self.root, self.cache)
        batches = [read_cifar_batch(path) for path in require(self.FILES, root, _names())]
        images, labels = (np.concatenate(column) for column in zip(*batches[:-1], strict=True))
        return {"train": (images, labels), "test": batches[-1]}


def _names() -> list[str]:
    """Return the batches' possible places below the root, best first."""
    places = ("cifar-10-batches-bin/{}.bin", "cifar-10-batches-py/{}", "{}.bin", "{}")
    return ["|".join(str(Path(place.format(name))) for place in places) for name in BATCHES]
