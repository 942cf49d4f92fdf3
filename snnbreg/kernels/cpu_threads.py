"""Threads for the compiled loops, which run without the interpreter's lock."""

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
    """Share items 0 .. ``items`` - 1 among torch's number of threads, in equal runs of neighbours.

    Args:
        run: called with the first item and the one after the last; must not need the others' work.
        items: how many there are.

    Returns:
        What each call returned, in the order of the items: the same split for the same number of
        items and threads.
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
