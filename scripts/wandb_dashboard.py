"""Build the dashboard in Weights & Biases; the same as ``snnbreg dashboard``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["dashboard", *sys.argv[1:]]))
