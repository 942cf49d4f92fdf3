"""Export a network for a chip; the same as ``snnbreg export``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
