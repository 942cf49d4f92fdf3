"""``python -m snnbreg`` is the command ``snnbreg``."""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main())
