"""Memory of large tensors, used again when they are gone.

The C library takes memory of more than 32 MB from the system in every call and gives it back, and
the system clears each page when it is first touched: on PSMNIST a third of a training step. Smaller
blocks leave gaps in the library's heap: in eight segments of time half of what a step holds.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGE = 2**21
"""Bytes from which on memory is kept."""
SPARE = 1.25
"""A kept block serves for a tensor that is smaller by at most this factor."""
ALIGNED = 64
"""Bytes: vectors do not cross the processor's cache lines."""


class _Blocks:
    """Blocks of bytes that no tensor uses; never more of them than were once in use together."""

    def __init__(self) -> None:
        self.free: list[np.ndarray] = []  # the oldest first
        self.used = self.most_used = 0
        self.lock = threading.RLock()  # a tensor may end while its thread is in here

    def take(self, size: int) -> np.ndarray:
        """A block of at least this many bytes."""
        with self.lock:
            fitting = [b for b in self.free if size <= b.size <= SPARE * size]
            if fitting:
                block = min(fitting, key=len)
                self.free = [b for b in self.free if b is not block]
            else:
                memory = np.empty(size + ALIGNED, np.uint8)
                first = -memory.ctypes.data % ALIGNED
                block = memory[first : first + size]
            self.used += block.size
            self.most_used = max(self.most_used, self.used)
        return block

    def give_back(self, block: np.ndarray) -> None:
        """Keep a block for the next tensor."""
        with self.lock:
            self.used -= block.size
            self.free.append(block)
            while sum(b.size for b in self.free) > self.most_used:
                self.free.pop(0)


_blocks = _Blocks()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """As ``torch.empty``, from kept memory where the tensor is large.

    Args:
        shape: of the tensor.
        dtype: of its numbers.

    Returns:
        A contiguous tensor whose numbers are arbitrary. Its memory is kept when it and all its
        views are gone.

    Example:
        >>> empty((2, 3), torch.float32).shape
        torch.Size([2, 3])
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return torch.empty(tuple(shape), dtype=dtype)
    block = _blocks.take(size)
    view = block[:size]  # lives as long as the tensor's storage
    weakref.finalize(view, _blocks.give_back, block).atexit = False
    return torch.from_numpy(view).view(dtype).view(tuple(shape))
