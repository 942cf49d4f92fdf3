"""The benchmark of ADMM runs, at a size that takes no time."""

from __future__ import annotations

import argparse

from tests_support import load_script


def test_every_form_is_compared_with_the_fast_one() -> None:
    benchmark = load_script("scripts/benchmark_admm.py")
    options = argparse.Namespace(steps=5, samples=20, channels=30, hidden=6, sweeps=3, noise=False)
    rows = benchmark.compare(options)
    assert [row[0] for row in rows] == list(benchmark.FORMS)
    assert rows[-1][3] == 1.0
    assert all(value >= 0 for row in rows for value in row[1:])
    assert rows[0][4] != rows[-1][4]


def test_noise_leaves_no_frame_empty() -> None:
    benchmark = load_script("scripts/benchmark_admm.py")
    quiet, noisy = (benchmark.recordings(6, 10, noise, 40)[0] for noise in (False, True))
    assert float((quiet == 0).float().mean()) > 0.95
    assert float((noisy == 0).float().mean()) == 0
