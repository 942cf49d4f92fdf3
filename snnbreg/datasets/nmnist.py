"""N-MNIST (Orchard et al. 2015, arXiv 1507.07629): MNIST seen by a moving event camera."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from snnbreg.datasets.binning import Array, Binning, Events, Frames, recordings_at_once
from snnbreg.datasets.cache import Stream, cache_folder, cached
from snnbreg.datasets.download import data_root, missing_message, require
from snnbreg.datasets.image_loader import ImageLoader
from snnbreg.datasets.loader import FrameLoader, FrameSet
from snnbreg.datasets.splits import Splits, make_splits

SIDE = 34
UNITS = 2 * SIDE * SIDE
EVENT_BYTES = 5


@dataclass
class NMNIST:
    """60,000 training and 10,000 test recordings of 34 x 34 pixels and two polarities.

    A channel is (polarity, row, column), polarity slowest: C = 2,312. The official test split is
    untouched; a part of the training recordings, chosen by ``split_seed``, is for validation.

    Args:
        root: folder with ``NMNIST/Train/<digit>/*.bin`` and ``NMNIST/Test/<digit>/*.bin``; None
            for the user's cache.
        cache: folder for binned recordings and data; None for the user's (``SNNBREG_CACHE``).
        binning: only ``fixed``.
        bin_ms: width of a time bin.
        duration_ms: length of the grid; later events are dropped and counted.
        valid_fraction: part of the training recordings that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.
        augment: what is done to training recordings, anew in each epoch: ``none``, or ``shift``,
            each as a whole by up to ``max_shift`` rows and columns; what leaves the image is lost.
        max_shift: pixels.
        limit: at most so many samples per split, chosen at random once and for all; None for all.
    """

    root: str | None = None
    cache: str | None = None
    binning: str = "fixed"
    bin_ms: float = 10.0
    duration_ms: float = 300.0
    valid_fraction: float = 0.1
    split_seed: int = 0
    augment: str = "none"
    max_shift: int = 2
    limit: int | None = None

    CLASSES = 10

    def __post_init__(self) -> None:
        """Refuse settings that no file can go with."""
        self._augmented_loader(self._grid().steps)

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a folder is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        grid = self._grid()
        augmented = self._augmented_loader(grid.steps)
        root = data_root("nmnist", self.root, self.cache)
        folders = require("nmnist", root, ("NMNIST/Train", "NMNIST/Test"))
        cache = cache_folder(self.cache)
        train, test = (_load_folder(folder, root, grid, cache) for folder in folders)
        return make_splits(
            "nmnist",
            {"train": train, "test": test},
            self.CLASSES,
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
            augmented_loader=augmented,
        )

    def _grid(self) -> Binning:
        if self.binning != "fixed":
            raise ValueError(
                f"dataset.binning must be fixed for nmnist, got {self.binning!r}: no other one "
                "is published for it"
            )
        return Binning("fixed", UNITS, UNITS, self.bin_ms, self.duration_ms)

    def _augmented_loader(self, steps: int) -> Callable[..., FrameLoader] | None:
        """All steps and polarities of a recording are the colours of one image, moved together."""
        if self.augment not in ("none", "shift"):
            raise ValueError(f"dataset.augment must be none or shift, got {self.augment!r}")
        if self.augment == "none":
            return None
        if self.max_shift < 1:
            raise ValueError(
                f"dataset.augment=shift needs dataset.max_shift of 1 pixel or more, got "
                f"{self.max_shift}"
            )
        image = (2 * steps, SIDE, SIDE)
        return functools.partial(ImageLoader, image=image, crop_padding=self.max_shift)


def _load_folder(folder: Path, root: Path, grid: Binning, cache: Path) -> FrameSet:
    files = [file for digit in range(10) for file in sorted(folder.glob(f"{digit}/*.bin"))]
    if not files:
        names = [f"{folder.relative_to(root)}/<digit>/*.bin"]
        raise FileNotFoundError(missing_message("nmnist", root, names))
    labels = np.array([int(file.parent.name) for file in files], np.int64)
    listing = hashlib.sha256()
    for file in files:
        stat = file.stat()
        listing.update(f"{file.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    key = {"folder": str(folder.resolve()), "files": listing.hexdigest(), **asdict(grid)}
    at_once = recordings_at_once(grid.steps * grid.channels)

    def parts() -> Iterator[Frames]:
        for start in range(0, len(files), at_once):
            yield grid(_read(files[start : start + at_once]))

    def open_stream() -> Stream:
        return Stream((len(files), grid.steps, grid.channels), labels, parts())

    return cached(f"nmnist-{folder.name.lower()}", key, open_stream, cache)


def _read(files: list[Path]) -> Events:
    decoded = [_decode(file) for file in files]
    counts = [len(times) for times, _ in decoded]
    times, units = (np.concatenate(column) for column in zip(*decoded, strict=True))
    return Events(times, units, np.concatenate([[0], np.cumsum(counts)]))


def _decode(path: Path) -> tuple[Array, Array]:
    """Return times in seconds and channel numbers of one recording, decoded by tonic."""
    from tonic.datasets import NMNIST as Source  # noqa: N811
    from tonic.io import read_mnist_file

    size = path.stat().st_size
    if size % EVENT_BYTES:
        raise OSError(
            f"{path} is truncated: {size} bytes are no whole number of events of {EVENT_BYTES} "
            "bytes; unpack the archive again"
        )
    events = read_mnist_file(str(path), dtype=Source.dtype)
    outside = (events["x"] >= SIDE) | (events["y"] >= SIDE)
    if outside.any():
        event = events[outside][0]
        raise ValueError(
            f"{path} holds an event at pixel ({event['x']}, {event['y']}), outside the "
            f"{SIDE} x {SIDE} of N-MNIST: it is damaged or of another data set"
        )
    units = (events["p"] * SIDE + events["y"]) * SIDE + events["x"]
    return events["t"] / 1e6, units
