"""Nine folds of the spoken digits: every recording is tested once.

``data/spoken_digits.csv`` lists the digit, the speaker and the recording number (5 to 49) of every
sample of the train, valid and test files, one behind the other. Five consecutive numbers are a
block. Fold ``f`` tests block ``f``, validates on the next one (the first after the last) and
trains on the other seven; fold 0 has the splits of the files.
"""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

import numpy as np

from snnbreg.datasets.binning import Array

FILE = "spoken_digits.csv"
FOLDS = 9
_FIRST, _BLOCK = 5, 5  # the lowest recording number, and how many make a block


class Listing(NamedTuple):
    """What each sample of the spoken digits is.

    Attributes:
        digit: int64 (S,), 0 to 9, the label.
        speaker: int64 (S,), 0 to 5.
        recording: int64 (S,), 5 to 49: each speaker said each digit once under each number.
    """

    digit: Array
    speaker: Array
    recording: Array


def read_listing() -> Listing:
    """Read the listing inside the package.

    Example:
        >>> listing = read_listing()
        >>> len(listing.digit), np.unique(listing.recording).tolist() == list(range(5, 50))
        (2700, True)
    """
    source = resources.files("snnbreg.datasets") / "data" / FILE
    with source.open(encoding="utf-8") as file:
        columns = np.loadtxt(file, np.int64, delimiter=",", skiprows=1, usecols=(2, 3, 4))
    return Listing(*columns.T)


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
    if fold not in range(FOLDS):
        raise ValueError(
            f"dataset.fold must be 0 to {FOLDS - 1} (0 has the splits of the files), got {fold}"
        )
    listing = read_listing()
    if not np.array_equal(labels, listing.digit):
        raise ValueError(
            f"dataset.fold={fold} needs the number of each recording, which is known for the "
            f"spoken digits of the package only: those in {source} have other labels. Use "
            "dataset.fold=0, which takes the splits of the files"
        )
    role = ((listing.recording - _FIRST) // _BLOCK - fold) % FOLDS
    parts = {"train": role > 1, "valid": role == 1, "test": role == 0}
    return {split: np.flatnonzero(chosen) for split, chosen in parts.items()}
