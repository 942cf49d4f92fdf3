"""Dropout that is held over time."""

from __future__ import annotations

from torch import Tensor

from .segments import Carrying


class HeldDropout(Carrying):
    """Dropout with one mask per sample and neuron, the same at all time steps.

    A kept neuron is scaled by 1/(1 - p). Does nothing in evaluation mode or at p = 0.

    Args:
        p: probability that a neuron is dropped, 0 <= p < 1.

    Shape:
        (T, B, N) -> (T, B, N), in the type of the input.

    Raises:
        ValueError: if ``p`` is out of range.

    Example:
        >>> import torch
        >>> dropped = HeldDropout(0.5)(torch.ones(3, 2, 4))
        >>> torch.equal(dropped[0], dropped[1]), sorted(set(dropped.flatten().tolist()) - {0.0})
        (True, [2.0])

    Reference:
        SpikingJelly's ``layer.Dropout``, as used by DelRec (arXiv 2509.24852).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout={p} must be at least 0 and below 1.")
        self.p = p
        self.part: tuple[int, slice] | None = None

    def deal(self, batch: int, mine: slice, counts: bool = True) -> None:
        """Draw for ``batch`` samples from now on, and drop those of ``mine``.

        Several processes that share a batch draw the same masks so, those of one process.
        """
        self.part = batch, mine

    def sample(self, like: Tensor) -> Tensor | None:
        """Draw a mask for the samples and neurons of ``like``, from torch's global generator.

        Args:
            like: gives batch size, width, type and device, (T, B, N).

        Returns:
            Factors 0 or 1/(1 - p), (B, N), or None where nothing is dropped.
        """
        if not self.training or self.p == 0.0:
            return None
        if self.carry is None:
            return self._draw(like)
        if self.carry.state is None:
            self.carry.state = self._draw(like)
        mask: Tensor = self.carry.state
        return mask

    def _draw(self, like: Tensor) -> Tensor:
        batch, mine = (like.shape[1], slice(None)) if self.part is None else self.part
        mask = like.new_empty(batch, like.shape[2])
        return mask.bernoulli_(1.0 - self.p).div_(1.0 - self.p)[mine]

    def forward(self, x: Tensor) -> Tensor:
        """Multiply all time steps by one mask."""
        mask = self.sample(x)
        return x if mask is None else x * mask

    def extra_repr(self) -> str:
        """The probability, for ``print(model)``."""
        return f"p={self.p}"
