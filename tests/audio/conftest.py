"""Small recordings that the tests write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def tone(pitch: float, seconds: float = 0.06, rate: int = 8000, seed: int = 0) -> np.ndarray:
    """A tone in some noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return 0.4 * np.sin(2 * np.pi * pitch * t) + 0.02 * noise


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write <word>/<speaker>_<n>.wav: two words, high and low, of 0.06 s."""
    soundfile = pytest.importorskip("soundfile")

    def make(speakers: str = "abcd", each: int = 1, name: str = "words") -> Path:
        root = tmp_path / name
        for word, pitch in (("high", 2000.0), ("low", 300.0)):
            (root / word).mkdir(parents=True)
            for number, speaker in enumerate(speakers):
                for n in range(each):
                    samples = tone(pitch * (1 + 0.02 * number), seed=10 * number + n)
                    soundfile.write(root / word / f"{speaker}_{n}.wav", samples, 8000)
        return root

    return make
