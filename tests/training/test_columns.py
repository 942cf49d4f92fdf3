"""The order of the columns of metrics.csv."""

import pytest

from snnbreg.training.columns import ordered


def test_columns_stand_in_their_order_whatever_that_of_the_row() -> None:
    row = {"seconds": 1.0, "nonzero/b": 2, "val_mse": 0.5, "nonzero/a": 3, "epoch": 1, "lr": 0.1}
    expected = ["epoch", "val_mse", "lr", "seconds", "nonzero/b", "nonzero/a"]
    assert list(ordered(row, "mse").items()) == [(name, row[name]) for name in expected]


def test_a_column_that_nobody_describes_is_refused() -> None:
    with pytest.raises(KeyError, match="val_acc is no column"):
        ordered({"val_acc": 0.5}, "mse")
