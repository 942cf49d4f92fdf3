from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_files import random_recordings, write_events
from snnbreg.datasets.events import open_events


def read_all(path: Path, classes: int = 5) -> None:
    with open_events(path, classes=classes) as file:
        file.read(0, len(file))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    recordings = random_recordings(5)
    path = write_events(tmp_path / "a.h5", recordings, [4, 3, 2, 1, 0])
    with open_events(path, classes=5) as file:
        events = file.read(1, 4)
        assert file.labels.tolist() == [4, 3, 2, 1, 0]
    np.testing.assert_array_equal(events.times, np.concatenate([t for t, _ in recordings[1:4]]))
    np.testing.assert_array_equal(events.units, np.concatenate([u for _, u in recordings[1:4]]))
    assert events.counts.tolist() == [len(t) for t, _ in recordings[1:4]]
    assert events.times.dtype == np.float16


def test_a_file_is_closed_again(event_file: Callable[..., Path]) -> None:
    path = event_file()
    with open_events(path) as file:
        pass
    with pytest.raises((ValueError, RuntimeError)):
        file.read(0, 1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.h5 does not exist.*spikes/times"):
        read_all(tmp_path / "none.h5")


def test_a_truncated_file_is_named(event_file: Callable[..., Path]) -> None:
    path = event_file()
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(OSError, match=r"some\.h5 is not a complete HDF5 file.*fetch it again"):
        read_all(path)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("<html>404</html>")
    with pytest.raises(OSError, match="is not a complete HDF5 file"):
        read_all(tmp_path / "a.h5")


@pytest.mark.parametrize("gone", ["spikes/times", "spikes/units", "labels"])
def test_a_missing_part_is_named(event_file: Callable[..., Path], gone: str) -> None:
    path = event_file()
    with h5py.File(path, "a") as file:
        del file[gone]
    with pytest.raises(ValueError, match=f"no {gone}.*this one holds"):
        read_all(path)


def test_rows_of_equal_length_are_refused(event_file: Callable[..., Path]) -> None:
    path = event_file()
    with h5py.File(path, "a") as file:
        del file["spikes/times"]
        file["spikes/times"] = np.zeros((5, 10), np.float16)
    with pytest.raises(ValueError, match=r"spikes/times must hold arrays of varying length"):
        read_all(path)


def test_labels_for_other_recordings_are_refused(event_file: Callable[..., Path]) -> None:
    path = event_file()
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = np.zeros(4, int)
    with pytest.raises(ValueError, match=r"shapes are .*labels.*\(4,\)"):
        read_all(path)


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        ([0.1, np.nan], [1, 2], "recording 2 holds an impossible time nan"),
        ([0.1, np.inf], [1, 2], "recording 2 holds an impossible time inf"),
        ([-0.5, 0.1], [1, 2], "recording 2 holds an impossible time -0.5"),
        ([0.1, 0.2], [1, 700], "recording 2 holds an impossible unit 700 .0 to 699"),
        ([0.1, 0.2], [1], "recording 2 has 2 times but 1 units"),
    ],
)
def test_impossible_events_are_named(
    tmp_path: Path, times: list[float], units: list[int], message: str
) -> None:
    recordings = random_recordings(4)
    recordings[1] = (np.empty(0), np.empty(0))
    recordings[2] = (np.array(times), np.array(units))
    path = write_events(tmp_path / "a.h5", recordings, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=message):
        read_all(path)
    with (
        open_events(path, classes=5) as file,
        pytest.raises(ValueError, match=message),
    ):
        file.read(2, 4)


def test_a_negative_unit_is_named(event_file: Callable[..., Path]) -> None:
    path = event_file()
    with h5py.File(path, "a") as file:
        counts = [len(row) for row in file["spikes/units"][:]]
        del file["spikes/units"]
        rows = file.create_dataset("spikes/units", (5,), h5py.vlen_dtype(np.int32))
        for s, count in enumerate(counts):
            rows[s] = np.full(count, -1 if s == 4 else 0, np.int32)
    with pytest.raises(ValueError, match="recording 4 holds an impossible unit -1"):
        read_all(path)


def test_a_label_out_of_range_is_named(event_file: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"recording 3 has label 3, but.*classes 0 to 2"):
        read_all(event_file(), classes=3)
