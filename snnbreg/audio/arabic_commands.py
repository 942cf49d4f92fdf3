"""Arabic Speech Commands: 12,000 recordings of 40 words by 30 speakers (Ghandoura et al. 2021).

A public repository under the licence CC BY 4.0, with an official split by speaker. It is fetched as
an archive of one commit, and what was unpacked is checked by git's own hashes of that commit: those
of an archive may change with the program that packs it.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.error import URLError

from tqdm import tqdm

from snnbreg.audio.recordings import Recording

COMMIT = "72f3438212ff6cf8fbe5ae8068361840646429bd"  # v1.0
NAME = "arabic-speech-commands-dataset"
URL = f"https://github.com/abdulkaderghandoura/{NAME}/archive/{COMMIT}.zip"
HASHES = {
    "dataset": "b4f275a4f0135f18bdfae238119b5970158119fc",
    "train.csv": "3679974c9ec7f174f4cea04126ce43e190584d01",
    "val.csv": "fd63cdaa699f5d322a2cde3ba5e60bc2a3ea09a1",
    "test.csv": "ae3e02432bd694e4e3f3546a10ab853d3f477dfc",
}
"""What is used of the repository, with git's hash of each."""
TABLES = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}
_FILE = re.compile(r"(\d{8})_NO_(\d\d)\.wav")


def fetch(root: Path, url: str = URL, hashes: Mapping[str, str] = HASHES) -> Path:
    """Download and unpack the recordings below ``root``; what is there already is left alone.

    Args:
        root: folder.
        url: of a ZIP archive with one folder.
        hashes: what is taken of that folder, with git's hashes.

    Returns:
        the folder with the recordings.

    Raises:
        OSError: the network or the disk fails, or the content is not that of the commit.
    """
    target = root / NAME
    if target.exists():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as folder:
        archive = Path(folder) / "archive.zip"
        _download(url, archive, target)
        unpacked = _unpacked(archive, Path(folder), hashes)
        for name, wanted in hashes.items():
            if git_hash(unpacked / name).hex() != wanted:
                raise OSError(
                    f"{url} gave another {name} than that of commit {COMMIT[:12]} (git's hash of "
                    f"it is not {wanted}): try again"
                )
        unpacked.rename(target)
    return target


def _download(url: str, path: Path, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, open(path, "wb") as file:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, unit="B", unit_scale=True, disable=None) as progress:
                while block := answer.read(1 << 20):
                    file.write(block)
                    progress.update(len(block))
    except (URLError, TimeoutError) as error:
        raise OSError(
            f"{url} could not be fetched ({error}). Try again, or unpack that archive elsewhere "
            f"and move its folder to {target}"
        ) from error


def _unpacked(archive: Path, folder: Path, names: Iterable[str]) -> Path:
    """Unpack some files and folders of an archive's one folder; returns that folder."""
    try:
        with zipfile.ZipFile(archive) as content:
            top = content.namelist()[0].split("/")[0]
            wanted = tuple(f"{top}/{name}" for name in names)
            for member in content.namelist():
                if member.startswith(wanted):
                    content.extract(member, folder)
    except (zipfile.BadZipFile, IndexError) as error:
        raise OSError(f"The archive is no complete ZIP file ({error}); try again") from error
    return folder / top


def git_hash(path: Path) -> bytes:
    """The hash that git gives a plain file or a folder of such: of all names and contents.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     git_hash(Path(folder)).hex()  # that of an empty tree
        '4b825dc642cb6eb9a060e54bf8d69288fbee4904'
    """
    if path.is_file():
        return _sha1(b"blob", path.read_bytes())
    entries = []
    for entry in path.iterdir() if path.is_dir() else ():
        name = os.fsencode(entry.name)
        mode, key = (b"40000 ", name + b"/") if entry.is_dir() else (b"100644 ", name)
        entries.append((key, mode + name + b"\0" + git_hash(entry)))
    return _sha1(b"tree", b"".join(content for _, content in sorted(entries)))


def _sha1(kind: bytes, content: bytes) -> bytes:
    header = kind + b" %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).digest()


def recordings_of(folder: Path) -> list[Recording]:
    """The recordings of an unpacked repository, with their official splits.

    Raises:
        FileNotFoundError: a table or a recording is missing.
        ValueError: a table names a file in another way than the data set.
    """
    found = []
    for split, name in TABLES.items():
        table = folder / name
        if not table.is_file():
            raise FileNotFoundError(
                f"There is no {table}: {folder} must be the unpacked repository {NAME}, with "
                f"dataset/ and {', '.join(TABLES.values())}"
            )
        with open(table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                path = folder / row["file"]
                match = _FILE.fullmatch(path.name)
                if match is None:
                    raise ValueError(f"{table} names {row['file']}, not a file of {NAME}")
                speaker, utterance = match.groups()
                found.append(Recording(path, row["class"], speaker, split, int(utterance)))
    return sorted(found, key=lambda recording: recording.path)
