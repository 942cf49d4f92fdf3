"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32 x 32 in colour."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnbreg.datasets.binning import Array
from snnbreg.datasets.download import data_root, require
from snnbreg.datasets.images import EncodedImages, checked_labels

CIFAR_SHAPE = (3, 32, 32)
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


@dataclass
class CIFAR10(EncodedImages):
    """Ten kinds of things, C = 3,072: all red pixels, then green, then blue.

    Fields: see :class:`~snnbreg.datasets.images.EncodedImages`. ``root`` holds the six batches
    ``data_batch_1`` to ``data_batch_5`` and ``test_batch`` of the binary version (``.bin``) or the
    Python version, directly or in the folder their archive unpacks to (``cifar-10-batches-bin``,
    ``cifar-10-batches-py``).
    """

    NAME = "cifar10"

    def read(self) -> dict[str, tuple[Array, Array]]:
        """Return images (S, 3, 32, 32) and labels of the official training and test split."""
        root = data_root(self.NAME, self.root, self.cache)
        batches = [read_cifar_batch(path) for path in require(self.NAME, root, _names())]
        images, labels = (np.concatenate(column) for column in zip(*batches[:-1], strict=True))
        return {"train": (images, labels), "test": batches[-1]}


def _names() -> list[str]:
    """Return the batches' possible places below the root, best first."""
    places = ("cifar-10-batches-bin/{}.bin", "cifar-10-batches-py/{}", "{}.bin", "{}")
    return ["|".join(str(Path(place.format(name))) for place in places) for name in BATCHES]


def read_cifar_batch(path: Path) -> tuple[Array, Array]:
    """Read one batch of CIFAR-10, of the binary version (``.bin``) or the Python one.

    Returns:
        uint8 images (S, 3, 32, 32), channels red, green, blue, and int64 labels (S,).

    Raises:
        OSError: if the file is truncated.
        ValueError: if it is no such batch.
    """
    size = int(np.prod(CIFAR_SHAPE))
    if path.suffix == ".bin":
        content = np.fromfile(path, np.uint8)
        if len(content) % (size + 1) or not len(content):
            raise OSError(
                f"{path} is truncated or no batch of CIFAR-10: {len(content):,} bytes are no "
                f"whole number of records of {size + 1:,}"
            )
        records = content.reshape(-1, size + 1)
        pixels, labels = records[:, 1:], records[:, 0]
    else:
        pixels, labels = _python_batch(path, size)
    return pixels.reshape(-1, *CIFAR_SHAPE), checked_labels(path, labels)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays and plain values, nothing that could run code."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "encode")

    def find_class(self, module: str, name: str) -> Any:
        if name not in self.ALLOWED or module.split(".")[0] not in ("numpy", "_codecs"):
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a batch of images")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _python_batch(path: Path, size: int) -> tuple[Array, Array]:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is truncated or no batch of CIFAR-10 ({error})") from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), size):
        raise ValueError(
            f"{path} is no batch of CIFAR-10: its data are {pixels.dtype} {pixels.shape}, its "
            f"labels {labels.shape}"
        )
    return pixels, labels
