"""Recordings and images as frames (T, B, C): one class per data set, one straight way.

    recording -> events.py -> binning.py -> cache.py -> FrameSet -> Splits -> FrameLoader -> batch

A class's fields are the keys of its config; ``load()`` returns :class:`Splits`. Importing this
package needs torch and NumPy; h5py, tonic and snntorch are imported where they are used.
"""

from snnbreg.datasets.audio import Audio
from snnbreg.datasets.cifar10 import CIFAR10
from snnbreg.datasets.ecg import ECG
from snnbreg.datasets.loader import FrameLoader, FrameSet
from snnbreg.datasets.mnist import MNIST, PSMNIST, SMNIST, FashionMNIST, RowsMNIST
from snnbreg.datasets.nmnist import NMNIST
from snnbreg.datasets.own import Own
from snnbreg.datasets.speech import SHD, SSC, ArabicCommands, SpeechDataset
from snnbreg.datasets.splits import Splits, make_splits
from snnbreg.datasets.spoken_digits import SpokenDigits

DATASETS: dict[str, type] = {
    "spoken_digits": SpokenDigits,
    "audio": Audio,
    "own": Own,
    "shd": SHD,
    "ssc": SSC,
    "arabic_commands": ArabicCommands,
    "ecg": ECG,
    "nmnist": NMNIST,
    "psmnist": PSMNIST,
    "rows_mnist": RowsMNIST,
    "smnist": SMNIST,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
}
"""The names of ``configs/dataset`` and their classes."""

__all__ = [
    "CIFAR10",
    "DATASETS",
    "ECG",
    "MNIST",
    "NMNIST",
    "PSMNIST",
    "SHD",
    "SMNIST",
    "SSC",
    "ArabicCommands",
    "Audio",
    "FashionMNIST",
    "FrameLoader",
    "FrameSet",
    "Own",
    "RowsMNIST",
    "SpeechDataset",
    "Splits",
    "SpokenDigits",
    "make_splits",
]
