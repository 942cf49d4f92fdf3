"""MNIST as sequences: pixel by pixel, permuted or not, and row by row."""

from __future__ import annotations

from dataclasses import dataclass

from snnbreg.datasets.binning import Array
from snnbreg.datasets.images import ImageSet
from snnbreg.datasets.seeds import permutation


@dataclass
class SMNIST(ImageSet):
    """Sequential MNIST: one pixel per step, T = 784, C = 1, intensities from 0 to 1.

    Files as :class:`~snnbreg.datasets.mnist.MNIST`; fields as
    :class:`~snnbreg.datasets.images.ImageSet`. The split is the one of permuted MNIST: 49,800 /
    10,200 / 10,000.
    """

    valid_fraction: float = 0.17

    NAME = "smnist"

    def arrange(self, images: Array) -> Array:
        """Return the pixels in reading order, (S, 784, 1)."""
        return images.reshape(len(images), -1, 1)


@dataclass
class PSMNIST(SMNIST):
    """Permuted sequential MNIST: the 784 pixels of every image in one fixed random order.

    The published code draws the order from the global generator of the run, so that it differs
    between seeds (Queant et al. 2025, arXiv 2509.24852, code); here it has a seed of its own and
    is the same on every machine.

    Args:
        root, cache, binning, valid_fraction, split_seed, limit: see
            :class:`~snnbreg.datasets.images.ImageSet`; the published split is
            int(0.83 * 60,000) = 49,800 for training and 10,200 for validation.
        permutation_seed: of the order of the pixels.
    """

    permutation_seed: int = 0

    NAME = "psmnist"

    def arrange(self, images: Array) -> Array:
        """Return the pixels in the permuted order, (S, 784, 1)."""
        pixels = images.reshape(len(images), -1)
        return pixels[:, permutation(pixels.shape[1], self.permutation_seed).numpy()][..., None]


@dataclass
class RowsMNIST(ImageSet):
    """MNIST row by row: T = 28 steps of C = 28 pixels, intensities from 0 to 1.

    Files as :class:`~snnbreg.datasets.mnist.MNIST`; fields as
    :class:`~snnbreg.datasets.images.ImageSet`.
    """

    NAME = "rows_mnist"

    def arrange(self, images: Array) -> Array:
        """Return the rows, (S, 28, 28)."""
        return images
