"""The constant tables of a C program, in the smallest types that hold them.

A matrix is stored as lists (a receiver and a weight per entry) or as one row of all receivers per
sender, which compilers turn into vector instructions. ``auto`` takes what needs fewer bytes: rows
from a density of about a half with 8 bits and 0.8 with floats. On a processor with vector
instructions rows are the faster ones at 36 and at 10 %: ``scripts/benchmark_deploy.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from snnbreg.deploy.network import Array, DeployedNetwork, Layer, Synapses

LAYOUTS = ("auto", "lists", "rows")
_TYPES = {"u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "i1": "int8_t", "i4": "int32_t",
          "f4": "float"}  # fmt: skip


class Table(NamedTuple):
    """One constant array."""

    name: str
    values: Array

    @property
    def ctype(self) -> str:
        """The type of an element in C."""
        return c_type(self.values.dtype)

    def text(self) -> str:
        """Its definition, in lines of at most 100 columns."""
        size = "".join(f"[{n}]" for n in self.values.shape)
        head = f"static const {self.ctype} {self.name}{size} = {{"
        numbers = [c_number(value) for value in self.values.flat]
        if self.values.ndim == 2:  # a pair of braces per row
            width = self.values.shape[1]
            rows = [numbers[i : i + width] for i in range(0, len(numbers), width)]
            numbers = [
                f"{'{' if j == 0 else ''}{number}{'}' if j == len(row) - 1 else ''}"
                for row in rows
                for j, number in enumerate(row)
            ]
        return "\n".join([head, *_lines(numbers), "};"])


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix as a C program has it.

    Attributes:
        name: such as ``w0`` (feed-forward) or ``u0`` (recurrent).
        synapses: what it stores.
        rows: whether as rows of all receivers.
    """

    name: str
    synapses: Synapses
    rows: bool

    def tables(self) -> list[Table]:
        """Its constant arrays; none where it has no weights."""
        synapses, name = self.synapses, self.name
        if not len(synapses.weight):
            return []
        found = []
        if synapses.longest_delay:
            found.append(Table(f"{name}_delay", smallest(synapses.delay)))
        if not synapses.one_list_per_sender:
            found.append(Table(f"{name}_lists", smallest(synapses.lists)))
        if self.rows:
            rows = np.zeros((synapses.senders, padded(synapses.receivers)), synapses.weight.dtype)
            rows[:, : synapses.receivers] = synapses.dense().T
            return [*found, Table(f"{name}_weight", rows)]
        return [
            *found,
            Table(f"{name}_start", smallest(synapses.pointer)),
            Table(f"{name}_receiver", synapses.receiver.astype(index_type(synapses.receivers))),
            Table(f"{name}_weight", synapses.weight),
        ]


def matrices(
    network: DeployedNetwork, layout: str = "auto"
) -> Iterator[tuple[int, Layer, list[Matrix]]]:
    """Layer by layer, the readout last, its matrices.

    Raises:
        ValueError: for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is unknown: choose one of {', '.join(LAYOUTS)}")
    for i, layer in enumerate(network.all_layers()):
        named = zip("wu", layer.matrices(), strict=False)
        yield i, layer, [Matrix(f"{x}{i}", s, _as_rows(s, layout)) for x, (_, s) in named]


def tables(network: DeployedNetwork, layout: str = "auto") -> list[Table]:
    """All constant arrays of a network."""
    found: list[Table] = []
    for i, layer, own in matrices(network, layout):
        for matrix in own:
            found += matrix.tables()
        found.append(Table(f"bias{i}", layer.bias))
        fires = i < len(network.layers) or network.readout_kind == "spiking"
        if fires and not same(layer.threshold):
            found.append(Table(f"threshold{i}", layer.threshold))
        if layer.gain is not None:
            found.append(Table(f"gain{i}", layer.gain))
    return found


class Waiting(NamedTuple):
    """The memory of what is on its way through one matrix."""

    slots: int
    lists: int
    number: np.dtype[np.unsignedinteger]
    """Of a list's number."""
    filled: np.dtype[np.unsignedinteger]
    """Of how many there are in a slot."""
    counted: bool
    """Whether each has a count beside it."""

    @property
    def nbytes(self) -> int:
        """In a C program."""
        each = self.number.itemsize + (1 if self.counted else 0)
        return self.slots * (self.lists * each + self.filled.itemsize)


def waiting(matrix: Matrix) -> Waiting | None:
    """The ring of a matrix: of all recurrent ones, and of feed-forward ones with delays."""
    synapses = matrix.synapses
    if not len(synapses.weight) or (matrix.name[0] == "w" and not synapses.longest_delay):
        return None
    lists = len(synapses.delay)
    return Waiting(
        synapses.longest_delay + 1, lists, index_type(lists), index_type(lists + 1),
        matrix.name == "w0",
    )  # fmt: skip


def padded(receivers: int) -> int:
    """The length of a row, a multiple of 16, so that no vector instruction is half empty.

    Example:
        >>> [padded(n) for n in (10, 64, 126)]
        [16, 64, 128]
    """
    return 16 * -(-receivers // 16)


def same(values: Array) -> bool:
    """Whether one constant stands for all of them."""
    return bool((values == values[0]).all())


def smallest(values: Array) -> Array:
    """Numbers >= 0 in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def index_type(count: int) -> np.dtype[np.unsignedinteger]:
    """Of numbers below ``count``: one byte up to 256, two up to 65,536."""
    return np.dtype(np.min_scalar_type(max(count - 1, 0)))


def c_type(dtype: np.dtype[np.generic]) -> str:
    """The C type of numpy's."""
    return _TYPES[f"{dtype.kind}{dtype.itemsize}"]


def c_number(value: np.generic) -> str:
    """A literal that is read back exactly.

    Example:
        >>> c_number(np.float32(0.1)), c_number(np.float32(2)), c_number(np.int8(-3))
        ('0.100000001f', '2.0f', '-3')
    """
    if not isinstance(value, np.floating):
        return str(int(value)) if int(value) != -(2**31) else "(-2147483647 - 1)"
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _as_rows(synapses: Synapses, layout: str) -> bool:
    if layout == "lists" or not synapses.one_list_per_sender:
        return False
    lists = len(synapses.weight) * (
        synapses.weight.itemsize + index_type(synapses.receivers).itemsize
    )
    rows = padded(synapses.receivers) * synapses.senders * synapses.weight.itemsize
    return layout == "rows" or rows < lists


def _lines(numbers: list[str]) -> list[str]:
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(number) > 98:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return [*lines, line]
