"""Train a network as configs/ and the command line say; the same as ``snnbreg train``.

What it does stands in ``snnbreg/commands/train.py``.
"""

import sys

from snnbreg.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
