"""Spoken digits: 2,700 recordings of ten digits by six speakers, in nine folds.

Free Spoken Digit Dataset (Jackson and contributors, CC BY-SA 4.0) through the cochlea model of
Cramer et al. 2020; see ``data/SPOKEN_DIGITS.md``.

``data/spoken_digits.csv`` lists the digit, the speaker and the recording number (5 to 49) of every
sample of the train, valid and test files, one behind the other. Five consecutive numbers are a
block. Fold ``f`` tests block ``f``, validates on the next one (the first after the last) and
trains on the other seven; fold 0 has the splits of the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from snnbreg.datasets.binning import Array
from snnbreg.datasets.loader import FrameSet
from snnbreg.datasets.pack import packed_recordings, read_pack
from snnbreg.datasets.speech import SpeechDataset
from snnbreg.datasets.splits import SPLITS, Splits

LISTING = "spoken_digits.csv"
FOLDS = 9
_FIRST, _BLOCK = 5, 5  # the lowest recording number, and how many make a block


@dataclass
class SpokenDigits(SpeechDataset):
    """Ten spoken digits; 2,100 / 300 / 300 recordings for training, validation and test.

    ``root`` holds ``train.h5``, ``valid.h5`` and ``test.h5`` in SHD's layout; without it the copy
    inside the package is read, which has bins of 10 ms and 140 channels: it gives the same frames,
    those of multiples of 10 ms and divisors of 140, but not those of ``binning=delrec``.

    Each of six speakers said each digit 45 times, and a fold takes 5 of those recordings for test
    and 5 for validation, so that every recording is tested in one of nine folds. All speakers are
    in all splits of all folds: the test says nothing about voices that were not heard in training.

    Args:
        duration_ms: length of the fixed grid; later events are dropped and counted.
        fold: 0 for the splits of the files; 1 to 8 for other splits of the same recordings, in
            which a sample keeps its number (:attr:`~snnbreg.datasets.loader.FrameSet.ids`).

    The other arguments are those of :class:`~snnbreg.datasets.speech.SpeechDataset`.

    Example:
        >>> splits = SpokenDigits(bin_ms=50, channels=28, limit=100).load()
        >>> len(splits.train), splits.steps, splits.channels, splits.classes
        (100, 20, 28, 10)
    """

    duration_ms: float = 1000.0
    fold: int = 0

    NAME = "spoken_digits"
    CLASSES = 10

    def __post_init__(self) -> None:
        """See the base class."""
        super().__post_init__()
        _check_fold(self.fold)

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
            labels = torch.cat([part.labels for part in parts]).numpy()
            members = fold_members(self.fold, labels, self.root or "the package")
        return self._splits(dict(zip(SPLITS, parts, strict=True)), members=members)

    def _files(self) -> list[FrameSet]:
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


def read_listing() -> dict[str, Array]:
    """Read the listing inside the package.

    Returns:
        int64 (2700,) each: ``digit``, 0 to 9, the label; ``speaker``, 0 to 5; and ``recording``,
        5 to 49: each speaker said each digit once under each number.

    Example:
        >>> listing = read_listing()
        >>> len(listing["digit"]), np.unique(listing["recording"]).tolist() == list(range(5, 50))
        (2700, True)
    """
    source = resources.files("snnbreg.datasets") / "data" / LISTING
    with source.open(encoding="utf-8") as file:
        columns = np.loadtxt(file, np.int64, delimiter=",", skiprows=1, usecols=(2, 3, 4))
    return dict(zip(("digit", "speaker", "recording"), columns.T, strict=True))


def fold_members(fold: int, labels: Array, source: str) -> dict[str, Array]:
    """Return the samples of each split of a fold.

    Args:
        fold: 0 to 8.
        labels: int64 (S,), those of the train, valid and test files one behind the other.
        source: where the files are, for messages.

    Returns:
        for ``train``, ``valid`` and ``test`` the ascending numbers of its samples among those of
        the three files, int64 (2100,), (300,) and (300,).

    Raises:
        ValueError: if there is no such fold or the labels are not those of the listed recordings.
    """
    _check_fold(fold)
    listing = read_listing()
    if not np.array_equal(labels, listing["digit"]):
        raise ValueError(
            f"dataset.fold={fold} needs the number of each recording, which is known for the "
            f"spoken digits of the package only: those in {source} have other labels. Use "
            "dataset.fold=0, which takes the splits of the files"
        )
    role = ((listing["recording"] - _FIRST) // _BLOCK - fold) % FOLDS
    parts = {"train": role > 1, "valid": role == 1, "test": role == 0}
    return {split: np.flatnonzero(chosen) for split, chosen in parts.items()}


def _check_fold(fold: int) -> None:
    if fold not in range(FOLDS):
        raise ValueError(
            f"dataset.fold must be 0 to {FOLDS - 1} (0 has the splits of the files), got {fold}"
        )
