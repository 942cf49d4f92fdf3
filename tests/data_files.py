"""Small files in the real layouts of the data sets."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Recording = tuple[np.ndarray, np.ndarray]


def random_recordings(
    samples: int, seed: int = 0, longest: float = 1.0, dtype: Any = np.float16
) -> list[Recording]:
    """Recordings of different length, times sorted, as in SHD."""
    rng = np.random.default_rng(seed)
    recordings = []
    for _ in range(samples):
        events = int(rng.integers(20, 200))
        times = np.sort(rng.uniform(0.0, longest * rng.uniform(0.3, 1.0), events)).astype(dtype)
        recordings.append((times, rng.integers(0, 700, events)))
    return recordings


def write_events(
    path: Path,
    recordings: Sequence[Recording],
    labels: Sequence[int],
    speakers: Sequence[int] | None = None,
    words: Sequence[str] = ("a", "b"),
) -> Path:
    """An HDF5 file in the layout of SHD, SSC and the spoken digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        columns = (("times", np.dtype(np.float16)), ("units", np.dtype(np.uint16)))
        for i, (name, dtype) in enumerate(columns):
            rows = file.create_dataset(f"spikes/{name}", (len(recordings),), h5py.vlen_dtype(dtype))
            for s, recording in enumerate(recordings):
                rows[s] = recording[i].astype(dtype)
        file["labels"] = np.asarray(labels, np.uint16)
        file["extra/speaker"] = np.asarray(speakers or [0] * len(recordings), np.uint16)
        file["extra/keys"] = np.array([word.encode() for word in words])
    return path


def write_idx(path: Path, values: np.ndarray) -> Path:
    """An IDX file of bytes, gzipped where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_nmnist(path: Path, events: Sequence[tuple[int, int, int, int]]) -> Path:
    """An N-MNIST recording of (x, y, microseconds, polarity), below 2**23 microseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray()
    for x, y, t, p in events:
        content += bytes((x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255))
    path.write_bytes(bytes(content))
    return path


def write_cifar(root: Path, images: np.ndarray, labels: np.ndarray, binary: bool) -> None:
    """Six batches of CIFAR-10 with equal shares of images (S, 3, 32, 32)."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    folder = root / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    folder.mkdir(parents=True, exist_ok=True)
    shares = zip(np.array_split(images, 6), np.array_split(labels, 6), strict=True)
    for name, (pixels, classes) in zip(names, shares, strict=True):
        rows = pixels.reshape(len(pixels), -1).astype(np.uint8)
        if binary:
            records = np.concatenate([classes[:, None].astype(np.uint8), rows], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        else:
            batch = {b"data": rows, b"labels": [int(c) for c in classes]}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def write_ecg(
    path: Path, samples: int, steps: int = 9, channels: int = 4, event: int = 1, seed: int = 0
) -> Path:
    """A file of heartbeats as published: one -1 a recording, some steps without a label."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    x = event * rng.integers(0, 2, (samples, steps, channels)).astype(np.int16)
    x[:, -1, 0] = -1
    y = np.eye(7, dtype=np.uint8)[rng.integers(0, 7, (samples, steps))][..., :6]
    savemat(path, {"x": x, "y": y})
    return path
