"""Tune learning rate and lambda; the same as ``snnbreg tune``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
