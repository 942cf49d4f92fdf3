"""Batch norm of currents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional import batch_norm, track_
from ..kernels import check_engine, get_engine


class BatchNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` whose statistics are summed up in double precision on a CPU.

    Args:
        channels: N.
        engine: as of the layers, see ``kernels.get_engine``.

    Shape:
        (R, N) -> (R, N), R rows: all steps of all samples.

    Raises:
        ValueError: for an engine that does not exist; in training, for fewer than two rows.
    """

    def __init__(self, channels: int, engine: str = "auto") -> None:
        super().__init__(channels)
        self.engine = check_engine(engine)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised rows; running statistics move while it trains."""
        fits = x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64)
        if not self.training or x.device.type != "cpu" or not fits:
            return super().forward(x)
        sums = get_engine(self.engine, x.device).column_sums
        y, *statistics = batch_norm(x, self.weight, self.bias, self.eps, sums)
        track_(self, *statistics)
        return y
