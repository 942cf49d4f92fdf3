"""The loops of a linear layer whose inputs are rare events, forward and backward.

Rows are time steps and samples. ``sparse.list_entries`` lists the events of a range of rows, the
others cost nothing: forward, an event adds its sender's weights to the currents of its row; for the
gradient of W, it adds its row's dI to those of its sender, the weights that are zero included. The
gradient of the events is dense, but skips the zeros of W.

Rows go in chunks of CHUNK, for which the events are sorted by sender: as many rows of two panels
fill the processor's nearest cache.

Legend: M rows, B batch, C senders, N receivers, P panels of LANES receivers.
"""

from __future__ import annotations

import numpy as np

from .blocks import store_tile, transpose
from .compile import compiled
from .lanes import LANES, load, load_as, store
from .sparse import WIDTH, Matrix, multiply, sum_rows, sum_rows_of_one

CHUNK = 256
"""Rows that are worked on together, a multiple of WIDTH LANES."""


@compiled
def linear_of_events(
    rows: tuple[int, int],
    start: np.ndarray,  # (rows + 1,), of the rows' events
    sender: np.ndarray,
    value: np.ndarray,
    panels: np.ndarray,  # (P, C, LANES) of W
    bias: np.ndarray,  # (P LANES,)
    scale: np.ndarray,  # (B, N) factors on the currents, or (0, N) for none
    out: np.ndarray,  # (M, N), written: (W x + b) scale
) -> None:
    """Currents of the rows rows[0] .. rows[1] - 1."""
    blocks, senders, _ = panels.shape
    gap = senders * LANES
    chunk = np.empty((blocks, CHUNK, LANES), out.dtype)
    for first in range(rows[0], rows[1], CHUNK):
        here = min(CHUNK, rows[1] - first)
        for block in range(0, blocks, WIDTH):
            for r in range(here):
                begin, end = start[first - rows[0] + r], start[first - rows[0] + r + 1]
                at = (block * CHUNK + r) * LANES
                if block + WIDTH <= blocks:
                    sum_rows(
                        value, sender, begin, end, panels, block * gap, gap,
                        chunk, at, CHUNK * LANES, False,
                    )  # fmt: skip
                else:
                    sum_rows_of_one(
                        value, sender, begin, end, panels, block * gap, 0, chunk, at, 0, False
                    )
        _store_chunk(chunk, bias, scale, first, first + here, out)


