"""From recordings to event files in SHD's layout, on several cores, stopped and continued at will.

Each recording's spikes are a file of their own in ``.parts`` until all are there; then
``train.h5``, ``valid.h5`` and ``test.h5`` are written and appear together. What a recording's
spikes are depends on its file's content and the seed alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from tqdm import tqdm

from snnbreg.audio.cochlea import VERSION, Spikes, hear
from snnbreg.audio.membrane import RATE
from snnbreg.audio.recordings import SPLITS, Recording
from snnbreg.audio.sound import read_sound

PARTS = ".parts"
SECONDS, TAIL = 0.95, 0.05
"""How much of a recording is heard, and the silence after it: together the second of the grid."""
_LISTED = 5  # bad recordings that a message names


def spikes_of(path: Path, seed: int = 0, seconds: float = SECONDS) -> Spikes:
    """The spikes of a recording, of its first seconds with a window over them, and :data:`TAIL`.

    Raises:
        OSError, ValueError: as :func:`~snnbreg.audio.sound.read_sound`.
    """
    return _heard(path, _identity(path, seed, seconds), seconds)


def write_event_files(
    recordings: Sequence[Recording],
    out: Path,
    seed: int = 0,
    jobs: int | None = None,
    seconds: float = SECONDS,
) -> list[Path]:
    """Turn recordings into ``train.h5``, ``valid.h5`` and ``test.h5``.

    Args:
        recordings: with their splits.
        out: folder of the files.
        seed: of the nerve fibres.
        jobs: recordings at a time; None for as many as there are cores.
        seconds: how much of each recording is heard, from its beginning.

    Returns:
        The three files.

    Raises:
        FileExistsError: one of the files is there already.
        ValueError: some recordings hold no word; names them. None of the files is written, but
            what was done is kept for the next time.
        OSError: the folder cannot be written.
    """
    targets = [out / f"{split}.h5" for split in SPLITS]
    there = [target for target in targets if target.exists()]
    if there:
        raise FileExistsError(
            f"{there[0]} is there already and stays as it is: delete it, or choose another --root"
        )
    _refuse_bad(recordings, jobs)
    parts = out / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    places = _converted(recordings, parts, jobs, (seed, seconds))
    made = [out / f".{target.name}.tmp" for target in targets]
    try:
        for split, path in zip(SPLITS, made, strict=True):
            _write(path, split, recordings, places)
        for path, target in zip(made, targets, strict=True):
            os.replace(path, target)
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    shutil.rmtree(parts)
    return targets


def _refuse_bad(recordings: Sequence[Recording], jobs: int | None) -> None:
    """Read every recording before the long work begins."""

    def problem(recording: Recording) -> str:
        try:
            read_sound(recording.path)
        except (OSError, ValueError) as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(_workers(jobs)) as pool:
        found = [text for text in pool.map(problem, recordings) if text]
    if found:
        more = len(found) - _LISTED
        text = "; ".join(found[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(f"{len(found)} of {len(recordings)} recordings cannot be used. {text}")


def _workers(jobs: int | None) -> int:
    return max(1, jobs or os.cpu_count() or 1)


def _identity(path: Path, seed: int, seconds: float) -> str:
    """A hash of what decides a recording's spikes."""
    settings = f"{VERSION} {seed} {seconds} ".encode()
    return hashlib.sha256(settings + path.read_bytes()).hexdigest()


def _heard(path: Path, identity: str, seconds: float) -> Spikes:
    sound = read_sound(path)[: round(seconds * RATE)]
    return hear(sound, int(identity[:16], 16), TAIL)


def _converted(
    recordings: Sequence[Recording], parts: Path, jobs: int | None, settings: tuple[int, float]
) -> list[Path]:
    """Convert what is not converted yet; returns the part of each recording."""

    def convert(recording: Recording) -> Path:
        identity = _identity(recording.path, *settings)
        place = parts / f"{identity}.npz"
        if not place.exists():
            times, units = _heard(recording.path, identity, settings[1])
            temporary = parts / f"{identity}.{os.getpid()}.{id(recording)}.tmp"
            with open(temporary, "wb") as file:
                np.savez(file, times=times.astype(np.float16), units=units)
            os.replace(temporary, place)
        return place

    # By length: recordings of like length share the membrane's responses.
    order = sorted(range(len(recordings)), key=lambda i: recordings[i].path.stat().st_size)
    places: dict[int, Path] = {}
    with ThreadPoolExecutor(_workers(jobs)) as pool:
        tasks = {pool.submit(convert, recordings[i]): i for i in order}
        try:
            done = as_completed(tasks)  # a bar where the output is a terminal
            for task in tqdm(done, total=len(tasks), unit="recording", disable=None):
                places[tasks[task]] = task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [places[i] for i in range(len(recordings))]


def _write(path: Path, split: str, recordings: Sequence[Recording], places: list[Path]) -> None:
    """Write one file: times in seconds, units, labels, and in ``extra`` who said what."""
    import h5py

    words = sorted({recording.word for recording in recordings})
    speakers = sorted({recording.speaker for recording in recordings})
    own = [(r, place) for r, place in zip(recordings, places, strict=True) if r.split == split]
    with h5py.File(path, "w") as file:
        size = (len(own),)
        times = file.create_dataset("spikes/times", size, h5py.vlen_dtype(np.dtype(np.float16)))
        units = file.create_dataset("spikes/units", size, h5py.vlen_dtype(np.dtype(np.uint16)))
        for i, (_, place) in enumerate(own):
            with np.load(place) as part:
                times[i], units[i] = part["times"], part["units"]
        file["labels"] = np.array([words.index(r.word) for r, _ in own], np.uint16)
        file["extra/speaker"] = np.array([speakers.index(r.speaker) for r, _ in own], np.uint16)
        file["extra/utterance"] = np.array([r.utterance for r, _ in own], np.uint16)
        text = h5py.string_dtype()
        file.create_dataset("extra/keys", data=words, dtype=text)
        file.create_dataset("extra/speakers", data=speakers, dtype=text)
        names = [f"{r.path.parent.name}/{r.path.name}" for r, _ in own]
        file.create_dataset("extra/files", data=names, dtype=text)
