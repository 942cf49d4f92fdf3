"""Are two runs the same, apart from the wall clock, and where do they first differ?"""

from __future__ import annotations

import sys
from argparse import Namespace

from snnbreg.analysis import compare
from snnbreg.runs import read_run


def run(options: Namespace) -> int:
    """Print what differs; 0: the same metrics and summary, 1: not, 2: one cannot be read."""
    try:
        first, second = read_run(options.first), read_run(options.second)
        found = compare(first, second, options.tolerance)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(found)
    return 0 if found.same else 1
