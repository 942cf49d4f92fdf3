"""Spoken digits: 2,700 recordings of ten digits by six speakers, as spikes of 700 channels.

Free Spoken Digit Dataset (Jackson and contributors, CC BY-SA 4.0) through the cochlea model of
Cramer et al. 2020; see ``data/SPOKEN_DIGITS.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.binning import Binning
from snnbreg.datasets.cache import Recordings, cache_folder
from snnbreg.datasets.folds import fold_members
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.pack import SPLITS, packed_recordings, read_pack
from snnbreg.datasets.recordings import load_event_file
from snnbreg.datasets.splits import assemble, grid_of


@dataclass
class SpokenDigits:
    """Ten spoken digits; 2,100 / 300 / 300 recordings for training, validation and test.

    Each of six speakers said each digit 45 times, and a fold takes 5 of those recordings for test
    and 5 for validation, so that every recording is tested in one of nine folds
    (:mod:`~snnbreg.datasets.folds`). All speakers are in all splits of all folds: the test says
    nothing about voices that were not heard in training.

    Args:
        root: folder with ``train.h5``, ``valid.h5`` and ``test.h5`` in SHD's layout; None for the
            copy inside the package, which has bins of 10 ms and 140 channels and gives the same
            frames.
        cache: folder for binned recordings; None for the user's (``SNNBREG_CACHE``).
        binning: ``fixed``, or ``delrec`` for the frames published for SHD (needs ``root``).
        channels: C, a divisor of 700; of 140 for the copy inside the package.
        bin_ms: width of a time bin; for the copy inside the package a multiple of 10.
        duration_ms: length of the fixed grid; later events are dropped and counted.
        fold: 0 for the splits of the files; 1 to 8 for other splits of the same recordings, in
            which a sample keeps its number (:attr:`~snnbreg.datasets.loader.FrameSet.ids`).
        augment: what is done to training recordings, anew in each epoch: ``none``; ``shift``, each
            as a whole by up to ``max_shift`` channels; ``delrec``, as published for SHD: three
            times as many samples, one copy shifted, one blended; ``delrec_shift``, the same with
            the shift of ``shift`` (:mod:`~snnbreg.datasets.augment`).
        max_shift: channels.
        limit: at most so many samples per split of the fold, chosen at random once and for all;
            None for all.

    Example:
        >>> splits = SpokenDigits(bin_ms=50, channels=28, limit=100).load()
        >>> len(splits.train), splits.steps, splits.channels, splits.classes
        (100, 20, 28, 10)
    """

    root: str | None = None
    cache: str | None = None
    binning: str = "fixed"
    channels: int = 140
    bin_ms: float = 10.0
    duration_ms: float = 1000.0
    fold: int = 0
    augment: str = "none"
    max_shift: int = 4
    limit: int | None = None

    CLASSES = 10

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if ``root`` lacks a file.
            OSError, ValueError: if a file is damaged or a setting impossible, among these
                fold 1 to 8 of files with other recordings than the package's.
        """
        grid = Binning(
            grid_of(self.binning, "delrec_shd"),
            channels=self.channels,
            bin_ms=self.bin_ms,
            duration_ms=self.duration_ms,
        )
        parts = packed_recordings(read_pack(), grid) if self.root is None else self._files(grid)
        members = None
        if self.fold:
            labels = np.concatenate([part.labels for part in parts])
            members = fold_members(self.fold, labels, self.root or "the package")
        named = dict(zip(SPLITS, parts, strict=True))
        return assemble(
            "spoken_digits",
            named,
            self.CLASSES,
            members=members,
            limit=self.limit,
            augmented_loader=augmentation(self.augment, self.max_shift),
        )

    def _files(self, grid: Binning) -> list[Recordings]:
        folder = Path(str(self.root)).expanduser()
        paths = [folder / f"{split}.h5" for split in SPLITS]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"dataset.root={folder} lacks {', '.join(missing)}: the spoken digits as event "
                "files are train.h5, valid.h5 and test.h5 in SHD's layout. Put them there, or "
                "leave dataset.root out (null) to use the copy inside the package"
            )
        cache = cache_folder(self.cache)
        return [load_event_file(p, "spoken_digits", grid, self.CLASSES, cache) for p in paths]
