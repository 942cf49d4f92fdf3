"""Several processes that train one network: who gets which samples, what they add up, who writes.

All of it stands here; the loop and the method call it and are the same for one process. A batch
is the whole one, of ``dataset.batch_size``, in every process, so that order, augmentation and
encoding are those of a single process; each then trains on its own samples of it. Losses,
gradients, the statistics of batch norm and penalties are weighted by the samples (labelled steps)
they come from, and dropout drops what it would drop in the whole batch, so that k processes make
the steps of one, to rounding.

Another module of a user's own that couples samples or draws random numbers sees the samples of
its process alone, unless it offers :class:`Dealt`.
"""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from snnbreg.training.batch_norm import share_batch_norms_
from snnbreg.training.tasks import Score, Task

PATIENCE = 5.0  # seconds after which a second signal ends a process at once
DRIFT = 1e-6  # largest relative difference between sums over the weights of two processes

Value = TypeVar("Value")


class LostProcessError(RuntimeError):
    """Another process of the run ended or no longer answers."""


@contextmanager
def process_group(backend: str, **settings: Any) -> Iterator[None]:
    """Inside: the default group of ``torch.distributed``; its threads have ended afterwards.

    Args:
        backend: ``gloo``, ``nccl``, or one for each kind of device.
        **settings: of ``torch.distributed.init_process_group``.
    """
    # This module takes the group of the moment of its import as a default argument. Imported
    # later, by torch's optimizers, it would keep the group alive, and a thread of gloo that
    # drops its last tensor while the interpreter ends aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(backend, **settings)
    try:
        yield
    finally:
        dist.destroy_process_group()


@runtime_checkable
class Dealt(Protocol):
    """A module that draws random numbers for each sample of a batch, or couples samples."""

    def deal(self, batch: int, mine: slice, counts: bool) -> None:
        """The next forward pass is given ``mine`` of ``batch`` samples.

        Where ``counts`` is False the process has no sample of this batch: it computes one to keep
        step, which nothing depends on.
        """


