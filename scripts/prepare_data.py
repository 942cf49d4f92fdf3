"""Fetch a data set; the same as ``snnbreg prepare``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
