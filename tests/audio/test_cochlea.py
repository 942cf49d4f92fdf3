"""The cochlea against its equations, written out, and against the published program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import fft, special

from snnbreg.audio import cells, cochlea, membrane, read_sound
from snnbreg.audio.convert import spikes_of

DATA = os.environ.get("SNNBREG_ARABIC_COMMANDS")


def sound(samples: int = 2400, seed: int = 0) -> np.ndarray:
    """Two tones and noise, at the cochlea's rate."""
    t = np.arange(samples) / membrane.RATE
    noise = np.random.default_rng(seed).standard_normal(samples)
    return np.sin(2 * np.pi * 440 * t) + 0.5 * np.sin(2 * np.pi * 9000 * t) + 0.1 * noise


@pytest.mark.parametrize("place", [0.0, 0.7, 2.1, 3.5])
def test_the_membranes_response_is_that_of_the_integrated_wave_number(place: float) -> None:
    """The phase by the trapezoidal rule instead of its closed form, all else in plain complex."""
    frequency = np.array([60.0, 440.0, 1500.0, 7000.0])
    w = 2 * np.pi * frequency[:, None]
    x = np.linspace(0.0, place, 20_001)[None]
    xi = 1e9 * np.exp(-3 * x) - 3500 - 0.05 * w**2
    xi = xi - 1j * w * 0.15 * np.sqrt(1e9 * 0.05) * np.exp(-1.5 * x)
    k = w * np.sqrt(1 / (0.1 * xi))
    integral = 0.5 * (k[:, 1:] + k[:, :-1]).sum(1) * (x[0, 1] - x[0, 0])
    phases = 2 * k[:, 0] / 3, 2 * k[:, 0] / 3 + integral
    first, there = (
        np.sqrt(g / k[:, i]) * special.hankel1(0, g) for g, i in zip(phases, (0, -1), strict=True)
    )
    z = 2 * w[:, 0] / 3 * np.sqrt(2 / (0.1 * 1e9))
    base = (1j * special.j0(z) + special.y0(z)) / (special.j1(z) - 1j * special.y1(z))
    expected = 2 * w[:, 0] / xi[:, -1] * there / first * np.sqrt(2e9 / 0.1) * base
    assert np.allclose(membrane.response(frequency, place), expected, rtol=1e-4)


def test_the_membrane_moves_as_its_response_says() -> None:
    """All frequencies exactly, and a plain inverse transform of which the real part is taken."""
    samples, size = sound(), 1200
    spectrum = fft.rfft(samples, 2 * size - 2)
    frequency = np.linspace(1.0, 24_000.0, size)
    moved = membrane.velocity(spectrum, slice(0, 700))
    assert moved.shape == (700, size)
    for channel in (0, 40, 150, 350, 550, 699):
        exact = membrane.response(frequency, float(membrane.places()[channel]))
        expected = np.fft.ifft(exact * spectrum).real
        assert np.abs(moved[channel] - expected).max() < 2e-5 * np.abs(expected).max()


def test_sizes_of_spectra_are_few_and_large_enough() -> None:
    sizes = {membrane.spectrum_size(n) for n in range(2_400, 96_000, 100)}
    assert len(sizes) < 22
    for n in (10, 4801, 47_999, 48_000, 480_000):
        assert n // 2 + 1 <= membrane.spectrum_size(n) <= max(1400, 1.3 * n / 2)


def test_hair_cells_follow_their_equations() -> None:
    """Step by step, in double precision."""
    rng = np.random.default_rng(0)
    velocity = (300 * rng.standard_normal((3, 700)) * np.array([[0.0], [0.1], [1]])).astype("f4")
    firing = cochlea.fibres(velocity, 700)
    dt = 1 / 24_000
    for channel, v in enumerate(velocity.astype(float)):
        k = 2000 * 5 / 305
        c = 5.05 * k / (2500 * k + 5.05 * (2500 + 6580))
        q, w = c * (2500 + 6580) / k, c * 6580 / 66.3
        for step, moved in enumerate(v):
            drive = max(moved + 5, 0)
            ejected = dt * 2000 * drive / (drive + 300) * q
            q, c, w = (
                max(q + dt * 5.05 * max(1 - q, 0) - ejected + dt * 66.3 * w, 0),
                max(c + ejected - dt * (2500 + 6580) * c, 0),
                max(w + dt * 6580 * c - dt * 66.3 * w, 0),
            )
            assert firing[step, channel] == pytest.approx(dt * 50_000 * c, rel=2e-4)


def literal_spikes(firing: np.ndarray, cells_at_once: int, rng: Any) -> list[list[int]]:
    """Bushy cells whose 40 fibres draw a number each at every step."""
    rested = np.full((cells_at_once, 40), 24)
    current, v = np.zeros((2, cells_at_once))
    wait, found = np.zeros(cells_at_once, int), [[] for _ in range(cells_at_once)]
    for t, p in enumerate(firing):
        fired = (rng.random(rested.shape) < p) & (rested >= 24)
        rested = np.where(fired, 1, rested + 1)
        spike = (v >= 1) & (wait == 0)
        for cell in np.flatnonzero(spike):
            found[cell].append(t - 1)
        wait = np.where(spike, 24, wait)
        current = current * np.exp(-1 / 24_000 / 5e-4) + fired.sum(1)
        v = np.minimum(v * np.exp(-1 / 24_000 / 1e-3) + current * 13e3 / 40 / 24_000, 1)
        v = np.where(wait > 0, 0, v)
        wait = np.maximum(wait - 1, 0)
    return found