@compiled
def _store_chunk(
    chunk: np.ndarray, bias: np.ndarray, scale: np.ndarray, first: int, last: int, out: np.ndarray
) -> None:
    """Bring the panels of a chunk, plus bias and scaled, to rows of out (M, N)."""
    samples, receivers = scale.shape
    whole = receivers - receivers % LANES
    for r in range(first, last):
        b = r % samples if samples else 0
        for i in range(0, whole, LANES):
            current = load(chunk, (i // LANES * CHUNK + r - first) * LANES) + load(bias, i)
            if samples:
                current = current * load(scale, b * receivers + i)
            store(out, r * receivers + i, current)
        for i in range(whole, receivers):
            current_of_one = chunk[whole // LANES, r - first, i - whole] + bias[i]
            out[r, i] = current_of_one * scale[b, i] if samples else current_of_one


@compiled
def linear_of_events_backward(
    rows: tuple[int, int],
    start: np.ndarray,
    sender: np.ndarray,
    value: np.ndarray,
    grad: np.ndarray,  # (M, N), of the currents
    scale: np.ndarray,
    transposed: Matrix,  # of W: (C, N)
    by_events: np.ndarray,  # (1, M, C), or (1, M, 0) if not wanted; written
    by_weight: np.ndarray,  # (P, C, LANES), or (P, 0, LANES); added to
    by_bias: np.ndarray,  # (P LANES,) float64, added to
) -> None:
    """Gradients of the rows rows[0] .. rows[1] - 1."""
    blocks, senders, _ = by_weight.shape
    chunk = np.zeros((blocks, CHUNK, LANES), grad.dtype)
    for first in range(rows[0], rows[1], CHUNK):
        last = min(first + CHUNK, rows[1])
        if last - first < CHUNK:
            chunk[:] = 0
        _load_chunk(grad, scale, first, last, chunk)
        _add_to_bias(chunk, by_bias)
        if senders:
            here = start[first - rows[0] : last - rows[0] + 1]
            _add_to_weight(here, sender, value, chunk, by_weight)
        if by_events.shape[2]:
            _write_by_events(first, chunk, transposed, by_events)


@compiled
def _load_chunk(
    grad: np.ndarray, scale: np.ndarray, first: int, last: int, chunk: np.ndarray
) -> None:
    """Bring the rows of grad (M, N), scaled, to the panels of a chunk."""
    samples, receivers = scale.shape
    whole = receivers - receivers % LANES
    for r in range(first, last):
        b = r % samples if samples else 0
        for i in range(0, whole, LANES):
            current = load(grad, r * receivers + i)
            if samples:
                current = current * load(scale, b * receivers + i)
            store(chunk, (i // LANES * CHUNK + r - first) * LANES, current)
        for i in range(whole, receivers):
            value = grad[r, i] * scale[b, i] if samples else grad[r, i]
            chunk[whole // LANES, r - first, i - whole] = value


@compiled
def _add_to_bias(chunk: np.ndarray, by_bias: np.ndarray) -> None:
    """Add the sums over the rows."""
    sums = np.empty(LANES, chunk.dtype)
    for block in range(len(chunk)):
        total = load(chunk, block * CHUNK * LANES)
        for r in range(1, CHUNK):
            total = total + load(chunk, (block * CHUNK + r) * LANES)
        store(sums, 0, total)
        store(by_bias, block * LANES, load(by_bias, block * LANES) + load_as(sums, 0, 0.0))


@compiled
def _add_to_weight(
    start: np.ndarray,
    sender: np.ndarray,
    value: np.ndarray,
    chunk: np.ndarray,
    by_weight: np.ndarray,
) -> None:
    """Sort the events of the rows by sender, and add to each sender's gradients."""
    blocks, senders, _ = by_weight.shape
    ends = np.zeros(senders + 1, np.int64)
    for e in range(start[0], start[-1]):
        ends[sender[e] + 1] += 1
    for j in range(senders):
        ends[j + 1] += ends[j]
    row, factor = np.empty(ends[senders], np.int32), np.empty(ends[senders], value.dtype)
    for r in range(len(start) - 1):
        for e in range(start[r], start[r + 1]):
            to = ends[sender[e]]
            row[to], factor[to] = r, value[e]
            ends[sender[e]] = to + 1
    for block in range(0, blocks, WIDTH):
        here = min(WIDTH, blocks - block)
        begin = 0
        for j in range(senders):
            at = (block * senders + j) * LANES
            if here == WIDTH:
                sum_rows(
                    factor, row, begin, ends[j], chunk, block * CHUNK * LANES, CHUNK * LANES,
                    by_weight, at, senders * LANES, True,
                )  # fmt: skip
            else:
                sum_rows_of_one(
                    factor, row, begin, ends[j], chunk, block * CHUNK * LANES, 0,
                    by_weight, at, 0, True,
                )  # fmt: skip
            begin = ends[j]


@compiled
def _write_by_events(
    first: int, chunk: np.ndarray, transposed: Matrix, by_events: np.ndarray
) -> None:
    """W' dI of a chunk, WIDTH tiles of LANES rows at a time."""
    blocks = len(chunk)
    _, rows, senders = by_events.shape
    width = -(-senders // LANES) * LANES * LANES
    tiles = np.empty((WIDTH, blocks, LANES, LANES), chunk.dtype)
    grads = np.empty((WIDTH, width // LANES, LANES), chunk.dtype)
    for at in range(first, min(first + CHUNK, rows), WIDTH * LANES):
        for k in range(WIDTH):
            for block in range(blocks):
                source = (block * CHUNK + at - first + k * LANES) * LANES
                transpose(chunk, source, LANES, tiles, (k * blocks + block) * LANES * LANES, LANES)
        multiply(transposed, tiles, 0, blocks * LANES * LANES, grads, 0, width, WIDTH)
        for k in range(WIDTH):
            if at + k * LANES < rows:
                store_tile(grads[k], by_events, 0, at + k * LANES)
