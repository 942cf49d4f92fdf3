"""Reading recordings of words: one channel at 48 kHz, or a clear reason why not."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from snnbreg.audio.arrays import Array
from snnbreg.audio.membrane import RATE

SUFFIXES = (".wav", ".flac")
LONGEST, SHORTEST = 10.0, 0.05
"""Seconds a recording of one word may last."""
SILENT = 1e-3
"""A recording that nowhere exceeds this part of full scale (-60 dB) holds no word."""
RATES = (4_000, 192_000)


def read_sound(path: str | os.PathLike[str]) -> Array:
    """Read a recording, whatever its rate, width and number of channels.

    Args:
        path: WAV or FLAC file, or what else libsndfile reads.

    Returns:
        float64 (N,) at 48 kHz, full scale 1; several channels are averaged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no sound, or one that holds no word, or soundfile is not installed; says
            what is wrong and what to do.
    """
    from scipy.signal import resample_poly

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes): record it again, or delete it")
    samples, rate = _decoded(path)
    common = math.gcd(RATE, rate)
    return resample_poly(_checked(path, samples), RATE // common, rate // common)


def _decoded(path: Path) -> tuple[Array, int]:
    """Return samples (N, channels) and their rate; nothing is decoded of what is too long."""
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            rate, seconds = file.samplerate, file.frames / max(file.samplerate, 1)
            if not RATES[0] <= rate <= RATES[1]:
                raise ValueError(
                    f"{path} has a sample rate of {rate:,} Hz; words are heard at {RATES[0]:,} to "
                    f"{RATES[1]:,} Hz. The file is damaged, or convert it"
                )
            if not SHORTEST <= seconds <= LONGEST:
                raise ValueError(
                    f"{path} lasts {seconds:.3g} s; a recording of one word lasts {SHORTEST} to "
                    f"{LONGEST:g} s. Cut it, or delete it"
                )
            return file.read(always_2d=True), rate
    except soundfile.LibsndfileError as error:
        with open(path, "rb") as content:
            start = content.read(24)
        raise ValueError(
            f"{path} cannot be read as sound ({error.error_string.rstrip('.')}): it begins with "
            f"{start!r}. Convert it to WAV or FLAC, or delete it"
        ) from error


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package without its library
        raise ValueError(
            f"Sound is read by soundfile, which is missing here ({error}): "
            "pip install 'snnbreg[audio]'"
        ) from error
    return soundfile


def _checked(path: Path, samples: Array) -> Array:
    """Return the mean of the channels, (N,), if a word can be in it."""
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds samples that are no finite numbers; it is damaged")
    mono = samples.mean(axis=1)
    loudest = float(np.abs(mono - mono.mean()).max())
    if loudest < SILENT:
        alone = float(np.abs(samples - samples.mean(axis=0)).max())
        hint = " (its channels cancel each other)" if alone >= SILENT else ""
        raise ValueError(
            f"{path} is silent{hint}: its loudest sample is {loudest:.1e} of full scale, below "
            f"{SILENT:g}. Record it again, or delete it"
        )
    return mono
