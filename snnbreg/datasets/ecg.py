"""Heartbeats as events: the QT database with a class at every time step, and its packed copy.

Recordings of two leads, coded by level crossings into four event channels (a lead going up or
down), as published with Yin, Corradi and Bohte 2021 (Nature Machine Intelligence 3, 905-913);
see ``data/ECG.md``. The pack is one LZMA stream of two NumPy arrays, the training recordings
before the test recordings: the events, 8 cells a byte, and the classes, int8.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnbreg.datasets.binning import Array
from snnbreg.datasets.loader import FrameSet
from snnbreg.datasets.splits import Splits, make_splits

FILE = "ecg.xz"
WAVES = ("P", "PQ", "QR", "RS", "ST", "TP")
UNLABELLED = -1
PARTS = {"train": 618, "test": 141}  # recordings of the published files
CHANNELS = 4


class Heartbeats(NamedTuple):
    """Recordings of one file.

    Attributes:
        frames: uint8 (S, T, 4), 1 where there is an event.
        labels: int64 (S, T), the wave at each step, ``UNLABELLED`` where the file has none.
    """

    frames: Array
    labels: Array


@dataclass
class ECG:
    """Which of six waves of a heartbeat goes on at each of 1,301 steps; 618 / 141 recordings.

    The official test recordings are untouched; a part of the training recordings, chosen by
    ``split_seed``, is for validation: whole recordings. Labels are (S, T): the task is
    ``model.objective=step_cross_entropy``.

    Args:
        root: folder with ``QTDB_train.mat`` and ``QTDB_test.mat``; None for the copy inside the
            package, which gives the same frames.
        unlabelled: what the steps are that nobody labelled (8 % of the training, 10 % of the test
            steps): ``published``, class 0, as the published script trains and counts them; or
            ``ignored``, neither trained nor counted.
        valid_fraction: part of the training recordings that is held out for validation.
        split_seed: of that choice; it does not follow the run's seed.
        limit: at most so many samples per split, chosen at random once and for all; None for all.

    Example:
        >>> splits = ECG(limit=50).load()
        >>> len(splits.train), splits.steps, splits.channels, splits.classes
        (50, 1301, 4, 6)
        >>> splits.train.targets.shape
        torch.Size([50, 1301])
    """

    root: str | None = None
    unlabelled: str = "published"
    valid_fraction: float = 0.15
    split_seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse what does not depend on the files."""
        if self.unlabelled not in ("published", "ignored"):
            raise ValueError(
                f"dataset.unlabelled must be published or ignored, got {self.unlabelled!r}"
            )

    def load(self) -> Splits:
        """Return the splits.

        Raises:
            FileNotFoundError: if ``root`` lacks a file.
            OSError, ValueError: if a file is damaged or a setting impossible.
        """
        found = read_pack() if self.root is None else _read_folder(Path(self.root).expanduser())
        if self.unlabelled == "published":
            found = {k: beats._replace(labels=beats.labels.clip(0)) for k, beats in found.items()}
        parts = {name: FrameSet.of_arrays(*beats) for name, beats in found.items()}
        return make_splits(
            "ecg",
            {name: replace(part, class_names=WAVES) for name, part in parts.items()},
            len(WAVES),
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
        )


def _read_folder(root: Path) -> dict[str, Heartbeats]:
    paths = {part: root / f"QTDB_{part}.mat" for part in PARTS}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"dataset.root={root} lacks {', '.join(missing)}: the heartbeats are QTDB_train.mat "
            "and QTDB_test.mat. Put them there, or leave dataset.root out (null) to use the copy "
            "inside the package"
        )
    return {part: read_mat(path) for part, path in paths.items()}


def read_mat(path: Path) -> Heartbeats:
    """Read one of the published files.

    Its ``x`` (S, T, 4) holds events, and one -1 in the last step of each recording, which says
    nothing and is left out; ``y`` (S, T, 6) is one-hot, all zero where a step has no label.

    Raises:
        ImportError: SciPy is not there.
        OSError: it is no complete MATLAB file.
        ValueError: it holds something else.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            "Reading .mat files needs SciPy: pip install scipy, or leave dataset.root out (null) "
            "to use the copy inside the package"
        ) from error
    try:
        content = loadmat(path, variable_names=["x", "y"])
    except Exception as error:  # SciPy raises whatever its parser stumbles over
        raise OSError(
            f"{path} is truncated or no MATLAB file ({type(error).__name__}: {error})"
        ) from error
    events, waves = (content.get(name, np.empty(0)) for name in ("x", "y"))
    if events.shape[2:] != (CHANNELS,) or waves.shape != (*events.shape[:2], len(WAVES)):
        raise ValueError(
            f"{path}: x (recordings, steps, {CHANNELS}) and y (recordings, steps, {len(WAVES)}) "
            f"are expected, but their shapes are {events.shape} and {waves.shape}"
        )
    if not np.isin(events, (-1, 0, 1)).all() or (waves.sum(2) > 1).any():
        raise ValueError(f"{path}: x must hold events 0 or 1, and y at most one 1 for each step")
    labels = np.where(waves.any(2), waves.argmax(2), UNLABELLED)
    return Heartbeats((events > 0).astype(np.uint8), labels.astype(np.int64))


def write_pack(parts: Sequence[Heartbeats], target: Path) -> None:
    """Write the recordings of the training and the test file as a pack."""
    frames, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    with lzma.open(target, "wb", preset=9 | lzma.PRESET_EXTREME) as stream:
        np.save(stream, np.packbits(frames))
        np.save(stream, labels.astype(np.int8))


def read_pack(path: Path | None = None, training: int = PARTS["train"]) -> dict[str, Heartbeats]:
    """Read a pack; without a path the one inside the package.

    Args:
        path: of the pack.
        training: how many of its recordings are the training file's.
    """
    source = resources.files("snnbreg.datasets") / "data" / FILE if path is None else path
    with source.open("rb") as file, lzma.open(file) as stream:
        bits, labels = (np.load(stream) for _ in range(2))
    cells = np.unpackbits(bits, count=labels.size * CHANNELS)
    frames = cells.reshape(*labels.shape, CHANNELS)
    labels = labels.astype(np.int64)
    return {
        "train": Heartbeats(frames[:training], labels[:training]),
        "test": Heartbeats(frames[training:], labels[training:]),
    }
