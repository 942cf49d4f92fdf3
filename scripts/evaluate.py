"""Evaluate a run's checkpoint; the same as ``snnbreg evaluate``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
