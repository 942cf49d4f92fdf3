"""A person's own data: files of spikes in SHD's layout, or of frames, with any number of classes.

Everything a network is built for is read from the files: classes, units, length.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np

from snnbreg.datasets.arrays import frame_set, refuse_other_shapes
from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.binning import Array, Totals, UnevenBinning
from snnbreg.datasets.cache import cache_folder
from snnbreg.datasets.events import Extent, extent_of, load_event_file
from snnbreg.datasets.loader import FrameLoader, FrameSet
from snnbreg.datasets.splits import SPLITS, Splits, make_splits, split_validation

MOST_CHANNELS = 256  # where nobody chose a number
MOST_STEPS = 10_000  # likewise: more are a mistake of units
KINDS = (".h5", ".npz")
Classes = tuple[int, tuple[str, ...]]
"""Their number and names."""
Read = tuple[dict[str, FrameSet], Classes, str]
"""Samples by split, their classes, and what was found, in words."""
FILES = (
    "train, valid and test as .h5 files in SHD's layout (spikes/times in seconds, spikes/units and "
    "labels) or as .npz files with frames (samples, steps, channels) and labels"
)


@dataclass
class Own:
    """Recordings or frames of any number of classes, units and steps, as the files have them.

    ``root`` holds ``train.h5``, ``valid.h5`` and ``test.h5`` in SHD's layout, or the same as
    ``.npz`` with ``frames`` (n, T, C) and ``labels`` (n,), or (n, T) for a class at every step
    (``model.objective=step_cross_entropy``), negative where a step has none; the names of the
    classes are ``extra/keys``, or ``class_names``. Frames that are whole numbers from 0 to 255 are
    counts, as those of all other data sets; others are used as float32. Without a validation file a
    part of the training samples is held out; a missing test file is an error unless
    ``test_fraction`` says the same of it. Both are drawn by samples: who has several recordings of
    each speaker makes the files.

    Args:
        root: folder with the files.
        cache: folder for binned recordings; None for the user's (``SNNBREG_CACHE``).
        title: what reports call the data; None for the folder's name.
        classes: K; None: as many as are named, or largest label + 1.
        units: input units of ``.h5`` files; None for largest unit + 1.
        channels: C of their frames, sums of neighbouring units; None: each unit alone, or
            neighbours so that there are at most 256 channels.
        bin_ms: width of a time bin of ``.h5`` files.
        duration_ms: length of their grid, later events are dropped and counted; None: up to the
            last event.
        valid_fraction: part of the training samples held out where there is no validation file.
        test_fraction: part of them held out where there is no test file, before the validation
            samples; None: that is an error.
        split_seed: of both choices; it does not follow the run's seed.
        augment: what is done to training samples that are counts, anew in each epoch, see
            :class:`~snnbreg.datasets.speech.SpeechDataset`.
        max_shift: of ``shift``, in channels.
        limit: at most so many samples per split, chosen at random once and for all; None for all.
    """

    root: str | None = None
    cache: str | None = None
    title: str | None = None
    classes: int | None = None
    units: int | None = None
    channels: int | None = None
    bin_ms: float = 10.0
    duration_ms: float | None = None
    valid_fraction: float = 0.2
    test_fraction: float | None = None
    split_seed: int = 0
    augment: str | Mapping[str, float] = "none"
    max_shift: int = 4
    limit: int | None = None

    def load(self) -> Splits:
        """Return the splits; their notes say what was found.

        Raises:
            FileNotFoundError: if ``root`` is not given or lacks a file.
            OSError, ValueError: if a file is damaged, the files do not belong together or a
                setting is impossible.
        """
        paths = self._paths()
        read = self._read_recordings if paths["train"].suffix == ".h5" else self._read_frames
        parts, (classes, names), note = read(paths)
        parts = {split: replace(part, class_names=names) for split, part in parts.items()}
        notes = [note]
        if "test" not in parts:
            assert self.test_fraction is not None
            key = "dataset.test_fraction"
            parts["train"], test = split_validation(
                parts["train"], self.test_fraction, self.split_seed, key
            )
            parts["test"] = replace(test, totals=Totals())
            notes.append(f"no test file: {len(test)} of the training samples are the test samples")
        splits = make_splits(
            "own",
            parts,
            classes,
            limit=self.limit,
            valid_fraction=self.valid_fraction,
            split_seed=self.split_seed,
            augmented_loader=self._augmented_loader(parts["train"]),
        )
        if "valid" not in parts:
            held = f"{self.valid_fraction:g} of the training samples are held out for validation"
            notes.append(f"no validation file: {held}")
        return replace(splits, notes=(*filter(None, notes), *splits.notes))

    def _paths(self) -> dict[str, Path]:
        if self.root is None:
            raise FileNotFoundError(f"dataset.root must name the folder that has {FILES}")
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"There is no folder dataset.root={root}; it must have {FILES}")
        there = {kind: [s for s in SPLITS if (root / f"{s}{kind}").is_file()] for kind in KINDS}
        if all(there.values()):
            raise ValueError(f"{root} has both .h5 and .npz files: keep the ones that are meant")
        kind = ".npz" if there[".npz"] else ".h5"
        if "train" not in there[kind]:
            found = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
            raise FileNotFoundError(
                f"dataset.root={root} lacks train.h5 or train.npz: it must have {FILES}; there is "
                f"{found}"
            )
        if "test" not in there[kind] and self.test_fraction is None:
            raise FileNotFoundError(
                f"dataset.root={root} lacks test{kind}, by which a run is judged: put it there, or "
                "hold out a part of the training samples with dataset.test_fraction=0.2"
            )
        return {split: root / f"{split}{kind}" for split in there[kind]}

    def _augmented_loader(self, train: FrameSet) -> Callable[..., FrameLoader] | None:
        loader = augmentation(self.augment, self.max_shift)
        if loader is not None and (train.frames.is_floating_point() or train.labels.ndim > 1):
            raise ValueError(
                f"dataset.augment={self.augment} changes whole counts with one label each: these "
                "samples need dataset.augment=none"
            )
        return loader

    # -- spikes ------------------------------------------------------------------------------

    def _read_recordings(self, paths: Mapping[str, Path]) -> Read:
        """The binned files."""
        cache = cache_folder(self.cache)
        extents = {path: extent_of(path, cache) for path in paths.values()}
        for path, extent in extents.items():
            if not extent.recordings:
                raise ValueError(f"{path} holds no recordings; put some there or remove the file")
        classes, names = self._count_classes(
            {path: (extent.classes, extent.words) for path, extent in extents.items()}
        )
        grid = self._grid(extents)
        parts = {
            split: load_event_file(path, "own", grid, classes, cache)
            for split, path in paths.items()
        }
        seconds = max(extent.seconds for extent in extents.values())
        note = (
            f"{paths['train'].parent}: {classes} classes; {grid.units} units in {grid.channels} "
            f"channels (dataset.channels); the last event is at {seconds:.4g} s, {grid.steps} steps"
            f" of {grid.bin_ms:g} ms are seen (dataset.bin_ms, dataset.duration_ms)"
        )
        return parts, (classes, names), note

    def _grid(self, extents: Mapping[Path, Extent]) -> UnevenBinning:
        path, widest = max(extents.items(), key=lambda item: item[1].units)
        units = widest.units if self.units is None else self.units
        if not widest.units:
            raise ValueError(f"{path.parent}: there is no event in any file")
        if units < widest.units:
            raise ValueError(
                f"{path} holds unit {widest.units - 1}, but dataset.units={units}: give at least "
                f"{widest.units}, or null for what the files hold"
            )
        width = -(-units // MOST_CHANNELS)
        channels = -(-units // width) if self.channels is None else self.channels
        duration = self.duration_ms
        if duration is None:
            path, longest = max(extents.items(), key=lambda item: item[1].seconds)
            duration = self._until(longest.seconds, path)
        return UnevenBinning("fixed", units, channels, self.bin_ms, duration)

    def _until(self, seconds: float, path: Path) -> float:
        """The shortest duration of whole bins, in ms, with an event at this time.

        Raises:
            ValueError: there would be very many.
        """
        width = max(1, round(self.bin_ms * 1e6))  # ns
        steps = round(seconds * 1e9) // width + 1
        if steps > MOST_STEPS:
            raise ValueError(
                f"{path} has an event at {seconds:g} s, which makes {steps:,} steps of "
                f"{self.bin_ms:g} ms. Times are seconds: if these are, set dataset.bin_ms, or "
                "dataset.duration_ms to what is to be kept of a recording"
            )
        return steps * width / 1e6

    # -- frames ------------------------------------------------------------------------------

    def _read_frames(self, paths: Mapping[str, Path]) -> Read:
        """The files as they are."""
        for key in ("units", "channels", "duration_ms"):
            if getattr(self, key) is not None:
                raise ValueError(
                    f"dataset.{key} is of .h5 files: the frames of {paths['train']} are used as "
                    "they are; leave it out"
                )
        parts = {split: read_frames(path) for split, path in paths.items()}
        by_path = {str(paths[split]): part for split, part in parts.items()}
        refuse_other_shapes(by_path)
        classes, names = self._count_classes(
            {
                paths[split]: (int(part.labels.max()) + 1, part.class_names)
                for split, part in parts.items()
            }
        )
        kind = "floats" if any(p.frames.is_floating_point() for p in parts.values()) else "counts"
        each = "one for each step" if parts["train"].labels.ndim > 1 else "one for each sample"
        folder = paths["train"].parent
        return parts, (classes, names), f"{folder}: {classes} classes, {each}; frames are {kind}"

    def _count_classes(self, found: Mapping[Path, Classes]) -> Classes:
        """How many there are, and their names where each has one.

        Args:
            found: largest label + 1 and the names of the classes, by file.

        Raises:
            ValueError: the files contradict each other or ``classes``.
        """
        path, (largest, _) = max(found.items(), key=lambda item: item[1][0])
        if largest < 1:
            raise ValueError(f"{path.parent}: there is no label in any file")
        named: dict[tuple[str, ...], Path] = {}
        for place, (_, words) in found.items():
            if words:
                named.setdefault(words, place)
        if len(named) > 1:
            first, other = list(named.values())[:2]
            raise ValueError(f"{other} names other classes than {first}: make them the same")
        names: tuple[str, ...] = next(iter(named), ())
        classes = self.classes or len(names) or largest
        if classes < largest:
            which = f"dataset.classes={classes}"
            if not self.classes:
                which = f"{named[names]} names {classes} classes (extra/keys or class_names)"
            raise ValueError(
                f"{path} has the label {largest - 1}, but {which}: correct one of them"
            )
        return classes, names if len(names) == classes else ()


def read_frames(path: Path) -> FrameSet:
    """Read frames, labels and, where they are there, class_names from an NPZ file.

    Nothing in it is unpickled.

    Raises:
        OSError: it is no complete NPZ file.
        ValueError: it holds something else.
    """
    try:
        if not is_zipfile(path):
            raise BadZipFile("it has no end or is something else")
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("frames", "labels") if name not in file]
            if missing:
                raise ValueError(
                    f"{path} lacks {' and '.join(missing)}; it holds {', '.join(file) or 'nothing'}"
                )
            frames, labels = (_member(file, name, path) for name in ("frames", "labels"))
            names = _member(file, "class_names", path) if "class_names" in file else ()
    except (OSError, EOFError, BadZipFile, zlib.error) as error:
        raise OSError(
            f"{path} is truncated or no NPZ file ({type(error).__name__}: {error}); write it again "
            "with numpy.savez"
        ) from error
    return frame_set(frames, labels, str(path), tuple(map(str, names)))


def _member(file: Mapping[str, Array], name: str, path: Path) -> Array:
    try:
        return file[name]
    except ValueError as error:
        raise ValueError(
            f"{path}: {name} cannot be read ({error}). Arrays of Python objects are never unpickled"
            ": make samples equally long, by zeros at their ends, and store numbers"
        ) from error
