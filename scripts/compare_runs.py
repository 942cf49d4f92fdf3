"""Are two runs the same, apart from the wall clock, and where do they first differ?

    python scripts/compare_runs.py RUN_FOLDER RUN_FOLDER [--tolerance 1e-6]

Exit code 0: the same metrics and summary; 1: not; 2: one of them could not be read.
"""

from __future__ import annotations

import argparse
import sys

from snnbreg.analysis import compare, read_run


def main() -> int:
    """Compare the two runs of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", help="run folder")
    parser.add_argument("second", help="run folder")
    parser.add_argument("--tolerance", type=float, default=0.0, metavar="R",
                        help="largest relative difference of equal numbers")  # fmt: skip
    options = parser.parse_args()
    try:
        found = compare(read_run(options.first), read_run(options.second), options.tolerance)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(found)
    return 0 if found.same else 1


if __name__ == "__main__":
    sys.exit(main())
