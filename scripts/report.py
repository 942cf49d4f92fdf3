"""Write a report of all runs below a folder: one HTML file, figures (SVG, PNG), tables.

python scripts/report.py FOLDER [--output DIR] [--figures figure1 figure2 ...]
python scripts/report.py FOLDER --tables paired       # print tables only; needs no matplotlib
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from snnbreg import assembly
from snnbreg.analysis import FIGURES, TABLES, report, report_tables


def main() -> None:
    """Write the report, or print the tables, that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="holds run folders, at any depth")
    parser.add_argument("--output", metavar="DIR",
                        help="default: FOLDER/report; with --tables: none")  # fmt: skip
    parser.add_argument("--figures", nargs="+", default=list(FIGURES), metavar="NAME",
                        help=f"default: all, which are {', '.join(FIGURES)}")  # fmt: skip
    parser.add_argument("--tables", nargs="+", metavar="NAME",
                        help=f"print these and draw nothing, of {', '.join(TABLES)}")  # fmt: skip
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if options.tables is None:
        print(report(options.folder, options.output, options.figures))
        return
    found = report_tables(options.folder, options.tables)
    print("\n".join(table.to_markdown() for table in found), end="")
    for table in found if options.output else []:
        table.save(Path(options.output))


if __name__ == "__main__":
    assembly.run(main)
