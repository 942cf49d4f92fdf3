"""Products that skip zeros: sums of chosen rows of a panel, each times a number.

A panel (J, LANES) holds a vector per row, as in ``blocks``. ``sum_rows`` adds the rows that belong
to the non-zero entries of a sparse vector, for ``WIDTH`` panels at once, so that an entry is read
once for all of them, and 256 rows of two panels of float32 fill the processor's nearest cache. Four
products have this form:

    product                     sparse vector          rows of the panels
    W z of the recurrence       a row of W             senders, their z in LANES samples
    W x, feed-forward           the events of a step   senders, their weights to LANES receivers
    gradient of W               a sender over time     steps and samples, dR of LANES receivers
    W' dI, to the layer below   a column of W          receivers, their dI in LANES samples

Every sum runs through its entries in ascending order and has one accumulator, as in ``product``:
adding 0 x changes no bit, so that both give the same bits (but for 0 times infinity).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from .blocks import product
from .compile import compiled, intrinsic
from .lanes import LANES, _broadcast, _bytes, lowest_bit, nonzero_lanes

WIDTH = 2
"""Panels that ``sum_rows`` reads at once."""
VECTORS = 64 // LANES
"""Vectors whose bits fit into an integer."""


class Matrix(NamedTuple):
    """A matrix (R, J) in one of two forms; the arrays of the other are empty."""

    panels: np.ndarray
    """Dense: (rows / LANES, J, LANES), padded with zeros, panels[i, j, r] = M[LANES i + r, j]."""
    start: np.ndarray
    """Sparse: (R + 1,) int64, row r has the entries start[r] .. start[r + 1] - 1."""
    column: np.ndarray
    """(nonzero,) int32, ascending in each row."""
    value: np.ndarray
    """(nonzero,)."""


def _sum_rows(width: int) -> Any:
    """The intrinsic for this number of panels."""

    @intrinsic
    def sum_rows(
        typing: Any,
        value: Any,
        index: Any,
        first: Any,
        last: Any,
        table: Any,
        table_at: Any,
        table_gap: Any,
        out: Any,
        out_at: Any,
        out_gap: Any,
        accumulate: Any,
    ) -> Any:
        """out[p] = sum_e value[e] table[p, index[e]] over the entries first .. last - 1.

        ``table_at`` and ``out_at`` are flat indices of the first panel and the first vector that
        is written, the gaps lie between them and the next; added to ``out`` if ``accumulate``.
        """

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value, index, first, last, table, table_at, table_gap, out, out_at, out_gap, add = args
            arrays = {0: value, 1: index, 4: table, 7: out}
            data = {
                k: context.make_array(sig.args[k])(context, builder, array).data
                for k, array in arrays.items()
            }
            panels = [builder.gep(data[4], [table_at])]
            places = [builder.gep(data[7], [out_at])]
            for _ in range(1, width):
                panels.append(builder.gep(panels[-1], [table_gap]))
                places.append(builder.gep(places[-1], [out_gap]))
            entries = (data[0], data[1], first, last)
            _sum_entries(builder, entries, panels, places, add, _bytes(context, sig.args[7]))
            return context.get_dummy_value()

        intp = types.intp
        arguments = (value, index, intp, intp, table, intp, intp, out, intp, intp, types.boolean)
        return types.none(*arguments), generate

    return sum_rows


def _sum_entries(
    builder: Any,
    entries: tuple[Any, ...],
    panels: list[Any],
    places: list[Any],
    add: Any,
    size: int,
) -> None:
    """Emit the loop over the entries, with one accumulator per panel."""
    value, index, first, last = entries
    i64 = ir.IntType(64)
    vector = ir.VectorType(places[0].type.pointee, LANES)
    places = [builder.bitcast(place, vector.as_pointer()) for place in places]
    zero = ir.Constant(vector, None)
    start = [builder.select(add, builder.load(place, align=size), zero) for place in places]
    before = builder.block
    loop, after = builder.append_basic_block("entries"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", first, last), loop, after)
    builder.position_at_end(loop)
    e = builder.phi(i64)
    sums = [builder.phi(vector) for _ in panels]
    row = builder.zext(builder.load(builder.gep(index, [e])), i64)
    offset = builder.mul(row, i64(LANES))
    factor = _broadcast(builder, builder.load(builder.gep(value, [e])))
    new = []
    for panel, old in zip(panels, sums, strict=True):
        pointer = builder.bitcast(builder.gep(panel, [offset]), vector.as_pointer())
        term = builder.fmul(factor, builder.load(pointer, align=size), flags=("contract",))
        new.append(builder.fadd(old, term, flags=("contract",)))
    following = builder.add(e, i64(1))
    for phi, initial, later in zip([e, *sums], [first, *start], [following, *new], strict=True):
        phi.add_incoming(initial, before)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, last), loop, after)
    builder.position_at_end(after)
    totals = [builder.phi(vector) for _ in places]
    for total, initial, later in zip(totals, start, new, strict=True):
        total.add_incoming(initial, before)
        total.add_incoming(later, loop)
    for total, place in zip(totals, places, strict=True):
        builder.store(total, place, align=size)


sum_rows = _sum_rows(WIDTH)
sum_rows_of_one = _sum_rows(1)


@compiled
def multiply(
    matrix: Matrix,
    right: np.ndarray,
    right_at: int,
    right_gap: int,
    out: np.ndarray,
    out_at: int,
    out_gap: int,
    tiles: int,
) -> None:
    """M right for up to WIDTH tiles: right is (J, LANES), out (rows, LANES) each.

    ``right_at`` and ``out_at`` are flat indices of the first tiles, the gaps lie between them and
    the next. A dense matrix writes whole blocks of LANES rows.
    """
    for i in range(matrix.start.size - 1):
        first, last = matrix.start[i], matrix.start[i + 1]
        if tiles == WIDTH:
            sum_rows(
                matrix.value, matrix.column, first, last, right, right_at, right_gap,
                out, out_at + i * LANES, out_gap, False,
            )  # fmt: skip
        else:
            sum_rows_of_one(
                matrix.value, matrix.column, first, last, right, right_at, right_gap,
                out, out_at + i * LANES, out_gap, False,
            )  # fmt: skip
    blocks, length, _ = matrix.panels.shape
    for i in range(blocks):
        for tile in range(tiles):
            product(
                matrix.panels, i * length * LANES, right, right_at + tile * right_gap,
                out, out_at + tile * out_gap + i * LANES * LANES, length, False,
            )  # fmt: skip


@compiled
def nonzero_bits(array: np.ndarray, at: int, gap: int, vectors: int) -> int:
    """Which numbers of up to VECTORS vectors are not zero, as the bits of an integer."""
    bits = 0
    for k in range(vectors):
        bits |= nonzero_lanes(array, at + k * gap) << (k * LANES)
    return bits


@compiled
def list_entries(
    matrix: np.ndarray,  # (M, J)
    rows: tuple[int, int],
    start: np.ndarray,  # (rows + 1,), written
    column: np.ndarray,  # (most,), written
    value: np.ndarray,  # (most,), written
) -> bool:
    """List the non-zero entries of some rows; False if there are more than fit."""
    _, columns = matrix.shape
    whole = columns - columns % LANES
    most = len(column)
    found = 0
    for r in range(rows[0], rows[1]):
        start[r - rows[0]] = found
        if found + columns > most and found + np.count_nonzero(matrix[r]) > most:
            return False
        for first in range(0, whole, VECTORS * LANES):
            vectors = min(VECTORS, (whole - first) // LANES)
            bits = nonzero_bits(matrix, r * columns + first, LANES, vectors)
            while bits:
                c = first + lowest_bit(bits)
                column[found], value[found] = c, matrix[r, c]
                found += 1
                bits &= bits - 1
        for c in range(whole, columns):
            if matrix[r, c] != 0:
                column[found], value[found] = c, matrix[r, c]
                found += 1
    start[rows[1] - rows[0]] = found
    return True
