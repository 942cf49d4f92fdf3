"""The MNIST family: MNIST and Fashion-MNIST as whole images, MNIST pixel by pixel and row by row.

MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 60,000 training
and 10,000 test images of 28 x 28 bytes in four IDX files, gzipped or not.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from snnbreg.datasets.binning import Array
from snnbreg.datasets.download import data_root, require
from snnbreg.datasets.images import EncodedImages, ImageDataset, checked_labels
from snnbreg.datasets.loader import permutation

UNSIGNED_BYTES = 0x08
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass
class IdxImages(ImageDataset):
    """Images in the four IDX files of MNIST; fields as :class:`ImageDataset`.

    ``root`` holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.
    """

    FILES: ClassVar[str] = "mnist"  # the data set that the files are fetched as

    def read(self) -> dict[str, tuple[Array, Array]]:
        """Return images, uint8 (S, 28, 28), and labels, int64 (S,), of ``train`` and ``test``."""
        root = data_root(self.FILES, self.root, self.cache)
        files = require(self.FILES, root, [f"{name}|{name}.gz" for name in IDX_FILES])
        return {
            "train": read_labelled(files[0], files[1]),
            "test": read_labelled(files[2], files[3]),
        }


@dataclass
class MNIST(IdxImages, EncodedImages):
    """Handwritten digits, C = 784; fields as :class:`EncodedImages`, files :class:`IdxImages`."""

    NAME = "mnist"


@dataclass
class FashionMNIST(MNIST):
    """Articles of clothing, in files and fields like :class:`MNIST`."""

    NAME = "fashion_mnist"
    FILES = "fashion_mnist"


@dataclass
class SMNIST(IdxImages):
    """Sequential MNIST: one pixel per step, T = 784, C = 1, intensities from 0 to 1.

    Files and fields as :class:`IdxImages`. The split is the one of permuted MNIST: 49,800 / 10,200
    / 10,000.
    """

    valid_fraction: float = 0.17

    NAME = "smnist"

    def arrange(self, images: Array) -> Array:
        """Return the pixels in reading order, (S, 784, 1)."""
        return images.reshape(len(images), -1, 1)


@dataclass
class PSMNIST(SMNIST):
    """Permuted sequential MNIST: the 784 pixels of every image in one fixed random order.

    The published code draws the order from the global generator of the run, so that it differs
    between seeds (Queant et al. 2025, arXiv 2509.24852, code); here it has a seed of its own and
    is the same on every machine.

    Args:
        root, cache, valid_fraction, split_seed, limit: see :class:`ImageDataset`; the published
            split is int(0.83 * 60,000) = 49,800 for training and 10,200 for validation.
        permutation_seed: of the order of the pixels.
    """

    permutation_seed: int = 0

    NAME = "psmnist"

    def arrange(self, images: Array) -> Array:
        """Return the pixels in the permuted order, (S, 784, 1)."""
        pixels = images.reshape(len(images), -1)
        return pixels[:, permutation(pixels.shape[1], self.permutation_seed).numpy()][..., None]


@dataclass
class RowsMNIST(IdxImages):
    """MNIST row by row: T = 28 steps of C = 28 pixels, intensities from 0 to 1.

    Files and fields as :class:`IdxImages`.
    """

    NAME = "rows_mnist"

    def arrange(self, images: Array) -> Array:
        """Return the rows, (S, 28, 28)."""
        return images


def read_idx(path: Path, dimensions: int) -> Array:
    """Read an IDX file of bytes, gzipped or not.

    The format: two zero bytes, a code for the type (8 = unsigned byte), the number of dimensions,
    each dimension as a big-endian 32-bit number, then the values.

    Args:
        path: the file; ``.gz`` means gzipped.
        dimensions: how many are expected (1 for labels, 3 for images).

    Returns:
        uint8 array.

    Raises:
        OSError: if the file is truncated.
        ValueError: if it is no IDX file of bytes with so many dimensions.
    """
    content = _content(path)
    if content[:4] != bytes((0, 0, UNSIGNED_BYTES, dimensions)):
        raise ValueError(
            f"{path} is no IDX file of bytes with {dimensions} dimension(s): it begins with "
            f"{content[:4].hex() or 'nothing'}, expected 0000{UNSIGNED_BYTES:02x}{dimensions:02x}"
        )
    start = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">u4"))
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(shape) < dimensions or len(content) != expected:
        raise OSError(
            f"{path} is truncated or damaged: {len(content):,} bytes, expected {expected:,} for "
            f"{' x '.join(map(str, shape))} values; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_labelled(images: Path, labels: Path, side: int = 28) -> tuple[Array, Array]:
    """Read a pair of IDX files.

    Returns:
        uint8 images (S, side, side) and int64 labels (S,).

    Raises:
        OSError, ValueError: as :func:`read_idx`, or if the two do not fit together.
    """
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (side, side):
        raise ValueError(
            f"{images} holds images of {pixels.shape[1]} x {pixels.shape[2]} pixels, expected "
            f"{side} x {side}"
        )
    if len(pixels) != len(classes):
        raise ValueError(f"{images} holds {len(pixels)} images, but {labels} {len(classes)} labels")
    return pixels, checked_labels(labels, classes)


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(f"{path} is truncated or no gzip file ({error}); fetch it again") from error
