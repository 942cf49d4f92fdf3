"""The variables of all batches: made, kept in memory or in files, saved and loaded."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from snnbreg.admm.equations import Neuron, simulate
from snnbreg.admm.remedies import scale_to_fire
from snnbreg.admm.weights import Senders, senders_of

State = dict[str, Any]
"""``z`` and ``a``, lists by layer, and ``dual``: of one batch, every tensor (T, N, n)."""


class Processes(Protocol):
    """The processes of a run, see ``snnbreg.training.processes``."""

    rank: int
    count: int
    writes: bool

    def add(self, *tensors: Tensor) -> None: ...  # noqa: D102


@dataclass
class Batch:
    """Samples with the variables that belong to them.

    Attributes:
        frames: the input, (T, N, C), on the network's device.
        labels: (N,) int64, there too.
        target: one-hot labels, (N, K), there too.
        z: membranes by layer, the output layer's last, (T, N, n) each, in host memory or files.
        a: spikes by hidden layer, likewise.
        dual: of the output layer's constraints, (T, N, K), likewise.
        whole: samples that all processes have of this batch together.
        current: W a of the frames, as long as these weights stay.
    """

    frames: Senders
    labels: Tensor
    target: Tensor
    z: list[Tensor]
    a: list[Tensor]
    dual: Tensor
    whole: int
    current: Tensor | None = field(default=None, repr=False)


class Storage:
    """Room for variables: host memory up to a limit, beyond it memory-mapped files.

    Args:
        limit: bytes in memory; the files lie in the system's folder for temporary files and
            disappear with this object.
    """

    def __init__(self, limit: float) -> None:
        self.left = limit
        self._folder: str | None = None
        self.files = 0

    def keep(self, values: Tensor) -> Tensor:
        """The values, copied to the place where they will stay."""
        if values.nbytes <= self.left or values.numel() == 0:
            self.left -= values.nbytes
            return values.to("cpu", copy=True).contiguous()
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="snnbreg_admm_")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.files += 1
        file = f"{self._folder}/{self.files}.bin"
        size = values.numel()
        place = torch.from_file(file, shared=True, size=size, dtype=values.dtype)
        return place.view(values.shape).copy_(values)


class Variables:
    """The batches of a run.

    Args:
        weights: by layer; their sizes, type and device are those of the variables.
        neuron: of the network.
        processes: process k holds the samples k, k + count, ... of every batch.
        init: ``"uniform"`` states in [0, 1), those of the simulated ``"network"``, or those of an
            ``"active"`` one, whose weights are scaled first, see ``scale_to_fire``.
        memory: bytes in memory before files are used.
        sparse: whether frames with few events become sparse matrices.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        neuron: Neuron,
        processes: Processes,
        init: str,
        memory: float,
        sparse: bool = True,
    ) -> None:
        self.weights, self.neuron, self.processes, self.init = weights, neuron, processes, init
        self.storage = Storage(memory)
        self.senders = senders_of if sparse else Senders
        self.sizes = [len(weight) for weight in weights]
        self.batches: list[Batch] = []
        self.loaded: list[State] | None = None
        self._whole: list[State] | None = None

    def start(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Make the variables of every batch, or take those of a checkpoint.

        Raises:
            ValueError: the labels are not one class per sample, or a checkpoint is that of other
                samples.
        """
        for number, (frames, labels) in enumerate(batches):
            self.batches.append(self._batch(number, frames, labels))
        if not self.batches or (self.loaded and len(self.loaded) != len(self.batches)):
            raise ValueError("The checkpoint was made with another number of batches")
        self.loaded = None

    def _batch(self, number: int, frames: Tensor, labels: Tensor) -> Batch:
        like = self.weights[0]
        target = _one_hot(labels, self.sizes[-1]).to(like)
        mine = slice(self.processes.rank, None, self.processes.count)
        senders = self.senders(frames[:, mine].to(like))
        if self.loaded is not None:
            state = _share(_fitting(self.loaded, number, frames.shape[:2], self.sizes), mine)
        elif self.init != "uniform":
            if self.init == "active" and number == 0:
                current = senders.current(self.weights[0])
                scale_to_fire(self.weights, current, self.neuron, self.processes.add)
            z, a = simulate(self.weights, senders.current(self.weights[0]), self.neuron)
            state = {"z": z, "a": a, "dual": torch.zeros_like(z[-1])}
        else:  # of the whole batch, so that they do not depend on the number of processes
            state = _share(_uniform(frames.shape[:2], self.sizes), mine)
        kept = _each(state, lambda x: self.storage.keep(x.to(like.dtype)))
        return Batch(senders, labels[mine], target[mine], whole=len(labels), **kept)

    def forward_seconds(self) -> float:
        """Time in which the network is simulated once, from that of the first batch."""
        batch = self.batches[0]
        start = time.perf_counter()
        simulate(self.weights, batch.frames.current(self.weights[0]), self.neuron)
        return (
            (time.perf_counter() - start)
            * sum(b.dual[0].numel() for b in self.batches)
            / max(1, batch.dual[0].numel())
        )

    def prediction(self) -> str:
        """What a sweep needs, in words."""
        entries = sum(b.dual.shape[0] * b.dual.shape[1] for b in self.batches)
        gigabytes = sum(x.nbytes for x in self.tensors()) / 1e9
        work = 2 * sum(weight.numel() for weight in self.weights) * entries / 1e9
        return (
            f"ADMM: {entries:,} steps of samples in {len(self.batches)} batches; variables "
            f"{gigabytes:.2f} GB, {self.storage.files} of them in files; about {work:.1f} "
            "billion multiply-adds per epoch where frames are dense"
        )

    def tensors(self) -> list[Tensor]:
        """All variables of this process, batch by batch: z, a and dual."""
        return [x for batch in self.batches for x in (*batch.z, *batch.a, batch.dual)]

    def replace(self, values: Iterable[Tensor]) -> None:
        """Exchange the values of ``tensors``; spikes stay in [0, 1]."""
        for tensor, value in zip(self.tensors(), values, strict=True):
            tensor.copy_(value)
        for batch in self.batches:
            for spikes in batch.a:
                spikes.clamp_(0.0, 1.0)

    def gather(self) -> None:
        """Bring the samples of all processes together in the one that saves them."""
        if self.processes.count == 1:
            return
        whole = []
        for batch in self.batches:

            def joined(x: Tensor, count: int = batch.whole) -> Tensor:
                full = x.new_zeros(len(x), count, x.shape[2])
                full[:, self.processes.rank :: self.processes.count] = x
                self.processes.add(full)
                return full if self.processes.writes else full[:, :0]

            whole.append(_each(_state(batch), joined))
        self._whole = whole

    def state(self) -> list[State]:
        """The variables of all batches, to be saved."""
        if self.loaded is not None:  # nothing was done since
            return self.loaded
        return self._whole or [_state(batch) for batch in self.batches]


def _state(batch: Batch) -> State:
    return {"z": batch.z, "a": batch.a, "dual": batch.dual}


def _each(state: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> State:
    """A state with every tensor changed."""
    return {
        name: [change(x) for x in value] if isinstance(value, list) else change(value)
        for name, value in state.items()
    }


def _share(state: State, mine: slice) -> State:
    return _each(state, lambda x: x[:, mine])


def _uniform(shape: Sequence[int], sizes: Sequence[int]) -> State:
    """Membranes and spikes in U[0, 1), the dual variable zero, as published."""
    z, a = ([torch.rand(*shape, n) for n in some] for some in (sizes, sizes[:-1]))
    return {"z": z, "a": a, "dual": torch.zeros(*shape, sizes[-1])}


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """(N, K) int64.

    Raises:
        ValueError: the labels are not one class per sample.
    """
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(
            f"ADMM needs one class per sample, not labels of {labels.dtype} {tuple(labels.shape)}"
        )
    return F.one_hot(labels, classes)


def _fitting(
    states: Sequence[State], number: int, shape: Sequence[int], sizes: Sequence[int]
) -> State:
    """The saved state of a batch.

    Raises:
        ValueError: it is that of other samples.
    """
    wanted = [(*shape, n) for n in (*sizes, *sizes[:-1], sizes[-1])]
    if number < len(states):
        state = states[number]
        if [tuple(x.shape) for x in (*state["z"], *state["a"], state["dual"])] == wanted:
            return state
    raise ValueError(
        "The checkpoint's ADMM variables are those of other samples: continue with the data set "
        "and batch size that it was made with"
    )
