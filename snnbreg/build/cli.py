"""The command line's manners: one clear paragraph for a user's mistake, a traceback for ours."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException
from omegaconf.errors import OmegaConfBaseException

log = logging.getLogger(__name__)

USER_ERRORS = (ValueError, OSError, HydraException, OmegaConfBaseException)


def explain(error: BaseException) -> str:
    """What went wrong and what is possible, as one paragraph.

    Args:
        error: as raised by Hydra, OmegaConf or this package.
    """
    cause: BaseException | None = error
    while cause is not None:
        parent = getattr(cause, "parent_node", None)
        if isinstance(error, ConfigCompositionException) and parent is not None:
            key, valid = str(getattr(cause, "full_key", "")), [str(name) for name in parent]
            close = difflib.get_close_matches(key.rsplit(".", 1)[-1], valid, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            return f"{key} is no option here.{hint} Valid names: {', '.join(valid)}"
        cause = cause.__cause__
    text = str(error).split("Config search path")[0]
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.strerror}: {error.filename}. Check the path and its permissions"
    return " ".join(text.split()) or type(error).__name__


def reported(task: Callable[..., Any]) -> Callable[..., Any]:
    """Log a job's failure where it happens, so that a sweep shows it and goes on."""

    @functools.wraps(task)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return task(*args, **kwargs)
        except USER_ERRORS as error:
            log.error("%s", explain(error))
            log.debug("Where it happened", exc_info=True)
            error.reported = True  # type: ignore[union-attr]
            raise

    return wrapper


def _terminate(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt(f"signal {signum}")


def run(main: Callable[[], Any]) -> None:
    """Run a Hydra main function and leave the process with a fitting exit code.

    ``HYDRA_FULL_ERROR=1`` shows tracebacks of a user's mistakes too. A termination signal ends a
    run like Ctrl-C: with a usable run folder.
    """
    full = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors shall reach us
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except USER_ERRORS as error:
        if full:
            raise
        if not getattr(error, "reported", False):
            text = textwrap.fill(
                f"Error: {explain(error)}", 100, break_long_words=False, break_on_hyphens=False
            )
            print(text, file=sys.stderr)
        sys.exit(1)
