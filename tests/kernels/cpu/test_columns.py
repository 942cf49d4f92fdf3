"""Sums over rows against the readable form."""

from __future__ import annotations

import pytest
import torch

from snnbreg import functional
from snnbreg.kernels import cpu
from snnbreg.kernels.cpu.columns import ROWS


@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, 3 * ROWS + 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_those_of_the_reference(rows: int, dtype: torch.dtype) -> None:
    a, b = torch.randn(2, rows, 7).to(dtype)
    found, expected = cpu.column_sums(a, b), functional.column_sums(a, b)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-11)


def test_threads_change_no_bit() -> None:
    a, b = torch.randn(2, 5 * ROWS + 3, 7)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(cpu.column_sums(a, b))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("kind", ["transposed", "images", "half", "mixed"])
def test_whatever_the_loops_do_not_take_is_right_as_well(kind: str) -> None:
    a, b = torch.randn(2, 30, 7)
    if kind == "transposed":
        a, b = torch.randn(7, 30).T, torch.randn(30, 9)[:, 1:8]
    elif kind == "images":
        a, b = torch.randn(2, 5, 7, 3, 2)
    elif kind == "half":
        a, b = a.bfloat16(), b.bfloat16()
    else:
        b = b.double()
    torch.testing.assert_close(cpu.column_sums(a, b), functional.column_sums(a, b))
