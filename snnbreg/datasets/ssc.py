"""Spiking Speech Commands (Cramer et al. 2020, arXiv 1910.07407): 35 classes, 700 channels."""

from __future__ import annotations

from dataclasses import dataclass

from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.binning import Binning
from snnbreg.datasets.cache import cache_folder
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.locate import data_root, require
from snnbreg.datasets.pack import SPLITS
from snnbreg.datasets.recordings import load_event_file
from snnbreg.datasets.splits import assemble, grid_of


@dataclass
class SSC:
    """Spoken command words; 75,466 / 9,981 / 20,382 recordings in the official splits.

    Args:
        root: folder with ``SSC/ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``; None for the
            user's cache.
        cache: folder for binned recordings and data; None for the user's (``SNNBREG_CACHE``).
        binning: ``fixed``, or ``delrec`` for the published frames: bins of 1.4/249 s, the first
            always empty.
        channels: C, a divisor of 700.
        bin_ms: width of a time bin; 5.6 gives 250 bins.
        duration_ms: length of the grid; later events are dropped and counted (``delrec``: they go
            to the last bin).
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
    bin_ms: float = 5.6
    duration_ms: float = 1400.0
    augment: str = "none"
    max_shift: int = 4
    limit: int | None = None

    CLASSES = 35

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        grid = Binning(
            grid_of(self.binning, "delrec_ssc"),
            channels=self.channels,
            bin_ms=self.bin_ms,
            duration_ms=self.duration_ms,
        )
        root = data_root("ssc", self.root, self.cache)
        paths = require("ssc", root, [f"SSC/ssc_{split}.h5" for split in SPLITS])
        cache = cache_folder(self.cache)
        parts = {
            split: load_event_file(path, "ssc", grid, self.CLASSES, cache)
            for split, path in zip(SPLITS, paths, strict=True)
        }
        return assemble(
            "ssc",
            parts,
            self.CLASSES,
            limit=self.limit,
            augmented_loader=augmentation(self.augment, self.max_shift),
        )
