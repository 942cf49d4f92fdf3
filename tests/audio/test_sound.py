"""Reading recordings of many kinds, and what is said of those that hold no word."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnbreg.audio import read_sound

soundfile = pytest.importorskip("soundfile")


def write(path: Path, samples: Any, rate: int = 8000, **options: Any) -> Path:
    soundfile.write(path, np.asarray(samples), rate, **options)
    return path


def sine(seconds: float, rate: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_any_rate_becomes_48_khz(tmp_path: Path, rate: int) -> None:
    found = read_sound(write(tmp_path / "a.wav", sine(0.2, rate), rate))
    assert abs(len(found) - 9600) <= 4
    middle = slice(2000, 7000)
    assert np.abs(found[middle] - sine(0.2, 48_000)[middle]).max() < 5e-3


@pytest.mark.parametrize(("name", "subtype"), [
    ("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "PCM_32"), ("a.wav", "FLOAT"),
    ("a.wav", "PCM_U8"), ("a.flac", "PCM_16"), ("a.flac", "PCM_24"),
])  # fmt: skip
def test_any_width_is_the_same_sound(tmp_path: Path, name: str, subtype: str) -> None:
    samples = sine(0.1, 48_000)
    found = read_sound(write(tmp_path / name, samples, 48_000, subtype=subtype))
    assert np.abs(found - samples).max() < (1e-2 if subtype == "PCM_U8" else 1e-4)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sine(0.1, 48_000), np.zeros(4800)
    path = write(tmp_path / "a.wav", np.stack([left, right], 1), 48_000, subtype="FLOAT")
    assert np.abs(read_sound(path) - left / 2).max() < 1e-6


def bad(folder: Path, kind: str) -> Path:
    path = folder / "a.wav"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("these are words, but written ones")
    elif kind == "no samples":
        write(path, np.zeros(0))
    elif kind == "short":
        write(path, sine(0.01, 8000))
    elif kind == "ten minutes of silence":
        write(path, np.zeros(8000 * 600))
    elif kind == "silent":
        write(path, np.full(8000, 0.25))
    elif kind == "cancelled":
        write(path, np.stack([sine(0.2, 8000), -sine(0.2, 8000)], 1), subtype="FLOAT")
    elif kind == "not finite":
        write(path, np.where(np.arange(800) == 5, np.nan, 0.1), subtype="FLOAT")
    elif kind == "slow":
        write(path, sine(4, 500), 500)
    return path


@pytest.mark.parametrize(("kind", "said"), [
    ("missing", "There is no file"),
    ("empty", r"is empty \(0 bytes\)"),
    ("text", "cannot be read as sound.*these are words"),
    ("no samples", "lasts 0 s; a recording of one word lasts"),
    ("short", "lasts 0.01 s"),
    ("ten minutes of silence", "lasts 600 s.*Cut it"),
    ("silent", "is silent: its loudest sample"),
    ("cancelled", "channels cancel each other"),
    ("not finite", "no finite numbers"),
    ("slow", "sample rate of 500 Hz"),
])  # fmt: skip
def test_what_holds_no_word_is_refused(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
        read_sound(bad(tmp_path, kind))
    assert "a.wav" in str(error.value)


def test_without_the_library_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.wav", sine(0.2, 8000))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ValueError, match=r"pip install 'snnbreg\[audio\]'"):
        read_sound(path)
