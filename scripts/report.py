"""Write a report of all runs below a folder: one HTML file, figures (SVG, PNG), tables.

python scripts/report.py FOLDER [--output DIR] [--figures figure1 figure2 ...]
"""

from __future__ import annotations

import argparse
import logging

from snnbreg import assembly
from snnbreg.analysis import FIGURES, report


def main() -> None:
    """Write the report that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="holds run folders, at any depth")
    parser.add_argument("--output", metavar="DIR", help="default: FOLDER/report")
    parser.add_argument("--figures", nargs="+", default=list(FIGURES), metavar="NAME",
                        help=f"default: all, which are {', '.join(FIGURES)}")  # fmt: skip
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    print(report(options.folder, options.output, options.figures))


if __name__ == "__main__":
    assembly.run(main)
