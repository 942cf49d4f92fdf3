"""Compare two runs; the same as ``snnbreg compare``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
