"""Spiking Speech Commands (Cramer et al. 2020, arXiv 1910.07407): 35 classes, 700 channels."""

from __future__ import annotations

from dataclasses import dataclass

from snnbreg.datasets.cochlea import CochleaRecordings
from snnbreg.datasets.loader import Splits
from snnbreg.datasets.locate import data_root, require
from snnbreg.datasets.pack import SPLITS


@dataclass
class SSC(CochleaRecordings):
    """Spoken command words; 75,466 / 9,981 / 20,382 recordings in the official splits.

    ``root`` holds ``SSC/ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``. Bins of 5.6 ms make
    250; the frames published with ``binning=delrec`` have bins of 1.4/249 s, the first always
    empty, and later events in the last.

    The arguments are those of :class:`~snnbreg.datasets.cochlea.CochleaRecordings`.
    """

    bin_ms: float = 5.6

    NAME = "ssc"
    CLASSES = 35
    PUBLISHED = "delrec_ssc"

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        root = data_root(self.NAME, self.root, self.cache)
        paths = require(self.NAME, root, [f"SSC/ssc_{split}.h5" for split in SPLITS])
        return self._assemble(dict(zip(SPLITS, self._read(paths), strict=True)))
