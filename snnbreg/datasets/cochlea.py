"""What SHD, SSC and the spoken digits share: words as spikes of 700 channels.

The cochlea model and the layout of the files are those of Cramer et al. 2020 (arXiv 1910.07407).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.binning import Binning
from snnbreg.datasets.cache import Recordings, cache_folder
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.recordings import load_event_file
from snnbreg.datasets.splits import assemble, grid_of


@dataclass
class CochleaRecordings:
    """The settings of the three data sets.

    Args:
        root: folder with the files; None for the data set's own place.
        cache: folder for binned recordings and data; None for the user's (``SNNBREG_CACHE``).
        binning: ``fixed``, a grid from t = 0; or ``delrec``, the published frames.
        channels: C, a divisor of 700.
        bin_ms: width of a time bin.
        duration_ms: length of the fixed grid; later events are dropped and counted.
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
    augment: str = "none"
    max_shift: int = 4
    limit: int | None = None

    NAME: ClassVar[str]
    CLASSES: ClassVar[int]
    PUBLISHED: ClassVar[str] = "delrec_shd"  # the grid that binning=delrec means

    def _grid(self) -> Binning:
        return Binning(
            grid_of(self.binning, self.PUBLISHED),
            channels=self.channels,
            bin_ms=self.bin_ms,
            duration_ms=self.duration_ms,
        )

    def _read(self, paths: Sequence[Path]) -> list[Recordings]:
        """Bin the files, or find them in the cache."""
        grid, cache = self._grid(), cache_folder(self.cache)
        return [load_event_file(path, self.NAME, grid, self.CLASSES, cache) for path in paths]

    def _assemble(self, parts: Mapping[str, Recordings], **more: Any) -> Splits:
        """Make the splits; ``more`` as :func:`~snnbreg.datasets.splits.assemble`."""
        return assemble(
            self.NAME,
            parts,
            self.CLASSES,
            limit=self.limit,
            augmented_loader=augmentation(self.augment, self.max_shift),
            **more,
        )
