"""Who says what, and in which split: folders of empty files, since nothing is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from snnbreg.audio import Recording, assign_splits, list_recordings


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def named(
    speakers: Sequence[str], words: Sequence[str] = ("no", "yes"), each: int = 2
) -> list[str]:
    return [f"{w}/{s}_{n}.wav" for w in words for s in speakers for n in range(each)]


def speakers_of(recordings: Sequence[Recording]) -> list[str]:
    return [recording.speaker for recording in recordings]


def test_words_are_folders_and_other_files_are_left_out(tmp_path: Path) -> None:
    files(tmp_path, "b/1.WAV", "a/2.flac", "a/x.txt", "a/._2.wav", "c.wav", "a/deep/3.wav")
    found = list_recordings(tmp_path)
    assert [(r.word, r.path.name) for r in found] == [("a", "2.flac"), ("b", "1.WAV")]
    assert speakers_of(found) == ["", ""]


def test_speakers_are_told_by_the_names_where_these_look_like_it(tmp_path: Path) -> None:
    found = list_recordings(files(tmp_path / "1", *named("xyz")))
    assert speakers_of(found) == ["x", "x", "y", "y", "z", "z"] * 2
    two = files(tmp_path / "2", *named("xy"))
    by_word = files(tmp_path / "3", *(f"{w}/{w}_{n}.wav" for w in "abcd" for n in range(4)))
    plain = files(tmp_path / "4", *(f"{w}/rec{n}.wav" for w in "ab" for n in range(4)))
    for folder in (two, by_word, plain):
        assert set(speakers_of(list_recordings(folder))) == {""}
    assert set(speakers_of(list_recordings(tmp_path / "1", "none"))) == {""}


def test_speakers_by_a_pattern(tmp_path: Path) -> None:
    files(tmp_path, *(f"{w}/{w}-{s}-{n}.wav" for w in ("no", "yes") for s in "pq" for n in "12"))
    found = list_recordings(tmp_path, "[a-z]+-([a-z])")
    assert speakers_of(found) == ["p", "p", "q", "q"] * 2
    for pattern in ("no-([a-z])", "[a-z]+", "("):
        with pytest.raises(ValueError, match="--speakers="):
            list_recordings(tmp_path, pattern)


def table(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_speakers_and_splits_by_a_table(tmp_path: Path) -> None:
    folder = files(tmp_path / "f", "a/1.wav", "a/2.wav", "a/3.wav", "b/1.wav")
    rows = ["a/1.wav,x,train", "a/2.wav,y,test", "a/3.wav,z,valid", "b/1.wav,x,train"]
    path = table(tmp_path / "t.csv", "file,speaker,split", *rows)
    found = assign_splits(list_recordings(folder, path))
    assert speakers_of(found) == ["x", "y", "z", "x"]
    assert [r.split for r in found] == ["train", "test", "valid", "train"]


@pytest.mark.parametrize(("header", "rows", "said"), [
    ("file,who", ["a/1.wav,x"], "needs the columns file and speaker"),
    ("file,speaker", ["a/1.wav,x"], "has no speaker for b/1.wav"),
    ("file,speaker", ["a/1.wav,x", "b/1.wav,"], "has no speaker for b/1.wav"),
    ("file,speaker", ["a/1.wav,x", "b/1.wav,x", "c/1.wav,x"], "names c/1.wav, which is not below"),
    ("file,speaker,split", ["a/1.wav,x,train", "b/1.wav,y,dev"], "split must be train"),
    ("file,speaker,split", ["a/1.wav,x,train", "b/1.wav,y,"], "split must be train"),
])  # fmt: skip
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, header: str, rows: list[str], said: str
) -> None:
    folder = files(tmp_path / "f", "a/1.wav", "b/1.wav")
    with pytest.raises(ValueError, match=said):
        list_recordings(folder, table(tmp_path / "t.csv", header, *rows))


def test_what_is_no_folder_of_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        list_recordings(tmp_path / "x")
    with pytest.raises(ValueError, match=r"of 0 words.*yes/anna_1.wav"):
        list_recordings(files(tmp_path, "1.wav"))
    with pytest.raises(FileNotFoundError, match="no table of speakers"):
        list_recordings(files(tmp_path, "a/1.wav", "b/1.wav"), "speakers.csv")


def test_each_speaker_is_in_one_split_and_every_split_has_every_word(tmp_path: Path) -> None:
    speakers = [f"s{n:02}" for n in range(20)]
    found = list_recordings(files(tmp_path, *named(speakers, each=3)))
    first, again, other = (assign_splits(found, seed) for seed in (0, 0, 1))
    assert first == again != other
    for made in (first, other):
        split_of = {(r.speaker, r.split) for r in made}
        assert Counter(split for _, split in split_of) == {"train": 14, "valid": 3, "test": 3}
        assert len({(r.split, r.word) for r in made}) == 6


def test_a_word_of_few_speakers_decides_the_division(tmp_path: Path) -> None:
    names = [*named("abcdefghij", ("no", "yes")), *named("abc", ("rare",))]
    for seed in range(5):
        made = assign_splits(list_recordings(files(tmp_path, *names), "(.)_"), seed)
        assert {r.split for r in made if r.word == "rare"} == {"train", "valid", "test"}


def test_too_few_speakers_or_recordings_are_refused(tmp_path: Path) -> None:
    two = list_recordings(files(tmp_path / "1", *named("xy")), "(.)_")
    with pytest.raises(ValueError, match="2 speakers are too few"):
        assign_splits(two)
    rare = files(tmp_path / "2", *named("wxyz"), "rare/w_1.wav")
    with pytest.raises(ValueError, match="No division of the speakers gives every word"):
        assign_splits(list_recordings(rare))
    with pytest.raises(ValueError, match="The word rare has 1 recordings"):
        assign_splits(list_recordings(rare, "none"))


def test_without_speakers_every_word_is_divided(tmp_path: Path) -> None:
    names = [f"{w}/{n}.wav" for w, many in (("few", 3), ("many", 40)) for n in range(many)]
    found = list_recordings(files(tmp_path, *names))
    made = assign_splits(found, 5)
    assert made == assign_splits(found, 5) != assign_splits(found, 6)
    counts = Counter((r.word, r.split) for r in made)
    assert [counts["few", s] for s in ("train", "valid", "test")] == [1, 1, 1]
    assert [counts["many", s] for s in ("train", "valid", "test")] == [28, 6, 6]
