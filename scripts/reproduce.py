"""Run and draw the study of the LBI paper; the same as ``snnbreg reproduce``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
