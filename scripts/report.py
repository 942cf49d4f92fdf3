"""Write a report of all runs below a folder; the same as ``snnbreg report``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
