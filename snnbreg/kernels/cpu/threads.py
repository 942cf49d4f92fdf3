"""Threads for the compiled loops, which release Python's global interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

Result = TypeVar("Result")
_pool: tuple[int, int, ThreadPoolExecutor] | None = None  # process, threads, their pool


def in_threads(run: Callable[[int, int], Result], items: int) -> list[Result]:
    """Split items 0 .. ``items`` - 1 into equal ranges, one for each of torch's threads.

    Args:
        run: called with the first item of a range and the one after its last; calls must be
            independent of each other.
        items: number of items.

    Returns:
        The result of each call, in the order of the items. The ranges depend only on the number
        of items and of threads.
    """
    parts = max(1, min(torch.get_num_threads(), items))
    bounds = [items * part // parts for part in range(parts + 1)]
    if parts == 1:
        return [run(0, items)]
    pool = _threads(parts - 1)
    others = [pool.submit(run, *pair) for pair in pairwise(bounds[1:])]
    return [run(bounds[0], bounds[1]), *(other.result() for other in others)]


def _threads(number: int) -> ThreadPoolExecutor:
    """A pool of at least this many threads; a forked process makes its own."""
    global _pool
    if _pool is None or _pool[0] != os.getpid() or _pool[1] < number:
        _pool = os.getpid(), number, ThreadPoolExecutor(number, "snnbreg")
    return _pool[2]
