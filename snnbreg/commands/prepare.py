"""Fetch a data set, checked by md5, or make the packed copy of the spoken digits."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import snnbreg.datasets
from snnbreg.datasets.download import FOLDERS, data_root, fetch
from snnbreg.datasets.pack import FILE, write_pack
from snnbreg.datasets.splits import SPLITS

PACK = "pack-spoken-digits"


def run(options: Namespace) -> None:
    """Do it, and say how to train on it.

    Raises:
        ValueError: an unknown name, or a folder too many or too few.
        OSError: a file could not be fetched, read or written.
    """
    name, folder = options.dataset, options.folder
    if name not in (*FOLDERS, PACK):
        raise ValueError(f"{name} cannot be prepared; choose from {', '.join([*FOLDERS, PACK])}")
    if (name == PACK) != (folder is not None):
        wanted = "the folder with train.h5, valid.h5 and test.h5" if name == PACK else "no folder"
        raise ValueError(f"snnbreg prepare {name} takes {wanted}; see snnbreg prepare --help")
    if name == PACK:
        _pack(Path(folder), options.output)
        return
    root = data_root(name, options.root)
    for path in fetch(name, root):
        print(path)
    print(f"ready: dataset={name} dataset.root={root}")


def _pack(source: Path, output: str | None) -> None:
    path = Path(output or Path(snnbreg.datasets.__file__).parent / "data" / FILE)
    made = write_pack([source / f"{split}.h5" for split in SPLITS], path)
    print(f"{path}: {len(made.labels)} recordings, {path.stat().st_size:,} bytes")
