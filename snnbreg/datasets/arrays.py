"""Frames and labels that a person has as arrays: checked, and as small as they can be stored.

Legend: n samples, T time steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnbreg.datasets.binning import Array
from snnbreg.datasets.ecg import UNLABELLED
from snnbreg.datasets.events import MOST_CLASSES
from snnbreg.datasets.loader import FrameSet

AT_ONCE = 256  # samples looked at together


def frame_set(frames: Any, labels: Any, source: str, class_names: tuple[str, ...] = ()) -> FrameSet:
    """Return samples as a split.

    Args:
        frames: numbers (n, T, C). Whole ones from 0 to 255 are kept as bytes, which an exported
            network needs, all others as float32.
        labels: integers (n,); or (n, T), a class at every step, any negative number where a step
            has none.
        source: where they come from, for messages.
        class_names: of class 0, 1, ...

    Raises:
        ValueError: shapes or types do not fit, a number is not finite, or a label is impossible.
    """
    frames, labels = _array(frames, f"{source}: frames"), _array(labels, f"{source}: labels")
    if frames.ndim != 3:
        raise ValueError(
            f"{source}: frames must be (samples, steps, channels), found {frames.shape}; one "
            "channel is an axis of length 1"
        )
    if not frames.size:
        raise ValueError(f"{source} holds no samples: the shape of its frames is {frames.shape}")
    if labels.shape not in (frames.shape[:1], frames.shape[:2]):
        raise ValueError(
            f"{source}: labels must be ({len(frames)},), one for each sample, or "
            f"{frames.shape[:2]}, one for each step, found {labels.shape} for frames of "
            f"{frames.shape}: samples first"
        )
    stored, numbers = _stored(frames, source), _checked_labels(labels, source)
    return replace(FrameSet.of_arrays(stored, numbers), class_names=class_names)


def refuse_other_shapes(parts: Mapping[str, FrameSet]) -> None:
    """Refuse splits that do not belong together.

    Args:
        parts: by where they come from.

    Raises:
        ValueError: steps, channels or kinds of labels differ.
    """
    (first, whole), *others = parts.items()
    for source, part in others:
        if part.frames.shape[1:] != whole.frames.shape[1:]:
            raise ValueError(
                f"{source} has samples of {tuple(part.frames.shape[1:])} steps and channels, but "
                f"{first} of {tuple(whole.frames.shape[1:])}: make them alike, for instance by "
                "zeros at the end"
            )
        if part.labels.ndim != whole.labels.ndim:
            raise ValueError(
                f"{source} has labels of {tuple(part.labels.shape)}, but {first} of "
                f"{tuple(whole.labels.shape)}: either all have one for each sample, or all one "
                "for each step"
            )


def _array(values: Any, what: str) -> Array:
    """Values as NumPy has them, sharing memory where that is possible."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    try:
        found = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{what} are no array: {error}. Make them equally long") from error
    if found.dtype.kind not in "buif":
        raise ValueError(f"{what} must be numbers, found the type {found.dtype}")
    return found


def _parts(frames: Array) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(frames), AT_ONCE):
        yield start, frames[start : start + AT_ONCE]


def _stored(frames: Array, source: str) -> Array:
    """The frames in bytes where these hold them all, else float32."""
    if frames.dtype.kind == "f":
        for start, part in _parts(frames):
            wrong = np.flatnonzero(~np.isfinite(part).all((1, 2)))
            if len(wrong):
                raise ValueError(
                    f"{source}: frames of sample {start + wrong[0]} hold a NaN or an infinite "
                    "number; replace it, or leave the sample out"
                )
    bytes_hold = all(
        part.min() >= 0 and part.max() <= 255 and np.array_equal(part, np.rint(part))
        for _, part in _parts(frames.view(np.uint8) if frames.dtype == bool else frames)
    )
    return np.ascontiguousarray(frames, np.uint8 if bytes_hold else np.float32)


def _checked_labels(labels: Array, source: str) -> Array:
    if labels.dtype.kind not in "ui":
        raise ValueError(
            f"{source}: labels must be integers, found {labels.dtype}; store them as int64"
        )
    numbers = labels.astype(np.int64)
    low = 0 if labels.ndim == 1 else numbers.min()  # of steps, negative ones stand for none
    wrong = np.argwhere((numbers < low) | (numbers >= MOST_CLASSES))
    if len(wrong):
        raise ValueError(
            f"{source}: sample {wrong[0][0]} has the label {numbers[tuple(wrong[0])]}; labels are "
            "classes 0, 1, 2, ..."
        )
    return np.maximum(numbers, UNLABELLED)
