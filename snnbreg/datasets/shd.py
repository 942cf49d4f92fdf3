"""Spiking Heidelberg Digits (Cramer et al. 2020, arXiv 1910.07407): 20 classes, 700 channels."""

from __future__ import annotations

from dataclasses import dataclass

from snnbreg.datasets.cochlea import CochleaRecordings
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.locate import data_root, require


@dataclass
class SHD(CochleaRecordings):
    """Spoken digits in English and German; 8,156 recordings for training, 2,264 for test.

    The official test split is untouched; a fifth of the training recordings, chosen by
    ``split_seed``, is the validation split (6,525 and 1,631). ``root`` holds
    ``SHD/shd_train.h5`` and ``SHD/shd_test.h5``. The frames published with ``binning=delrec`` go
    from the first spike to the last: recordings of different length.

    Args:
        valid_fraction: part of the training recordings that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.

    The other arguments are those of :class:`~snnbreg.datasets.cochlea.CochleaRecordings`.
    """

    valid_fraction: float = 0.2
    split_seed: int = 0

    NAME = "shd"
    CLASSES = 20

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        root = data_root(self.NAME, self.root, self.cache)
        paths = require(self.NAME, root, ("SHD/shd_train.h5", "SHD/shd_test.h5"))
        return self._assemble(
            dict(zip(("train", "test"), self._read(paths), strict=True)),
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
        )
