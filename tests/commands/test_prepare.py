"""snnbreg prepare with recordings: what it takes, and that nothing half done is left."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from snnbreg import cli
from snnbreg.audio import arabic_commands
from snnbreg.commands.prepare import run

soundfile = pytest.importorskip("soundfile")


def tone(path: Path, pitch: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * pitch * np.arange(480) / 8000), 8000)


@pytest.mark.parametrize(("arguments", "said"), [
    (["audio"], "prepare audio takes a folder with a subfolder of WAV or FLAC files per word"),
    (["audio", "."], "prepare audio needs --root DIR"),
    (["shd", "folder"], "prepare shd takes no folder"),
    (["pack-spoken-digits"], "takes the folder with train.h5"),
    (["fish"], "fish cannot be prepared; choose from audio, arabic_commands, shd"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(cli.parse("prepare", arguments))


def test_a_folder_of_words_says_how_it_was_divided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word, pitch in (("ja", 500.0), ("nein", 900.0)):
        for n in range(4):
            tone(tmp_path / "sounds" / word / f"p{n}_1.wav", pitch + n)
    out = tmp_path / "out"
    run(cli.parse("prepare", ["audio", f"{tmp_path}/sounds", "--root", str(out), "--jobs", "1"]))
    said = capsys.readouterr().out
    assert "8 recordings of 2 words; 4 speakers, each in one split" in said
    assert said.endswith(f"ready: dataset=audio dataset.root={out}\n")
    arguments = ["audio", f"{tmp_path}/sounds", "--root", f"{out}2", "--speakers", "none"]
    run(cli.parse("prepare", [*arguments, "--seed", "3"]))
    assert "divided by recordings" in capsys.readouterr().out
    (tmp_path / "sounds" / "ja" / "p9_1.wav").write_text("text")
    with pytest.raises(ValueError, match=r"1 of 9 recordings.*p9_1.wav cannot be read"):
        run(cli.parse("prepare", [*arguments[:3], f"{out}3"]))
    assert not Path(f"{out}3").exists()


def test_arabic_commands_from_a_folder_that_was_fetched_before(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    for name, speaker in (("train.csv", 3), ("val.csv", 1), ("test.csv", 2)):
        rows = ["file,class"]
        for word, pitch in (("zoom in", 500.0), ("up", 900.0)):
            path = f"dataset/{word}/{speaker:08}_NO_07.wav"
            tone(folder / path, pitch + speaker)
            rows.append(f"{path},{word}")
        (folder / name).write_text("\n".join(rows) + "\n")
    run(cli.parse("prepare", ["arabic_commands", str(folder), "--root", f"{tmp_path}/data"]))
    for split, speaker in (("train", 2), ("valid", 0), ("test", 1)):
        with h5py.File(tmp_path / "data" / f"{split}.h5") as file:
            assert file["extra/keys"].asstr()[:].tolist() == ["up", "zoom in"]
            assert file["labels"][:].tolist() == [0, 1]
            assert file["extra/speaker"][:].tolist() == [speaker, speaker]
            assert file["extra/utterance"][:].tolist() == [7, 7]
            assert len(file["spikes/times"][0]) > 100


def test_arabic_commands_are_fetched_where_no_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(arabic_commands, "fetch", lambda root: asked.append(root) or tmp_path)
    with pytest.raises(FileNotFoundError, match="must be the unpacked repository"):
        run(cli.parse("prepare", ["arabic_commands", "--root", f"{tmp_path}/data"]))
    assert asked == [tmp_path / "data"]
