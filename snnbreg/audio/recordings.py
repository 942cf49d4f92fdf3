"""A folder of recordings, one subfolder per word: who says what, and in which split.

Where speakers are known, each is in one split only, so that a test says how well new voices are
understood. Speakers are known from a table, from a pattern in the names of the files, or, where
nothing is said, from what stands before the first ``_`` of the names if that looks like speakers.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from snnbreg.audio.sound import SUFFIXES

SPLITS = ("train", "valid", "test")
SHARE = 0.15
"""Part of the recordings that validation and test get each."""
_DEFAULT = r"([^_]+)_"
_TRIES = 200  # orders of the speakers that are tried until every split has every word


@dataclass(frozen=True)
class Recording:
    """A file with a word.

    Attributes:
        path: the file.
        word: what is said.
        speaker: who says it; empty where unknown.
        split: ``train``, ``valid`` or ``test``; empty where not decided.
        utterance: which of a speaker's recordings of the word.
    """

    path: Path
    word: str
    speaker: str = ""
    split: str = ""
    utterance: int = 0


def list_recordings(folder: Path, speakers: str | None = None) -> list[Recording]:
    """List a folder, sorted by word and file.

    Args:
        folder: with a subfolder per word; hidden files and other kinds of files are left out.
        speakers: the path of a CSV file with columns ``file`` (below the folder) and ``speaker``,
            perhaps ``split``; a regular expression whose first group is the speaker, matched at
            the start of a file's name; ``none``; or None to guess.

    Raises:
        FileNotFoundError: there is no such folder, or no such CSV file.
        ValueError: it holds too little, or the speakers cannot be told.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}")
    found = [
        Recording(path, path.parent.name)
        for path in sorted(folder.glob("*/*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    words = {recording.word for recording in found}
    if len(words) < 2:
        raise ValueError(
            f"{folder} holds WAV or FLAC files of {len(words)} words; expected are at least two "
            "subfolders with recordings, each named as its word: yes/anna_1.wav, no/anna_1.wav"
        )
    if speakers == "none":
        return found
    if speakers is None:
        guess = _by_pattern(found, _DEFAULT)
        return guess if guess is not None and _looks_like_speakers(guess) else found
    if speakers.endswith(".csv"):
        return _by_table(found, folder, Path(speakers))
    named = _by_pattern(found, speakers)
    if named is None:
        raise ValueError(
            f"--speakers={speakers} must be a CSV file, none, or a regular expression with a group "
            f"that matches the start of every file's name; {found[0].path.name} is such a name"
        )
    return named


def _by_pattern(recordings: Sequence[Recording], pattern: str) -> list[Recording] | None:
    """The recordings with speakers; None where a name does not match."""
    try:
        matches = [re.match(pattern, recording.path.stem) for recording in recordings]
        names = [match.group(1) if match else None for match in matches]
    except (re.error, IndexError) as error:
        raise ValueError(f"--speakers={pattern} is no pattern with a group: {error}") from error
    if not all(names):
        return None
    return [replace(r, speaker=str(name)) for r, name in zip(recordings, names, strict=True)]


def _looks_like_speakers(recordings: Sequence[Recording]) -> bool:
    """Whether there are at least three of them and most say most of the words."""
    said = {(recording.speaker, recording.word) for recording in recordings}
    words = {recording.word for recording in recordings}
    each = Counter(speaker for speaker, _ in said)
    return len(each) >= 3 and sum(each.values()) > 0.5 * len(each) * len(words)


def _by_table(recordings: Sequence[Recording], folder: Path, table: Path) -> list[Recording]:
    if not table.is_file():
        raise FileNotFoundError(f"There is no table of speakers {table}")
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if not {"file", "speaker"} <= set(reader.fieldnames or ()):
        raise ValueError(f"{table} needs the columns file and speaker, it has {reader.fieldnames}")
    known = {str(Path(row["file"])): row for row in rows if row["file"]}
    names = [str(recording.path.relative_to(folder)) for recording in recordings]
    missing = [name for name in names if name not in known or not known[name]["speaker"]]
    unknown = sorted(set(known) - set(names))
    splits = {row.get("split") or "" for row in known.values()}
    if missing or unknown:
        text = f"has no speaker for {missing[0]}" if missing else f"names {unknown[0]}"
        where = "" if missing else f", which is not below {folder}"
        more = len(missing) + len(unknown) - 1
        raise ValueError(f"{table} {text}{where}" + (f" (and {more} more)" if more else ""))
    if splits != {""} and not splits <= set(SPLITS):
        raise ValueError(f"{table}: split must be train, valid or test in every row, or in none")
    return [
        replace(r, speaker=known[name]["speaker"], split=known[name].get("split") or "")
        for r, name in zip(recordings, names, strict=True)
    ]


def assign_splits(recordings: Sequence[Recording], seed: int = 0) -> list[Recording]:
    """Decide the splits where they are not decided yet.

    Validation and test get :data:`SHARE` each: of the speakers' recordings, whole speakers, where
    speakers are known; else of each word's, at least one.

    Args:
        recordings: in any order.
        seed: of the choice.

    Raises:
        ValueError: there are too few speakers or recordings for three splits with every word.
    """
    if recordings[0].split:
        chosen = [recording.split for recording in recordings]
        return _complete([replace(r, split=s) for r, s in zip(recordings, chosen, strict=True)])
    by_speaker = any(recording.speaker for recording in recordings)
    divide = _speakers_divided if by_speaker else _words_divided
    splits = divide(recordings, np.random.default_rng(seed))
    return [replace(r, split=s) for r, s in zip(recordings, splits, strict=True)]


def _speakers_divided(recordings: Sequence[Recording], draw: np.random.Generator) -> list[str]:
    speakers = sorted({recording.speaker for recording in recordings})
    if len(speakers) < 3:
        raise ValueError(
            f"{len(speakers)} speakers are too few to hear each in one split only: record three or "
            "more, or divide by recordings with --speakers none"
        )
    counts = Counter(recording.speaker for recording in recordings)
    share = round(SHARE * len(recordings))
    for _ in range(_TRIES):
        order = [speakers[i] for i in draw.permutation(len(speakers))]
        split_of, given = {}, Counter[str]()
        for place, speaker in enumerate(order):
            wanting = [split for split in ("test", "valid") if given[split] < share]
            # The last speakers are for training, and those who fill a split beyond its share.
            split = wanting[0] if wanting and place < len(order) - 1 else "train"
            split_of[speaker] = split
            given[split] += counts[speaker]
        splits = [split_of[recording.speaker] for recording in recordings]
        if _has_every_word(recordings, splits):
            return splits
    raise ValueError(
        "No division of the speakers gives every word to training, validation and test: record the "
        "words of more speakers, or divide by recordings with --speakers none"
    )


def _words_divided(recordings: Sequence[Recording], draw: np.random.Generator) -> list[str]:
    splits = ["train"] * len(recordings)
    for word in sorted({recording.word for recording in recordings}):
        own = [i for i, recording in enumerate(recordings) if recording.word == word]
        if len(own) < 3:
            raise ValueError(
                f"The word {word} has {len(own)} recordings; training, validation and test need "
                "one each: record more"
            )
        share = max(1, round(SHARE * len(own)))
        order = [own[i] for i in draw.permutation(len(own))]
        for i in order[:share]:
            splits[i] = "test"
        for i in order[share : 2 * share]:
            splits[i] = "valid"
    return splits


def _has_every_word(recordings: Sequence[Recording], splits: Sequence[str]) -> bool:
    words = {recording.word for recording in recordings}
    pairs = {(split, r.word) for r, split in zip(recordings, splits, strict=True)}
    return len(pairs) == len(SPLITS) * len(words)


def _complete(recordings: list[Recording]) -> list[Recording]:
    trained = {recording.word for recording in recordings if recording.split == "train"}
    for recording in recordings:
        if recording.word not in trained:
            raise ValueError(f"The word {recording.word} is not in the training split")
    missing = set(SPLITS) - {recording.split for recording in recordings}
    if missing:
        raise ValueError(f"No recording is in the split {sorted(missing)[0]}")
    return recordings
