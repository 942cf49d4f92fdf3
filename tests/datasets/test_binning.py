from __future__ import annotations

import numpy as np
import pytest

from data_files import Recording, random_recordings
from snnbreg.datasets.binning import Binning, Events, coarsen, count_cells


def together(recordings: list[Recording]) -> Events:
    counts = [len(times) for times, _ in recordings]
    times, units = (np.concatenate(column) for column in zip(*recordings, strict=True))
    return Events(times, units, np.concatenate([[0], np.cumsum(counts)]))


def literal(recordings: list[Recording], bins: list[list[int]], steps: int) -> np.ndarray:
    frames = np.zeros((len(recordings), steps, 140), int)
    for s, (times, units) in enumerate(recordings):
        for e in range(len(times)):
            if bins[s][e] < steps:
                frames[s, bins[s][e], units[e] // 5] += 1
    return frames


def test_fixed_grid_is_the_literal_loop() -> None:
    recordings = random_recordings(7, longest=0.9)
    bins = [[int(float(t) * 1e9 + 0.5) // 7_000_000 for t in times] for times, _ in recordings]
    result = Binning("fixed", bin_ms=7, duration_ms=630)(together(recordings))
    expected = literal(recordings, bins, 90)
    assert result.frames.dtype == np.uint8
    np.testing.assert_array_equal(result.frames, expected)
    assert result.totals.dropped == sum(len(t) for t, _ in recordings) - expected.sum() > 0
    assert result.lengths is None
    assert result.totals.saturated == 0


def test_an_event_at_the_edge_of_a_bin_belongs_to_the_next_one_and_at_the_end_to_none() -> None:
    times = np.array([0.0, 0.00999, 0.01, 0.29, 0.2999, 0.3])
    result = Binning(bin_ms=10, duration_ms=300)(Events(times, np.zeros(6, int), np.array([0, 6])))
    assert np.flatnonzero(result.frames[0, :, 0]).tolist() == [0, 1, 29]
    assert result.frames[0, :, 0].sum() == 5
    assert result.totals.dropped == 1


def test_every_decimal_time_at_an_edge_belongs_to_the_next_bin() -> None:
    times = np.arange(2000) * 0.001  # many are a little below the edge in binary
    frames = Binning(bin_ms=1, duration_ms=2000)(
        Events(times, np.zeros(2000, int), np.array([0, 2000]))
    ).frames
    assert (frames[0, :, 0] == 1).all()


def test_a_last_bin_may_be_shorter() -> None:
    grid = Binning(bin_ms=30, duration_ms=100)
    times = np.array([0.095, 0.1])
    result = grid(Events(times, np.zeros(2, int), np.array([0, 2])))
    assert grid.steps == 4
    assert result.frames[0, 3, 0] == 1
    assert result.totals.dropped == 1


def test_published_frames_of_shd_are_the_literal_loop() -> None:
    recordings = random_recordings(12, longest=1.3)
    result = Binning("delrec_shd")(together(recordings))
    assert result.lengths is not None
    for s, (times, units) in enumerate(recordings):
        t = times * np.float16(1000)
        t = t - t[0]
        steps = int(np.ceil(float(t[-1]) / 10))
        frames = np.zeros((steps, 140), int)
        left = 0
        for i in range(steps):
            right = len(t) if i == steps - 1 else int(np.sum(t < 10 * (i + 1)))
            for unit in units[left:right]:
                frames[i, unit // 5] += 1
            left = right
        assert result.lengths[s] == steps
        np.testing.assert_array_equal(result.frames[s, :steps], frames)
        assert not result.frames[s, steps:].any()


def test_the_last_published_frame_of_shd_takes_what_remains() -> None:
    times = np.array([0.0, 0.01, 0.02], np.float16)  # exactly 10 and 20 ms
    result = Binning("delrec_shd")(Events(times, np.zeros(3, int), np.array([0, 3])))
    assert result.frames[0, :, 0].tolist() == [1, 2]
    assert result.totals.dropped == 0


def test_published_frames_of_shd_keep_the_precision_of_the_file() -> None:
    # 1000 times this float16 is 1104.49, which float16 rounds to 1104
    times = np.array([0.0, 1.1045], np.float16)
    events = Events(times, np.zeros(2, int), np.array([0, 2]))
    exact = events._replace(times=times.astype(np.float64))
    assert float(times[1]) * 1000 == pytest.approx(1104.49, abs=0.01)
    lengths = [Binning("delrec_shd", bin_ms=1)(e).frames.shape[1] for e in (events, exact)]
    assert lengths == [1104, 1105]


def test_published_frames_of_shd_exist_without_a_span_of_time() -> None:
    empty, one = (np.empty(0, np.float16), np.empty(0, int)), (np.float16([0.3]), np.array([7]))
    result = Binning("delrec_shd")(together([empty, one, empty]))
    assert result.lengths is not None
    assert result.lengths.tolist() == [1, 1, 1]
    assert result.frames.sum(axis=(1, 2)).tolist() == [0, 1, 0]
    assert result.totals.empty == 2


def test_published_frames_of_ssc_are_the_literal_loop() -> None:
    recordings = random_recordings(8, longest=2.0)
    edges = np.linspace(0, 1.4, 250)
    bins = [
        [min(sum(1 for edge in edges if edge <= float(t)), 249) for t in times]
        for times, _ in recordings
    ]
    result = Binning("delrec_ssc", bin_ms=5.6, duration_ms=1400)(together(recordings))
    np.testing.assert_array_equal(result.frames, literal(recordings, bins, 250))
    assert not result.frames[:, 0].any()
    assert result.totals.dropped == 0
    assert max(float(t[-1]) for t, _ in recordings) > 1.4


def test_fixed_grid_agrees_with_tonics_frames_where_those_are_well_defined() -> None:
    from tonic.transforms import ToFrame

    recordings = random_recordings(4, longest=0.6, dtype=np.float64)
    frames = Binning(bin_ms=20, duration_ms=600)(together(recordings)).frames
    to_frame = ToFrame(
        (700, 1, 1), time_window=20_000, include_incomplete=True, start_time=0, end_time=600_000
    )
    for s, (times, units) in enumerate(recordings):
        events = np.zeros(len(times), [("t", int), ("x", int), ("p", int)])
        events["t"], events["x"] = np.floor(times * 1e6), units
        counts = to_frame(events)[:30, 0].reshape(30, 140, 5).sum(axis=2)
        np.testing.assert_array_equal(frames[s], counts)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_coarser_grid_is_the_sum_of_a_finer_one(every: int) -> None:
    events = together(random_recordings(6, longest=0.9))
    fine = Binning(bin_ms=10, duration_ms=2000)(events).frames
    coarse = Binning(bin_ms=10 * every, duration_ms=700, channels=70)(events)
    summed, saturated = coarsen(fine, 70, every, 70)
    np.testing.assert_array_equal(summed, coarse.frames)
    assert saturated == 0


def test_a_coarser_grid_may_be_longer_than_the_finer_one() -> None:
    fine = np.ones((2, 3, 4), np.uint8)
    summed, _ = coarsen(fine, 6, 2, 2)
    assert summed[0].tolist() == [[4, 4], [2, 2], [0, 0]]


def test_counts_above_a_byte_stop_at_255_and_are_counted() -> None:
    times = np.full(300 + 255, 0.001)
    units = np.array([3] * 300 + [690] * 255)
    result = Binning()(Events(times, units, np.array([0, 555])))
    assert (result.frames[0, 0, 0], result.frames[0, 0, 138]) == (255, 255)
    assert result.totals.saturated == 1
    summed, saturated = coarsen(np.full((1, 4, 2), 100, np.uint8), 4, 2, 1)
    assert summed.tolist() == [[[255], [255]]]
    assert saturated == 2


def test_all_events_are_counted_once() -> None:
    cells = np.random.default_rng(0).integers(0, 24, 1000)
    counts, _ = count_cells(cells, (2, 3, 4))
    assert counts.sum() == 1000


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"grid": "delrec"}, "delrec_shd"),
        ({"channels": 150}, "channels"),
        ({"channels": 0}, "channels"),
        ({"bin_ms": 0}, "bin_ms"),
        ({"bin_ms": float("nan")}, "bin_ms"),
        ({"bin_ms": 20, "duration_ms": 10}, "duration_ms"),
        ({"duration_ms": float("inf")}, "duration_ms"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Binning(**settings)  # type: ignore[arg-type]
