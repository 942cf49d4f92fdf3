"""A report of all runs below a folder: one HTML file, figures (SVG, PNG), tables."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

from snnbreg.analysis import FIGURES, report, report_tables


def run(options: Namespace) -> None:
    """Write the report, or print the tables, that the command line asks for."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if options.tables is None:
        figures = options.figures or list(FIGURES)
        print(report(options.folder, options.output, figures, options.ignore))
        return
    found = report_tables(options.folder, options.tables, options.ignore)
    print("\n".join(table.to_markdown() for table in found), end="")
    for table in found if options.output else []:
        table.save(Path(options.output))
