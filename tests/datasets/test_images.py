from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import write_cifar, write_idx
from snnbreg.datasets import CIFAR10, DATASETS, MNIST, PSMNIST, SMNIST, RowsMNIST, Splits
from snnbreg.datasets.images import ImageEncoder
from snnbreg.datasets.loader import permutation
from snnbreg.datasets.mnist import read_idx

Mnist = tuple[Path, np.ndarray, np.ndarray]


def batch(splits: Splits, split: str = "test") -> tuple[torch.Tensor, torch.Tensor]:
    return next(splits.loader(split, 1000).epoch(0))


def test_psmnist_is_one_order_of_the_pixels_for_all_images(mnist: Mnist) -> None:
    root, images, labels = mnist
    splits = PSMNIST(root=str(root), valid_fraction=0.2, permutation_seed=5).load()
    order = permutation(784, 5)
    assert sorted(order.tolist()) == list(range(784))
    assert order.tolist() != permutation(784, 6).tolist()
    assert (splits.steps, splits.channels, splits.classes) == (784, 1, 10)
    for split, index in (("train", splits.train.index), ("test", torch.arange(100, 120))):
        assert index is not None
        x, y = batch(splits, split)
        pixels = torch.from_numpy(images)[index].reshape(-1, 784)[:, order]
        torch.testing.assert_close(x[..., 0].T, pixels.float() / 255)
        assert y.tolist() == labels[index].tolist()
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [80, 20, 20]


def test_images_are_numbered_through_both_files(mnist: Mnist) -> None:
    splits = RowsMNIST(root=str(mnist[0]), valid_fraction=0.2, limit=15).load()
    for split in ("train", "valid", "test"):
        part = getattr(splits, split)
        assert part.targets.tolist() == [number % 10 for number in part.ids]
        x, _ = batch(splits, split)
        pixels = torch.from_numpy(mnist[1])[part.ids]
        torch.testing.assert_close(x.transpose(0, 1), pixels.float() / 255)


def test_sequences_without_permutation(mnist: Mnist) -> None:
    root, images, _ = mnist
    pixels, _ = batch(SMNIST(root=str(root)).load())
    rows, _ = batch(RowsMNIST(root=str(root)).load())
    expected = torch.from_numpy(images[100:]).float() / 255
    torch.testing.assert_close(pixels[..., 0].T, expected.reshape(20, 784))
    torch.testing.assert_close(rows.transpose(0, 1), expected)


def test_the_published_sizes_of_the_split() -> None:
    assert round(0.17 * 60_000) == 10_200
    assert SMNIST().valid_fraction == PSMNIST().valid_fraction == 0.17


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_whole_images_as_a_constant_current(mnist: Mnist, name: str) -> None:
    root, images, _ = mnist
    splits = DATASETS[name](root=str(root), encoder="none", steps=3).load()
    x, _ = batch(splits)
    assert (splits.steps, splits.channels) == (3, 784)
    for t in range(3):
        torch.testing.assert_close(x[t] * 255, torch.from_numpy(images[100:]).reshape(20, -1) * 1.0)


def test_rate_spikes_have_the_intensity_as_probability(mnist: Mnist) -> None:
    root, images, _ = mnist
    splits = MNIST(root=str(root), encoder="rate", steps=400).load()
    x, _ = batch(splits)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    rate = torch.from_numpy(images[100:]).reshape(20, -1) / 255
    assert (x.mean(dim=0) - rate).abs().max() < 6 * 0.5 / 400**0.5
    assert (x.mean(dim=0) - rate).abs().mean() < 0.02


