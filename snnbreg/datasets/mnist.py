"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747), whole images.

60,000 training and 10,000 test images of 28 x 28 bytes in four IDX files, gzipped or not.
"""

from __future__ import annotations

from dataclasses import dataclass

from snnbreg.datasets.images import PlainImages


@dataclass
class MNIST(PlainImages):
    """Handwritten digits, C = 784. Fields: see :class:`~snnbreg.datasets.images.PlainImages`.

    ``root`` holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.
    """

    NAME = "mnist"


@dataclass
class FashionMNIST(PlainImages):
    """Articles of clothing, in files and fields like :class:`MNIST`."""

    NAME = "fashion_mnist"
    FILES = "fashion_mnist"
