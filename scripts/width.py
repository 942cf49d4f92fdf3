"""How wide small dense networks are; the same as ``snnbreg width``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["width", *sys.argv[1:]]))
