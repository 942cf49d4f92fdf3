"""Spoken words as spikes of 700 channels: SHD, SSC, Arabic commands and what they share.

The cochlea model and the layout of the files are those of Cramer et al. 2020 (arXiv 1910.07407).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.binning import Array, Binning, Events
from snnbreg.datasets.cache import cache_folder
from snnbreg.datasets.download import data_root, require
from snnbreg.datasets.events import load_event_file
from snnbreg.datasets.loader import FrameSet
from snnbreg.datasets.splits import SPLITS, Splits, make_splits


@dataclass
class SpeechDataset(ABC):
    """Recordings of words; a subclass names its files in ``load``.

    Args:
        root: folder with the files; None for the data set's own place.
        cache: folder for binned recordings and data; None for the user's (``SNNBREG_CACHE``).
        binning: ``fixed``, a grid from t = 0; or ``delrec``, the published frames.
        channels: C, a divisor of 700.
        bin_ms: width of a time bin.
        duration_ms: length of the fixed grid; later events are dropped and counted.
        augment: what is done to training recordings, anew in each epoch: ``none``; changes joined
            by ``+`` or their strengths by name: ``shift``, each as a whole by up to ``max_shift``
            channels, ``stretch`` (channels), ``pace`` (time), ``lose``, ``add``, ``background``
            (events), see :data:`~snnbreg.datasets.changes.CHANGES`; ``delrec``, as published for
            SHD: three times as many samples, one copy shifted, one blended; ``delrec_shift``, the
            same with the shift of ``shift`` (:mod:`~snnbreg.datasets.augment`).
        max_shift: channels.
        limit: at most so many samples per split, chosen at random once and for all; None for all.
    """

    root: str | None = None
    cache: str | None = None
    binning: str = "fixed"
    channels: int = 140
    bin_ms: float = 10.0
    duration_ms: float = 1400.0
    augment: str | Mapping[str, float] = "none"
    max_shift: int = 4
    limit: int | None = None

    NAME: ClassVar[str]
    CLASSES: ClassVar[int]
    PUBLISHED: ClassVar[str] = "delrec_shd"  # the grid that binning=delrec means

    def __post_init__(self) -> None:
        """Refuse settings that no file can go with."""
        self._grid()
        augmentation(self.augment, self.max_shift)

    @abstractmethod
    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if a file is missing; says how to get it.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """

    def _grid(self) -> Binning:
        grids = {"fixed": "fixed", "delrec": self.PUBLISHED}
        if self.binning not in grids:
            raise ValueError(f"dataset.binning must be fixed or delrec, got {self.binning!r}")
        return Binning(
            grids[self.binning],
            channels=self.channels,
            bin_ms=self.bin_ms,
            duration_ms=self.duration_ms,
        )

    def _read(self, paths: Sequence[Path]) -> list[FrameSet]:
        """Bin the files, or find them in the cache."""
        grid, cache = self._grid(), cache_folder(self.cache)
        return [load_event_file(path, self.NAME, grid, self.CLASSES, cache) for path in paths]

    def frames_of(self, times: Array, units: Array) -> FrameSet:
        """Bin one recording as those of the files; its label is 0.

        Args:
            times: (E,) seconds; rounded to float16, as those of the files.
            units: (E,) channels, 0 to 699.
        """
        binned = self._grid()(Events(times.astype(np.float16), units, np.array([0, len(times)])))
        label = np.zeros(1, np.int64)
        return FrameSet.of_arrays(binned.frames, label, binned.lengths, binned.totals)

    def _splits(self, parts: Mapping[str, FrameSet], **more: Any) -> Splits:
        """Make the splits; ``more`` as :func:`~snnbreg.datasets.splits.make_splits`."""
        return make_splits(
            self.NAME,
            parts,
            len(parts["train"].class_names) or self.CLASSES,
            limit=self.limit,
            augmented_loader=augmentation(self.augment, self.max_shift),
            **more,
        )


@dataclass
class SHD(SpeechDataset):
    """Spiking Heidelberg Digits: spoken digits in English and German, 20 classes.

    The official test split (2,264 recordings) is untouched; a fifth of the 8,156 training
    recordings, chosen by ``split_seed``, is the validation split (6,525 and 1,631). ``root`` holds
    ``SHD/shd_train.h5`` and ``SHD/shd_test.h5``. The frames published with ``binning=delrec`` go
    from the first spike to the last: recordings of different length.

    Args:
        valid_fraction: part of the training recordings that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.

    The other arguments are those of :class:`SpeechDataset`.
    """

    valid_fraction: float = 0.2
    split_seed: int = 0

    NAME = "shd"
    CLASSES = 20

    def load(self) -> Splits:
        """Return the splits; errors as :meth:`SpeechDataset.load`."""
        root = data_root(self.NAME, self.root, self.cache)
        paths = require(self.NAME, root, ("SHD/shd_train.h5", "SHD/shd_test.h5"))
        return self._splits(
            dict(zip(("train", "test"), self._read(paths), strict=True)),
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
        )


@dataclass
class SSC(SpeechDataset):
    """Spiking Speech Commands: 35 command words, 75,466 / 9,981 / 20,382 recordings.

    ``root`` holds the official splits ``SSC/ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``.
    Bins of 5.6 ms make 250; the frames published with ``binning=delrec`` have bins of 1.4/249 s,
    the first always empty, and later events in the last.

    The arguments are those of :class:`SpeechDataset`.
    """

    bin_ms: float = 5.6

    NAME = "ssc"
    CLASSES = 35
    PUBLISHED = "delrec_ssc"

    def load(self) -> Splits:
        """Return the splits; errors as :meth:`SpeechDataset.load`."""
        root = data_root(self.NAME, self.root, self.cache)
        paths = require(self.NAME, root, [f"SSC/ssc_{split}.h5" for split in SPLITS])
        return self._splits(dict(zip(SPLITS, self._read(paths), strict=True)))


@dataclass
class ArabicCommands(SpeechDataset):
    """Arabic Speech Commands: 40 words; nobody is heard in two of the three splits.

    ``root`` holds ``train.h5`` (18 speakers), ``valid.h5`` (6) and ``test.h5`` (6) in SSC's layout:
    the official splits of Ghandoura et al. 2021 (Engineering Applications of Artificial
    Intelligence 102), recordings of one second under CC BY 4.0.

    Args:
        duration_ms: length of the fixed grid; later events are dropped and counted.

    The other arguments are those of :class:`SpeechDataset`.
    """

    duration_ms: float = 1000.0

    NAME = "arabic_commands"
    CLASSES = 40

    def load(self) -> Splits:
        """Return the splits; errors as :meth:`SpeechDataset.load`."""
        place = self.root or cache_folder(self.cache) / "data" / self.NAME
        root = Path(place).expanduser()
        paths = [root / f"{split}.h5" for split in SPLITS]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"The data set {self.NAME} is not complete: {', '.join(missing)} missing in "
                f"{root}. `snnbreg prepare {self.NAME} --root {root}` fetches and makes them; or "
                "set dataset.root to the folder that has them"
            )
        return self._splits(dict(zip(SPLITS, self._read(paths), strict=True)))
