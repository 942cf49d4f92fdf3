"""A run of several processes that ``torchrun`` started: they find each other, and one speaks."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from snnbreg.training.processes import Processes, process_group, stop_together

TIMEOUT = "SNNBREG_TIMEOUT"
"""Environment variable: seconds after which a process that does not answer is taken as lost."""
DEFAULT_TIMEOUT = 1800.0


def on_this_machine() -> tuple[int, int]:
    """The number of this process among those of its machine, from 0, and how many they are."""
    if not dist.is_initialized():
        return 0, 1
    return int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def most_threads() -> int:
    """CPU threads that each process of this machine may have, so that each core has one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // on_this_machine()[1])


@contextmanager
def joined(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Inside: the processes of ``torchrun`` are one run; without it, nothing happens.

    They add up through gloo on CPUs and through NCCL on GPUs. All but the first are silent, touch
    no run folder, and leave the word to it.

    Args:
        arguments: of the command line, for Hydra.

    Yields:
        The arguments of this process.

    Raises:
        ValueError: a sweep is asked for, or the timeout is no positive number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield list(arguments)
        return
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError(
            "A sweep cannot run under torchrun: start it without, with hydra/launcher=joblib or "
            "slurm, or run its jobs one after the other"
        )
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    with process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_timeout()):
        torch.set_num_threads(most_threads())  # torchrun leaves one to each, whatever the cores
        given = list(arguments)
        if not Processes().writes:
            logging.disable(logging.WARNING)  # the first process says it already
            given += ["hydra.run.dir=.", "hydra/job_logging=disabled"]
        try:
            with stop_together():
                yield given
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends who is leaving already


def _timeout() -> timedelta:
    text = os.environ.get(TIMEOUT, str(DEFAULT_TIMEOUT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"{TIMEOUT}={text} must be a positive number of seconds")
    return timedelta(seconds=seconds)


@contextmanager
def in_turn(processes: Processes) -> Iterator[None]:
    """The block in the first process of each machine before the others, which find what it cached.

    Args:
        processes: of the run.
    """
    if processes.count > 1 and on_this_machine()[0] > 0:
        processes.wait()
    yield
    if processes.count > 1 and on_this_machine()[0] == 0:
        processes.wait()
