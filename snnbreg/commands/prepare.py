"""Fetch a data set, turn recordings into events, or make the packed copy of the spoken digits."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import snnbreg.datasets
from snnbreg.audio import (
    SECONDS,
    TAIL,
    Recording,
    arabic_commands,
    assign_splits,
    list_recordings,
    write_event_files,
)
from snnbreg.audio.sound import LONGEST
from snnbreg.datasets.cache import cache_folder
from snnbreg.datasets.download import FOLDERS, data_root, fetch
from snnbreg.datasets.pack import FILE, write_pack
from snnbreg.datasets.splits import SPLITS

PACK = "pack-spoken-digits"
AUDIO, ARABIC = "audio", "arabic_commands"
TAKES = {AUDIO: "a folder with a subfolder of WAV or FLAC files per word",
         PACK: "the folder with train.h5, valid.h5 and test.h5"}  # fmt: skip
"""What is made from files of one's own, and from which."""


def run(options: Namespace) -> None:
    """Do it, and say how to train on it.

    Raises:
        ValueError: an unknown name, a folder too many or too few, or unusable recordings.
        OSError: a file could not be fetched, read or written.
    """
    name, folder = options.dataset, options.folder
    names = [AUDIO, ARABIC, *FOLDERS, PACK]
    if name not in names:
        raise ValueError(f"{name} cannot be prepared; choose from {', '.join(names)}")
    if name != ARABIC and (name in TAKES) != (folder is not None):
        wanted = TAKES.get(name, "no folder")
        raise ValueError(f"snnbreg prepare {name} takes {wanted}; see snnbreg prepare --help")
    if name == PACK:
        _pack(Path(folder), options.output)
    elif name == AUDIO:
        _audio(Path(folder), options)
    elif name == ARABIC:
        _arabic_commands(options)
    else:
        root = data_root(name, options.root)
        for path in fetch(name, root):
            print(path)
        print(f"ready: dataset={name} dataset.root={root}")


def _audio(folder: Path, options: Namespace) -> None:
    if options.root is None:
        raise ValueError("snnbreg prepare audio needs --root DIR, the folder for the event files")
    found = assign_splits(list_recordings(folder, options.speakers), options.seed)
    speakers = len({recording.speaker for recording in found if recording.speaker})
    words = len({recording.word for recording in found})
    by = f"{speakers} speakers, each in one split" if speakers else "divided by recordings"
    print(f"{len(found)} recordings of {words} words; {by}")
    _convert(AUDIO, found, Path(options.root), options)


def _arabic_commands(options: Namespace) -> None:
    root = Path(options.root) if options.root else cache_folder() / "data" / ARABIC
    folder = Path(options.folder) if options.folder else arabic_commands.fetch(root)
    _convert(ARABIC, arabic_commands.recordings_of(folder), root, options)


def _convert(name: str, recordings: Sequence[Recording], root: Path, options: Namespace) -> None:
    seconds = options.seconds
    if not 0.05 <= seconds <= LONGEST:
        raise ValueError(f"--seconds={seconds:g} must lie between 0.05 and {LONGEST:g}")
    paths = write_event_files(recordings, root.expanduser(), options.seed, options.jobs, seconds)
    counts = Counter(recording.split for recording in recordings)
    for split, path in zip(SPLITS, paths, strict=True):
        print(f"{path}: {counts[split]} recordings")
    grid = "" if seconds == SECONDS else f" dataset.duration_ms={1000 * (seconds + TAIL):g}"
    print(f"ready: dataset={name} dataset.root={root}{grid}")


def _pack(source: Path, output: str | None) -> None:
    path = Path(output or Path(snnbreg.datasets.__file__).parent / "data" / FILE)
    made = write_pack([source / f"{split}.h5" for split in SPLITS], path)
    print(f"{path}: {len(made.labels)} recordings, {path.stat().st_size:,} bytes")
