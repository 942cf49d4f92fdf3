"""Numba's decorators as the engine uses them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numba.extending

intrinsic: Any = numba.extending.intrinsic
njit: Any = numba.njit
OPTIONS = {"nogil": True, "no_cfunc_wrapper": True, "error_model": "numpy"}

FILES = sorted(Path(__file__).parent.glob("*.py"))
SOURCES = sha256(b"".join(path.read_bytes() for path in FILES))
"""Hash of all files of this engine: machine code contains functions of other files."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call with each set of types; the result runs without Python's lock.

    The machine code is cached on disk, next to the module or in the user's cache folder (numba's
    ``NUMBA_CACHE_DIR``); if neither can be written, every process compiles again.
    """
    try:
        dispatcher = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba found no folder it can write
        return njit(**OPTIONS)(function)
    index: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):  # numba itself looks only at the function's own file
        index._source_stamp = SOURCES.hexdigest()
    return dispatcher
