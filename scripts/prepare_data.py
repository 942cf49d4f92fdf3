"""Fetch a data set, checked by md5, or make the packed copy of the spoken digits.

python scripts/prepare_data.py shd                         # into the user's cache
python scripts/prepare_data.py ssc --root /data            # then: dataset.root=/data
python scripts/prepare_data.py pack-spoken-digits FOLDER   # FOLDER with the event files
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import snnbreg.datasets
from snnbreg.datasets.download import FOLDERS, data_root, fetch
from snnbreg.datasets.pack import FILE, write_pack
from snnbreg.datasets.splits import SPLITS

PACK = Path(snnbreg.datasets.__file__).parent / "data" / FILE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    for name in FOLDERS:
        command = commands.add_parser(name, help=f"fetch {name}")
        command.add_argument("--root", help="folder for the files (default: the user's cache)")
    pack = commands.add_parser("pack-spoken-digits", help="bin the event files into one file")
    pack.add_argument("source", type=Path, help="folder with train.h5, valid.h5 and test.h5")
    pack.add_argument("--output", type=Path, default=PACK, help="default: inside the package")
    options = parser.parse_args(arguments)
    try:
        if options.dataset == "pack-spoken-digits":
            made = write_pack([options.source / f"{s}.h5" for s in SPLITS], options.output)
            size = options.output.stat().st_size
            print(f"{options.output}: {len(made.labels)} recordings, {size:,} bytes")
        else:
            root = data_root(options.dataset, options.root)
            for path in fetch(options.dataset, root):
                print(path)
            print(f"ready: dataset={options.dataset} dataset.root={root}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
