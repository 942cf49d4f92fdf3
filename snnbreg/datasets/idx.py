"""Image files: the IDX format of the MNIST family, and CIFAR-10's two kinds of batches."""

from __future__ import annotations

import gzip
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from snnbreg.datasets.binning import Array

UNSIGNED_BYTES = 0x08
CIFAR_SHAPE = (3, 32, 32)


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


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(f"{path} is truncated or no gzip file ({error}); fetch it again") from error


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
