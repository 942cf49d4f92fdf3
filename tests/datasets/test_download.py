"""Fetching, with files in place of the network."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from data_files import random_recordings, write_events
from snnbreg.cli import parse
from snnbreg.commands import prepare
from snnbreg.datasets import DATASETS, download
from snnbreg.datasets.download import FOLDERS, Archive, archives, data_root, fetch


def command(*arguments: str) -> None:
    prepare.run(parse("prepare", arguments))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def placed(
    root: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes], md5: str | None = None
) -> Archive:
    """An archive that lies where it would have been downloaded to."""
    path = root / "SHD" / "shd_train.h5.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    md5 = md5 or hashlib.md5(path.read_bytes()).hexdigest()
    archive = Archive("https://example.org/shd_train.h5.zip", path.name, md5, "SHD", "shd_train.h5")
    monkeypatch.setattr(download, "archives", lambda _: [archive])
    return archive


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_every_archive_has_an_address_and_a_checksum(name: str) -> None:
    found = archives(name)
    assert len(found) == {"shd": 2, "ssc": 3, "nmnist": 2, "cifar10": 1}.get(name, 4)
    for archive in found:
        assert archive.url.startswith("http")
        assert re.fullmatch("[0-9a-f]{32}", archive.md5)
    assert len({archive.md5 for archive in found}) == len(found)


def test_unpacked_files_are_those_the_readers_look_for() -> None:
    def gives(name: str) -> list[str]:
        return [f"{a.folder}/{a.gives or a.filename}".strip("/") for a in archives(name)]

    assert gives("shd") == ["SHD/shd_train.h5", "SHD/shd_test.h5"]
    assert gives("ssc") == ["SSC/ssc_train.h5", "SSC/ssc_valid.h5", "SSC/ssc_test.h5"]
    assert gives("nmnist") == ["NMNIST/Train", "NMNIST/Test"]
    assert sorted(gives("mnist")) == sorted(gives("fashion_mnist"))
    assert gives("mnist")[0] == "train-images-idx3-ubyte.gz"


def test_an_archive_that_is_there_is_checked_and_unpacked_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(tmp_path, monkeypatch, {"shd_train.h5": b"content"})
    assert fetch("shd", tmp_path) == [tmp_path / "SHD/shd_train.h5"]
    assert (tmp_path / "SHD/shd_train.h5").read_bytes() == b"content"
    assert {p.name for p in (tmp_path / "SHD").iterdir()} == {"shd_train.h5", "shd_train.h5.zip"}


def test_what_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    placed(tmp_path, monkeypatch, {"shd_train.h5": b"new"})
    (tmp_path / "SHD/shd_train.h5").write_bytes(b"old")
    fetch("shd", tmp_path)
    assert (tmp_path / "SHD/shd_train.h5").read_bytes() == b"old"
    assert "is already there" in capsys.readouterr().out


def test_a_wrong_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed(tmp_path, monkeypatch, {"shd_train.h5": b"content"}, md5="0" * 32)
    with pytest.raises(OSError, match=r"could not be fetched.*md5 0{32}.*put it at .*h5\.zip"):
        fetch("shd", tmp_path)
    assert not (tmp_path / "SHD/shd_train.h5").exists()


def test_an_archive_with_other_content_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(tmp_path, monkeypatch, {"other.h5": b"content"})
    with pytest.raises(OSError, match=r"does not contain shd_train\.h5"):
        fetch("shd", tmp_path)
    assert [p.name for p in (tmp_path / "SHD").iterdir()] == ["shd_train.h5.zip"]


def test_names_that_cannot_be_fetched_are_refused() -> None:
    with pytest.raises(ValueError, match="not 'spoken_digits'"):
        archives("spoken_digits")


def test_the_command_says_what_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="8d4fb7e6c68d591d4c3dfef9ec88bf0d") as caught:
        command("fashion_mnist", "--root", str(tmp_path))
    assert str(caught.value).startswith("http://fashion-mnist")


def test_the_command_fetches_into_the_root_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(prepare, "fetch", lambda name, root: asked.append((name, root)) or [])
    command("ssc", "--root", str(tmp_path))
    command("mnist")
    assert asked == [("ssc", tmp_path), ("mnist", data_root("mnist"))]
    assert f"dataset=ssc dataset.root={tmp_path}" in capsys.readouterr().out


def test_the_command_refuses_other_names(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        command()
    with pytest.raises(ValueError, match=r"imagenet cannot be prepared; choose from .*shd, "):
        command("imagenet")
    with pytest.raises(ValueError, match=r"takes the folder with train\.h5"):
        command("pack-spoken-digits")
    with pytest.raises(ValueError, match="prepare shd takes no folder"):
        command("shd", str(tmp_path))


def test_the_command_packs_the_spoken_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "valid", "test"):
        write_events(tmp_path / f"{split}.h5", random_recordings(2), [0, 1])
    arguments = ["pack-spoken-digits", str(tmp_path), "--output", str(tmp_path / "pack.xz")]
    command(*arguments)
    assert "6 recordings" in capsys.readouterr().out
    (tmp_path / "valid.h5").unlink()
    with pytest.raises(OSError, match=r"valid\.h5 does not exist"):
        command(*arguments)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, snnbreg.datasets; "
        "print([m for m in ('tonic', 'h5py', 'snntorch', 'hydra', 'wandb') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_data_set_says_where_its_files_should_be(tmp_path: Path) -> None:
    for name, dataset in DATASETS.items():
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
            dataset(root=str(tmp_path)).load()
        if name not in ("spoken_digits", "ecg", "audio", "own"):  # in the package; one's own
            with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "c" / "data"))):
                dataset(cache=str(tmp_path / "c")).load()
