"""Where the files of a data set lie, and what to do when they do not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from snnbreg.datasets.cache import cache_folder

FOLDERS = {
    "shd": "",
    "ssc": "",
    "nmnist": "",
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "cifar10": "cifar10",
}
"""Folder of each downloadable data set within the user's data folder; the first three bring
their own (SHD, SSC, NMNIST)."""


def data_root(
    dataset: str,
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the folder that holds a data set's files: ``root``, or one in the user's cache.

    Example:
        >>> data_root("mnist", cache="c").as_posix(), data_root("shd", "r").as_posix()
        ('c/data/mnist', 'r')
    """
    return Path(root).expanduser() if root else cache_folder(cache) / "data" / FOLDERS[dataset]


def require(dataset: str, root: Path, names: Iterable[str]) -> list[Path]:
    """Return the paths of a data set's files below ``root``.

    Args:
        dataset: its name, a key of :data:`FOLDERS`.
        root: the folder.
        names: files, or alternatives separated by ``|`` of which the first that exists is taken.

    Raises:
        FileNotFoundError: if one is missing; says what was expected, where to put it, and the
            command and checksum with which it is fetched.
    """
    found, missing = [], []
    for name in names:
        there = [root / option for option in name.split("|") if (root / option).exists()]
        found += there[:1]
        missing += [] if there else [name.split("|")[0]]
    if missing:
        raise FileNotFoundError(missing_message(dataset, root, missing))
    return found


def missing_message(dataset: str, root: Path, missing: Iterable[str]) -> str:
    """Return the paragraph that says how to get the missing files."""
    from snnbreg.datasets.download import archives

    sources = ", ".join(f"{a.filename} (md5 {a.md5})" for a in archives(dataset))
    return (
        f"The data set {dataset} is not complete: {', '.join(missing)} missing in {root}. Fetch it "
        f"with `snnbreg prepare {dataset} --root {root}`, which loads and checks "
        f"{sources}; or put the files there, or set dataset.root to the folder that has them"
    )
