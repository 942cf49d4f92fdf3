"""Spoken digits: 2,700 recordings of ten digits by six speakers, as spikes of 700 channels.

Free Spoken Digit Dataset (Jackson and contributors, CC BY-SA 4.0) through the cochlea model of
Cramer et al. 2020; see ``data/SPOKEN_DIGITS.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snnbreg.datasets.cache import Recordings
from snnbreg.datasets.cochlea import CochleaRecordings
from snnbreg.datasets.folds import fold_members
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.pack import SPLITS, packed_recordings, read_pack


@dataclass
class SpokenDigits(CochleaRecordings):
    """Ten spoken digits; 2,100 / 300 / 300 recordings for training, validation and test.

    ``root`` holds ``train.h5``, ``valid.h5`` and ``test.h5`` in SHD's layout; without it the copy
    inside the package is read, which has bins of 10 ms and 140 channels: it gives the same frames,
    those of multiples of 10 ms and divisors of 140, but not those of ``binning=delrec``.

    Each of six speakers said each digit 45 times, and a fold takes 5 of those recordings for test
    and 5 for validation, so that every recording is tested in one of nine folds
    (:mod:`~snnbreg.datasets.folds`). All speakers are in all splits of all folds: the test says
    nothing about voices that were not heard in training.

    Args:
        duration_ms: length of the fixed grid; later events are dropped and counted.
        fold: 0 for the splits of the files; 1 to 8 for other splits of the same recordings, in
            which a sample keeps its number (:attr:`~snnbreg.datasets.loader.FrameSet.ids`).

    The other arguments are those of :class:`~snnbreg.datasets.cochlea.CochleaRecordings`.

    Example:
        >>> splits = SpokenDigits(bin_ms=50, channels=28, limit=100).load()
        >>> len(splits.train), splits.steps, splits.channels, splits.classes
        (100, 20, 28, 10)
    """

    duration_ms: float = 1000.0
    fold: int = 0

    NAME = "spoken_digits"
    CLASSES = 10

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if ``root`` lacks a file.
            OSError, ValueError: if a file is damaged or a setting impossible, among these
                fold 1 to 8 of files with other recordings than the package's.
        """
        packed = self.root is None
        parts = packed_recordings(read_pack(), self._grid()) if packed else self._files()
        members = None
        if self.fold:
            labels = np.concatenate([part.labels for part in parts])
            members = fold_members(self.fold, labels, self.root or "the package")
        return self._assemble(dict(zip(SPLITS, parts, strict=True)), members=members)

    def _files(self) -> list[Recordings]:
        folder = Path(str(self.root)).expanduser()
        paths = [folder / f"{split}.h5" for split in SPLITS]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"dataset.root={folder} lacks {', '.join(missing)}: the spoken digits as event "
                "files are train.h5, valid.h5 and test.h5 in SHD's layout. Put them there, or "
                "leave dataset.root out (null) to use the copy inside the package"
            )
        return self._read(paths)
