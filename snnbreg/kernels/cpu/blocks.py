"""Square blocks of ``LANES`` x ``LANES`` numbers: transposition, and products of panels.

``product`` is the engine's matrix product. A panel holds ``LANES`` rows (or columns) of a matrix
next to each other, (J, LANES); the product of two panels is a block, whose rows stay in registers
during the sum over J. With a batch of sixteen columns this is faster than a BLAS library, which
packs the matrix in every call; here the weights are packed into panels once per pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types

from .compile import compiled, intrinsic
from .lanes import LANES, _broadcast, _data, _indices, load_as, store

WIDE = bool(binding.get_host_cpu_features().get("avx512f", False))


def _rows_at_once(itemsize: int) -> int:
    """Number of rows of a block whose sums fit into the registers."""
    return (64 if WIDE else 16) // itemsize


def _product_rows(
    builder: Any, panels: tuple[Any, Any, Any], length: Any, rows: range, accumulate: Any
) -> None:
    """Emit the loop over j for some rows of the block."""
    left, right, block = panels
    i64 = ir.IntType(64)
    vector = ir.VectorType(right.type.pointee, LANES)

    def vector_at(pointer: Any, index: Any) -> Any:
        return builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())

    size = 4 if isinstance(right.type.pointee, ir.FloatType) else 8
    zero = ir.Constant(vector, None)
    start = []
    for row in rows:
        old = builder.load(vector_at(block, i64(row * LANES)), align=size)
        start.append(builder.select(accumulate, old, zero))
    before = builder.block
    loop, after = builder.append_basic_block("product"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    j = builder.phi(i64)
    j.add_incoming(i64(0), before)
    sums = [builder.phi(vector) for _ in rows]
    offset = builder.mul(j, i64(LANES))
    column = builder.load(vector_at(right, offset), align=size)
    base = builder.gep(left, [offset])
    new = []
    for row, old in zip(rows, sums, strict=True):
        factor = _broadcast(builder, builder.load(builder.gep(base, [i64(row)])))
        term = builder.fmul(factor, column, flags=("contract",))
        new.append(builder.fadd(old, term, flags=("contract",)))
    following = builder.add(j, i64(1))
    j.add_incoming(following, loop)
    for phi, first, last in zip(sums, start, new, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
    builder.cbranch(builder.icmp_signed("<", following, length), loop, after)
    builder.position_at_end(after)
    for row, value in zip(rows, new, strict=True):
        builder.store(value, vector_at(block, i64(row * LANES)), align=size)


@intrinsic
def product(
    typing: Any,
    left: Any,
    left_at: Any,
    right: Any,
    right_at: Any,
    block: Any,
    block_at: Any,
    length: Any,
    accumulate: Any,
) -> Any:
    """block[r, c] = sum_j left[j, r] right[j, c], added to what is there if ``accumulate``.

    Each operand is a contiguous array and the flat index where its panel (length, LANES) or block
    (LANES, LANES) begins; length >= 1.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = []
        for at in (0, 2, 4):
            data = context.make_array(sig.args[at])(context, builder, args[at]).data
            pointers.append(builder.gep(data, [args[at + 1]]))
        rows = _rows_at_once(sig.args[0].dtype.bitwidth // 8)
        for first in range(0, LANES, rows):
            _product_rows(builder, tuple(pointers), args[6], range(first, first + rows), args[7])
        return context.get_dummy_value()

    arguments = (left, types.intp, right, types.intp, block, types.intp, types.intp, types.boolean)
    return types.none(*arguments), generate


@intrinsic
def transpose(
    typing: Any,
    source: Any,
    source_at: Any,
    source_stride: Any,
    target: Any,
    target_at: Any,
    target_stride: Any,
) -> Any:
    """Transpose a block of LANES x LANES numbers; strides are between rows, in elements."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, source_at, source_stride, target, target_at, target_stride = args
        size = sig.args[0].dtype.bitwidth // 8
        i64 = ir.IntType(64)

        def place(which: int, array: Any, at: Any, stride: Any, row: int) -> Any:
            index = builder.add(at, builder.mul(stride, i64(row)))
            return _data(context, builder, sig.args[which], array, index)

        rows = [
            builder.load(place(0, source, source_at, source_stride, row), align=size)
            for row in range(LANES)
        ]
        half = LANES // 2
        low, high = (
            [lane for i in range(start, start + half) for lane in (i, i + LANES)]
            for start in (0, half)
        )
        for _ in range(LANES.bit_length() - 1):  # a perfect shuffle per bit of the index
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], _indices(order))
                for i in range(half)
                for order in (low, high)
            ]
        for row, value in enumerate(rows):
            builder.store(value, place(3, target, target_at, target_stride, row), align=size)
        return context.get_dummy_value()

    arguments = (source, types.intp, types.intp, target, types.intp, types.intp)
    return types.none(*arguments), generate


@compiled
def copy(source: np.ndarray, source_at: int, target: np.ndarray, target_at: int, size: int) -> None:
    """Copy ``size`` numbers, a multiple of LANES, between flat indices; bytes become floats."""
    like = target.flat[0]
    for at in range(0, size, LANES):
        store(target, target_at + at, load_as(source, source_at + at, like))


@compiled
def load_tile(source: np.ndarray, t: int, first: int, target: np.ndarray) -> None:
    """Copy step t of a tile from source (T, B, N) to target (rows >= N, LANES).

    Lanes beyond the batch become zero.
    """
    _, batch, neurons = source.shape
    lanes = min(LANES, batch - first)
    whole = neurons - neurons % LANES if lanes == LANES else 0
    start = (t * batch + first) * neurons
    for i in range(0, whole, LANES):
        transpose(source, start + i, neurons, target, i * LANES, LANES)
    if whole == neurons:
        return
    for i in range(whole, neurons):
        for b in range(LANES):
            target[i, b] = source[t, first + b, i] if b < lanes else 0


@compiled
def store_tile(source: np.ndarray, target: np.ndarray, t: int, first: int) -> None:
    """Copy a tile from source (rows >= N, LANES) to step t of target (T, B, N)."""
    _, batch, neurons = target.shape
    lanes = min(LANES, batch - first)
    whole = neurons - neurons % LANES if lanes == LANES else 0
    start = (t * batch + first) * neurons
    for i in range(0, whole, LANES):
        transpose(source, i * LANES, LANES, target, start + i, neurons)
    for b in range(lanes):
        for i in range(whole, neurons):
            target[t, first + b, i] = source[i, b]


@compiled
def store_transposed(t: int, values: np.ndarray, panels: np.ndarray) -> None:
    """Store values (R, LANES) of a step, transposed, in panels (R / LANES, T LANES, LANES)."""
    blocks, length, _ = panels.shape
    for block in range(blocks):
        transpose(
            values, block * LANES * LANES, LANES,
            panels, (block * length + t * LANES) * LANES, LANES,
        )  # fmt: skip