def test_random_spikes_depend_on_seed_epoch_and_batch_alone(mnist: Mnist) -> None:
    splits = MNIST(root=str(mnist[0]), steps=5).load()
    loader = splits.loader("test", 10, seed=1)
    before = torch.get_rng_state()
    (a, _), (b, _) = loader.epoch(0)
    torch.rand(7)
    state = torch.get_rng_state()
    (c, _), (d, _) = splits.loader("test", 10, seed=1).epoch(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(before, state)
    assert torch.equal(a, c)
    assert torch.equal(b, d)
    again, _ = next(loader.epoch(1))
    other, _ = next(splits.loader("test", 10, seed=2).epoch(0))
    assert not torch.equal(a, again)
    assert not torch.equal(a, other)


def test_latency_spikes_come_the_earlier_the_brighter() -> None:
    pixels = torch.tensor([[[1.0, 0.6, 0.1, 0.05, 0.0]]])
    spikes = ImageEncoder("latency", steps=11, threshold=0.1)(pixels, seed=0)
    assert spikes.shape == (11, 1, 5)
    assert spikes[:, 0].sum(dim=0).tolist() == [1, 1, 1, 0, 0]
    assert spikes[:, 0, :3].argmax(dim=0).tolist() == [0, 4, 9]  # 10 (1 - intensity)


def test_delta_spikes_mark_changes_from_row_to_row(mnist: Mnist) -> None:
    root, images, _ = mnist
    splits = MNIST(root=str(root), encoder="delta", threshold=0.3).load()
    x, _ = batch(splits)
    assert (splits.steps, splits.channels) == (28, 28)
    rows = torch.from_numpy(images[100:]).float() / 255
    change = torch.diff(rows, dim=1, prepend=rows[:, :1])
    expected = (change >= 0.3).float() - (change <= -0.3).float()
    assert torch.equal(x.transpose(0, 1), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "poisson"}, "none, rate, latency, delta, got 'poisson'"),
        ({"steps": 0}, r"dataset\.steps must be 1 or more"),
        ({"encoder": "latency", "steps": 1}, r"dataset\.steps must be 2 or more.*latency"),
        ({"threshold": 1.5}, r"dataset\.threshold"),
    ],
)
def test_impossible_settings_are_named(
    mnist: Mnist, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MNIST(root=str(mnist[0]), **settings).load()  # type: ignore[arg-type]


def test_missing_files_are_named(mnist: Mnist) -> None:
    root = mnist[0]
    (root / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte missing in") as caught:
        PSMNIST(root=str(root)).load()
    assert "prepare_data.py mnist --root" in str(caught.value)
    assert "d53e105ee54ea40749a09fcbcd1e9432" in str(caught.value)
    assert "t10k" not in str(caught.value).split("Fetch")[0]


def test_idx_is_read_as_its_specification_says(tmp_path: Path) -> None:
    content = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 5, 6, 7, 8, 9, 250])
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    for name in ("a", "a.gz"):
        assert read_idx(tmp_path / name, 3).tolist() == [[[5, 6, 7], [8, 9, 250]]]


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_damaged_idx_files_are_named(tmp_path: Path, name: str) -> None:
    path = write_idx(tmp_path / name, np.random.default_rng(0).integers(0, 255, (5, 4, 4)))
    whole = path.read_bytes()
    with pytest.raises(ValueError, match=r"a.* is no IDX file of bytes with 1 dim.*00000801"):
        read_idx(path, 1)
    for size in (len(whole) - 3, 12, 0):
        path.write_bytes(whole[:size])
        with pytest.raises((OSError, ValueError), match=r"truncated|begins with nothing"):
            read_idx(path, 3)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises((OSError, ValueError), match=r"no gzip file|no IDX file"):
        read_idx(path, 3)


def test_images_and_labels_that_do_not_fit_are_refused(mnist: Mnist) -> None:
    root = mnist[0]
    labels = root / "train-labels-idx1-ubyte"
    write_idx(labels, np.zeros(99))
    with pytest.raises(ValueError, match=r"holds 100 images, but .*labels-idx1-ubyte 99 labels"):
        SMNIST(root=str(root)).load()
    write_idx(labels, np.full(100, 10))
    with pytest.raises(ValueError, match="holds label 10, but there are only classes 0 to 9"):
        SMNIST(root=str(root)).load()
    write_idx(root / "t10k-images-idx3-ubyte", np.zeros((20, 32, 32)))
    write_idx(labels, np.zeros(100))
    with pytest.raises(ValueError, match="32 x 32 pixels, expected 28 x 28"):
        SMNIST(root=str(root)).load()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_cifar10(tmp_path: Path, binary: bool, inside: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32))
    labels = np.arange(60) % 10
    write_cifar(tmp_path, images, labels, binary)
    root = tmp_path / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    where = str(root if inside else tmp_path)
    splits = CIFAR10(root=where, encoder="none", steps=2).load()
    assert (splits.steps, splits.channels) == (2, 3072)
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [45, 5, 10]
    x, y = batch(splits)
    assert y.tolist() == labels[50:].tolist()
    torch.testing.assert_close(x[1] * 255, torch.from_numpy(images[50:]).reshape(10, -1) * 1.0)
    rows = CIFAR10(root=where, encoder="delta").load()
    assert (rows.steps, rows.channels) == (32, 96)
    frame = rows.test.frames[0].reshape(32, 3, 32)
    assert torch.equal(frame.transpose(0, 1), torch.from_numpy(images[50]).byte())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_damaged_cifar10_batches_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar(tmp_path, np.zeros((60, 3, 32, 32)), np.zeros(60, int), binary=False)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    whole = path.read_bytes()
    for harmful in (Harmful(), np.load, torch.dtype):
        path.write_bytes(pickle.dumps({b"data": harmful, b"labels": []}))
        with pytest.raises(ValueError, match=r"data_batch_3 is .*has no place in a batch"):
            CIFAR10(root=str(tmp_path)).load()
    for content in (
        whole[:-100],
        b"",
        pickle.dumps({b"labels": []}),
        pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 0]}),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data_batch_3 is .*no batch of CIFAR-10"):
            CIFAR10(root=str(tmp_path)).load()
    assert "must not run" not in capsys.readouterr().out
    write_cifar(tmp_path, np.zeros((60, 3, 32, 32)), np.zeros(60, int), binary=True)
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match=r"test_batch\.bin is truncated"):
        CIFAR10(root=str(tmp_path)).load()
