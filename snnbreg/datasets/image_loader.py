"""Batches of images: random crops and flips in training, noise, and images as targets.

Legend: B batch, C pixels of all colours, H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from snnbreg.datasets.image_encoder import ImageEncoder
from snnbreg.datasets.loader import ENCODE, FrameLoader, derive_seed

Image = tuple[int, int, int]

_AUGMENT = 2  # stream of random numbers, as in changes.py
_NOISE = 3


def fixed_noise(samples: int, pixels: int, deviation: float, seed: int) -> Tensor:
    """Draw the noise of a whole data set once, float32 (samples, pixels), normal."""
    generator = torch.Generator().manual_seed(derive_seed(seed, _NOISE))
    return torch.randn(samples, pixels, generator=generator).mul_(deviation)


class ImageLoader(FrameLoader):
    """Batches of whole images.

        The crops are a pure function of (seed, epoch, batch).

    Args:
        *arguments, **options: of :class:`~snnbreg.datasets.loader.FrameLoader`.
        image: (colours, H, W).
        crop_padding: see :func:`cropped`.
        flip: likewise.
        noise: added to the pixels, which lie between 0 and 1, (all samples of the data set, C);
            None for none.
        reconstruct: the labels are the pixels, float32 (B, C) between 0 and 1, after crop and flip
            and without noise.
    """

    def __init__(
        self,
        *arguments: Any,
        image: Image,
        crop_padding: int = 0,
        flip: bool = False,
        noise: Tensor | None = None,
        reconstruct: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.encoder: ImageEncoder | None
        self.image, self.crop_padding, self.flip = image, crop_padding, flip
        self.noise, self.reconstruct = noise, reconstruct

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, as :meth:`FrameLoader.epoch` does."""
        for batch, items in enumerate(self._order(epoch)):
            index = items if self.frames.index is None else self.frames.index[items]
            clean = self._time_first(self._prepared(self._counts(index), epoch, batch))
            frames = clean
            if self.noise is not None:
                frames = clean + self.noise[index + self.frames.first].to(self.device)
            if self.encoder is not None:
                seed = derive_seed(self.seed, epoch, ENCODE, batch) if self.encoder.random else 0
                frames = self.encoder(frames, seed)
            labels = clean[0] if self.reconstruct else self.frames.labels[index].to(self.device)
            yield frames, labels

    def _prepared(self, counts: Tensor, epoch: int, batch: int) -> Tensor:
        if not (self.crop_padding or self.flip):
            return counts
        seed = derive_seed(self.seed, epoch, _AUGMENT, batch)
        generator = torch.Generator().manual_seed(seed)
        images = counts.view(-1, *self.image)
        return cropped(images, self.crop_padding, self.flip, generator).view(counts.shape)


def cropped(images: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Pad every image with black, cut its size out at a random place, mirror half of them.

    Args:
        images: (B, colours, H, W).
        padding: pixels on each side; the place is uniform among the (2 padding + 1)^2.
        flip: mirror left and right with probability 1/2.
        generator: of the places, on the CPU.

    Returns:
        a tensor of the same shape.
    """
    samples, _, height, width = images.shape
    row, column = torch.randint(2 * padding + 1, (2, samples, 1), generator=generator)
    across = torch.arange(width).expand(samples, -1)
    if flip:
        mirrored = torch.randint(2, (samples, 1), generator=generator).bool()
        across = torch.where(mirrored, across.flip(1), across)
    rows = (row + torch.arange(height)).to(images.device)
    columns = (column + across).to(images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4).movedim(1, 3)
    which = torch.arange(samples, device=images.device)
    picked = padded[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.movedim(3, 1).contiguous()