def spikes(firing: np.ndarray, seeds: np.ndarray) -> list[list[int]]:
    lanes = np.repeat(firing[:, None], len(seeds), axis=1).astype(np.float32)
    times = np.empty((len(seeds), len(firing) // 24 + 2), np.int32)
    counts = np.empty(len(seeds), np.int64)
    cells.bushy_cells(lanes, seeds, times, counts)
    return [list(row[:count]) for row, count in zip(times, counts, strict=True)]


@pytest.mark.parametrize("level", [0.006, 0.02, 0.2, 0.5])
def test_spikes_are_distributed_as_if_every_fibre_drew_its_own_numbers(level: float) -> None:
    """Numbers of spikes, and the times of the first and the last one: mean and spread."""
    steps, many = 720, 600
    firing = level * np.sin(np.arange(steps) / 60) ** 2
    seeds = np.random.default_rng(1).integers(0, 2**63, many).astype(np.uint64)
    figures = []
    for found in (
        spikes(firing, seeds),
        literal_spikes(firing, many, np.random.default_rng(2)),
    ):
        first = [times[0] if times else steps for times in found]
        last = [times[-1] if times else 0 for times in found]
        figures.append(np.array([[len(times) for times in found], first, last], float))
    ours, literal = figures
    assert ours[0].sum() > 0.5 * many
    error = np.sqrt((ours.var(1) + literal.var(1)) / many)
    assert (np.abs(ours.mean(1) - literal.mean(1)) <= 4 * error + 1e-9).all()
    spread = np.abs(ours.std(1) - literal.std(1))
    assert (spread <= 0.25 * literal.std(1) + 0.05).all()


def test_equal_sounds_and_seeds_give_equal_spikes_of_increasing_time() -> None:
    first, again, other = (cochlea.hear(sound(), seed) for seed in (3, 3, 4))
    assert (np.diff(first.times) >= 0).all()
    assert (first.times < 2400 / membrane.RATE).all()
    assert first.times.tolist() == again.times.tolist()
    assert first.units.tolist() == again.units.tolist()
    assert first.times.tolist() != other.times.tolist()
    louder = cochlea.hear(100 * sound(), 3)
    assert abs(len(louder.times) - len(first.times)) < 5  # equal but for rounding


def test_what_cannot_be_heard_is_refused() -> None:
    with pytest.raises(ValueError, match="silent"):
        cochlea.hear(np.zeros(4800))
    with pytest.raises(ValueError, match="too short"):
        cochlea.hear(np.ones(10))


@pytest.mark.parametrize("channel", [20, 300, 520, 690])
def test_the_stages_are_those_of_the_published_program(channel: int) -> None:
    stages = pytest.importorskip("lauscher.transformations")
    samples = cochlea.windowed(cochlea.levelled(sound(4800)))
    published = stages.BasilarMembrane()
    size = len(samples) // 2 + 1
    frequency = 2 * np.pi * np.linspace(1, 24_000, size)
    spectrum = np.fft.fft(samples)[:size]
    moved = published.process_single_channel(published.ch[channel], frequency, spectrum)
    own = membrane.velocity(fft.rfft(samples), slice(channel, channel + 1))
    assert np.abs(own[0] - moved).max() < 1e-5 * np.abs(moved).max()
    firing = stages.HairCell()._meddis(moved, 24_000)
    assert np.abs(cochlea.fibres(own, size)[:, 0] - firing).max() < 2e-4 * firing.max()
    cell = stages.BushyCell()
    np.random.seed(0)  # noqa: NPY002 - the published program draws from there
    theirs = [cell._lif(cell._sample(firing, 24_000).astype(float), 24_000).sum() for _ in range(4)]
    ours = [len(times) for times in spikes(firing, np.arange(1, 401, dtype=np.uint64) << 32)]
    assert abs(np.mean(theirs) - np.mean(ours)) < 4 * np.std(ours) / np.sqrt(len(theirs)) + 0.05


@pytest.mark.skipif(DATA is None, reason="SNNBREG_ARABIC_COMMANDS names no folder")
def test_words_have_the_spikes_of_event_files_made_by_the_published_program() -> None:
    """The number of spikes in seven parts of the cochlea and in ten of time, of three words."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(Path(str(DATA)) / "train.h5") as file:
        keys = [key.decode() for key in file["extra/keys"]]
        who = list(zip(file["labels"], file["extra/speaker"], file["extra/utterance"], strict=True))
        for word, speaker in (("down", 1), ("yes", 5), ("stop", 6)):
            row = who.index((keys.index(word), speaker - 1, 1))
            path = Path(str(DATA)) / "wav" / word / f"{speaker:08d}_01.wav"
            assert read_sound(path).shape == (48_000,)
            ours = spikes_of(path)
            units, times = file["spikes/units"][row], file["spikes/times"][row].astype(float)
            for mine, its in (
                (ours.units // 100, units // 100),
                ((ours.times * 10).astype(int), (times * 10).astype(int)),
            ):
                one, other = np.bincount(mine, minlength=10), np.bincount(its, minlength=10)
                assert (np.abs(one - other) < 4 * np.sqrt(one + other + 1)).all()