class Processes:
    """The processes of a run: those of ``torch.distributed``, or this one alone.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        writes: whether this one writes the run folder and tells the loggers.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.count = dist.get_world_size() if together else 1
        self.writes = self.rank == 0
        self._dealt: list[Dealt] = []
        self._part = 1.0  # of the samples of the last batch that this process had

    # -- samples -----------------------------------------------------------------------------

    def share(self, network: nn.Module) -> None:
        """Let a network's batch norms and dropouts act on the batch of all processes, in place."""
        if self.count > 1:
            share_batch_norms_(network, self.add)
            self._dealt = [module for module in network.modules() if isinstance(module, Dealt)]

    def samples(self, batch: int) -> slice | None:
        """This process's samples of a batch: rank, rank + count, ...; None where there are none."""
        return slice(self.rank, None, self.count) if self.rank < batch else None

    def score(
        self, task: Task, network: nn.Module, frames: Tensor, labels: Tensor
    ) -> tuple[Score, float]:
        """Loss and measure of this process's samples of a batch, and their weight.

        A process that is left without a sample repeats the first, which then counts nothing, to
        keep step with the others.

        Args:
            task: of the run.
            network: in training mode; ``share`` has been called with it.
            frames: of the whole batch, (T, B, C).
            labels: samples first.

        Returns:
            The score, and the share that its loss has in the batch's: samples (or labelled steps)
            over those of all processes.
        """
        if self.count == 1:
            return task.score(network(frames), labels), 1.0
        batch, mine = len(labels), self.samples(len(labels))
        counts, mine = mine is not None, mine or slice(0, 1)
        for module in self._dealt:
            module.deal(batch, mine, counts)
        score = task.score(network(frames[:, mine]), labels[mine])
        if not counts:
            score = replace(score, total=0 * score.total, count=0)
        self._part = len(labels[mine]) * counts / batch
        return score, score.count / max(task.count(labels), 1)

    def mean(self, own: Tensor) -> Tensor:
        """A mean over the batch of all processes, from that over this process's samples of it.

        Its gradient is that of a loss that every process computes, of which each passes on the
        part of its own samples.
        """
        if self.count == 1:
            return own
        part = own * self._part
        whole = part.detach().clone()
        self.add(whole)
        return whole + (part - part.detach())

    # -- what they add up --------------------------------------------------------------------

    def add(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over all processes, in place.

        Raises:
            LostProcessError: another process does not answer.
        """
        if self.count == 1:
            return
        kinds: dict[Any, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for alike in kinds.values():  # one message for all: each takes its time, however short
            joined = torch.cat([tensor.detach().flatten() for tensor in alike])
            with _answered():
                dist.all_reduce(joined)
            parts = joined.split([tensor.numel() for tensor in alike])
            with torch.no_grad():
                for tensor, part in zip(alike, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def sums(self, *numbers: float | Tensor) -> list[float]:
        """Numbers (or tensors of one element), each summed over all processes.

        Raises:
            KeyboardInterrupt: one of them was asked to stop (:func:`stop_together`): all of them
                leave here.
        """
        values = torch.tensor([*map(float, numbers), float(_Stop.asked)], dtype=torch.float64)
        self.add(values)
        *sums, stop = values.tolist()
        if stop and self.count > 1:
            _Stop.asked = False
            raise KeyboardInterrupt("a process of the run was asked to stop")
        return sums

    def gather(self, value: Value) -> list[Value]:
        """The values (plain ones and tensors on the CPU) of all processes, by rank."""
        if self.count == 1:
            return [value]
        self.sums()  # who was asked to stop is heard here too
        found: list[Any] = [None] * self.count
        with _answered():
            dist.all_gather_object(found, value)
        return found

    def first(self, make: Callable[[], Value]) -> Value:
        """What the first process makes, in every process.

        Raises:
            SystemExit: it could not be made; the first process raises what was wrong instead.
        """
        if self.count == 1:
            return make()
        answer: list[Any] = [None]
        try:
            if self.writes:
                answer = [(make(),)]
        finally:
            with _answered():
                dist.broadcast_object_list(answer, src=0)
        if answer[0] is None:
            raise SystemExit(1)
        return answer[0][0]

    def wait(self) -> None:
        """Until all processes have come here."""
        self.gather(None)

    def check_equal(self, network: nn.Module) -> None:
        """Refuse to go on where the processes no longer have the same weights.

        Raises:
            RuntimeError: they differ by more than rounding.
        """
        if self.count == 1:
            return
        sizes = [p.detach().abs().sum().double() for p in network.parameters()]
        found = self.gather(float(torch.stack(sizes).sum()))
        if max(found) - min(found) > DRIFT * max(found):
            raise RuntimeError(
                f"The processes of this run no longer have the same weights (sums {found}): do "
                "all machines have the same versions of snnbreg and torch?"
            )


class _Stop:
    """Whether this process was asked to stop, and when."""

    asked = False
    since = 0.0

    @classmethod
    def ask(cls, number: int, frame: Any) -> None:
        if cls.since and time.monotonic() - cls.since > PATIENCE:
            raise KeyboardInterrupt(f"signal {number}")
        cls.asked, cls.since = True, cls.since or time.monotonic()


@contextmanager
def stop_together() -> Iterator[None]:
    """Inside: Ctrl-C and termination signals are kept until all processes can stop at one place.

    That place is the next :meth:`Processes.sums`. A process that gets a second signal some seconds
    later stops where it is, for others may not answer any more.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _Stop.ask) for number in numbers}
    _Stop.asked, _Stop.since = False, 0.0
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _answered() -> Iterator[None]:
    """Say clearly that a process was lost."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0]
        raise LostProcessError(f"Another process of the run does not answer: {reason}") from error
