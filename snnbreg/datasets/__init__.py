"""Recordings and images as frames (T, B, C): one class per data set, one straight way.

    recording -> events.py -> binning.py -> cache.py -> FrameSet -> FrameLoader -> (T, B, C)

A class's fields are the keys of its config; ``load()`` returns :class:`Splits`. Importing this
package needs torch and NumPy; h5py, tonic and snntorch are imported where they are used.
"""

from snnbreg.datasets.loader import FrameLoader, FrameSet, Splits
from snnbreg.datasets.spoken_digits import SpokenDigits

DATASETS: dict[str, type] = {
    "spoken_digits": SpokenDigits,
}
"""The names of ``configs/dataset`` and their classes."""

__all__ = ["DATASETS", "FrameLoader", "FrameSet", "Splits", "SpokenDigits"]
