"""Spiking Heidelberg Digits (Cramer et al. 2020, arXiv 1910.07407): 20 classes, 700 channels."""

from __future__ import annotations

from dataclasses import dataclass

from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.binning import Binning
from snnbreg.datasets.cache import cache_folder
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.locate import data_root, require
from snnbreg.datasets.recordings import load_event_file
from snnbreg.datasets.splits import assemble, grid_of


@dataclass
class SHD:
    """Spoken digits in English and German; 8,156 recordings for training, 2,264 for test.

    The official test split is untouched; a fifth of the training recordings, chosen by
    ``split_seed``, is the validation split (6,525 and 1,631).

    Args:
        root: folder with ``SHD/shd_train.h5`` and ``SHD/shd_test.h5``; None for the user's cache.
        cache: folder for binned recordings and data; None for the user's (``SNNBREG_CACHE``).
        binning: ``fixed``, or ``delrec`` for the published frames: from the first spike to the
            last, recordings of different length.
        channels: C, a divisor of 700.
        bin_ms: width of a time bin.
        duration_ms: length of the fixed grid; later events are dropped and counted.
        valid_fraction: part of the training recordings that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.
        augment: what is done to training recordings, anew in each epoch: ``none``; ``shift``, each
            as a whole by up to ``max_shift`` channels; ``delrec``, as published for SHD: three
            times as many samples, one copy shifted, one blended; ``delrec_shift``, the same with
            the shift of ``shift`` (:mod:`~snnbreg.datasets.augment`).
        max_shift: channels.
        limit: at most so many samples per split, chosen at random once and for all; None for all.
    """

    root: str | None = None
    cache: str | None = None
    binning: str = "fixed"
    channels: int = 140
    bin_ms: float = 10.0
    duration_ms: float = 1400.0
    valid_fraction: float = 0.2
    split_seed: int = 0
    augment: str = "none"
    max_shift: int = 4
    limit: int | None = None

    CLASSES = 20

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        grid = Binning(
            grid_of(self.binning, "delrec_shd"),
            channels=self.channels,
            bin_ms=self.bin_ms,
            duration_ms=self.duration_ms,
        )
        root = data_root("shd", self.root, self.cache)
        paths = require("shd", root, ("SHD/shd_train.h5", "SHD/shd_test.h5"))
        cache = cache_folder(self.cache)
        train, test = (load_event_file(p, "shd", grid, self.CLASSES, cache) for p in paths)
        return assemble(
            "shd",
            {"train": train, "test": test},
            self.CLASSES,
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
            augmented_loader=augmentation(self.augment, self.max_shift),
        )
