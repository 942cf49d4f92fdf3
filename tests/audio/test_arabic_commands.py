"""Arabic Speech Commands from an archive in the layout of its repository."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from snnbreg.audio import arabic_commands as arabic
from snnbreg.audio.arabic_commands import fetch, git_hash, recordings_of


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three speakers, two words, two recordings of each; nothing reads these."""
    root = tmp_path / "unpacked-1"
    for name, speaker in (("train.csv", 1), ("val.csv", 2), ("test.csv", 3)):
        rows = []
        for word in ("zoom in", "up"):
            for n in (1, 2):
                path = f"dataset/{word}/{speaker:08}_NO_{n:02}.wav"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(path)
                rows.append(f"{path},{word}")
        (root / name).write_text("\n".join(["file,class", *rows]) + "\n")
    (root / "background_noise").mkdir()
    (root / "background_noise" / "street.wav").write_text("noise")
    return root


@pytest.fixture
def archive(repository: Path) -> Path:
    path = repository.parent / "archive.zip"
    with zipfile.ZipFile(path, "w") as file:
        for entry in sorted(repository.rglob("*")):
            file.write(entry, entry.relative_to(repository.parent))
    return path


def hashes(repository: Path) -> dict[str, str]:
    return {name: git_hash(repository / name).hex() for name in arabic.HASHES}


def test_hashes_are_those_of_git(repository: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("needs git")
    git("add", ".")
    tree = git("write-tree").strip()
    listed = {line.split("\t")[1]: line.split()[2] for line in git("ls-tree", tree).splitlines()}
    assert hashes(repository) == {name: listed[name] for name in arabic.HASHES}


def test_the_official_splits_speakers_and_utterances(repository: Path) -> None:
    found = recordings_of(repository)
    assert [r.word for r in found] == ["up"] * 6 + ["zoom in"] * 6
    assert [r.speaker for r in found[:4]] == ["00000001", "00000001", "00000002", "00000002"]
    assert [r.split for r in found[:6:2]] == ["train", "valid", "test"]
    assert [r.utterance for r in found[:2]] == [1, 2]
    (repository / "val.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"val.csv.*must be the unpacked repository"):
        recordings_of(repository)
    (repository / "val.csv").write_text("file,class\ndataset/up/1.wav,up\n")
    with pytest.raises(ValueError, match=r"names dataset/up/1.wav"):
        recordings_of(repository)


def test_an_archive_is_checked_and_unpacked_once(
    repository: Path, archive: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    folder = fetch(root, archive.as_uri(), hashes(repository))
    assert [path.name for path in root.iterdir()] == [folder.name] == [arabic.NAME]
    assert hashes(folder) == hashes(repository)
    assert not (folder / "background_noise").exists()
    assert fetch(root, "nowhere", {}) == folder


def test_another_content_is_refused_and_leaves_nothing(
    repository: Path, archive: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    with pytest.raises(OSError, match="another dataset than that of commit"):
        fetch(root, archive.as_uri())
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(OSError, match=r"no complete ZIP file"):
        fetch(root, archive.as_uri(), hashes(repository))
    with pytest.raises(OSError, match=r"could not be fetched.*unpack that archive elsewhere"):
        fetch(root, (tmp_path / "missing.zip").as_uri())
    assert list(root.iterdir()) == []
