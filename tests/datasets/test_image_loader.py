"""Whole images: normalised once, cropped and mirrored in training alone, noisy, as targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_files import write_cifar
from snnbreg.datasets import CIFAR10, MNIST, FashionMNIST, FrameSet, Splits
from snnbreg.datasets.image_loader import cropped, fixed_noise
from snnbreg.datasets.splits import split_validation

Mnist = tuple[Path, np.ndarray, np.ndarray]


@pytest.fixture
def cifar(tmp_path: Path) -> tuple[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32)).astype(np.uint8)
    write_cifar(tmp_path, images, np.arange(60) % 10, binary=True)
    return str(tmp_path), images


def whole(splits: Splits, split: str, epoch: int = 0, **options: Any) -> torch.Tensor:
    """All frames of an epoch, (S, C), in the order of the split."""
    loader = splits.loader(split, 7, **options)
    batches = [x for x, _ in loader.epoch(epoch)]
    order = torch.cat(list(loader._order(epoch)))
    return torch.cat(batches, dim=1)[0][order.argsort()]


def literal(image: np.ndarray, padding: int, row: int, column: int, mirror: bool) -> np.ndarray:
    result = np.zeros_like(image)
    colours, height, width = image.shape
    for c in range(colours):
        for y in range(height):
            for x in range(width):
                at_y = y + row - padding
                at_x = (width - 1 - x if mirror else x) + column - padding
                if 0 <= at_y < height and 0 <= at_x < width:
                    result[c, y, x] = image[c, at_y, at_x]
    return result


@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_those_of_a_literal_loop(flip: bool) -> None:
    images = np.random.default_rng(0).integers(1, 256, (6, 2, 5, 4)).astype(np.uint8)
    made = cropped(torch.from_numpy(images), 2, flip, torch.Generator().manual_seed(1)).numpy()
    draws = torch.Generator().manual_seed(1)
    rows, columns = torch.randint(5, (2, 6, 1), generator=draws)[..., 0].tolist()
    mirrored = torch.randint(2, (6, 1), generator=draws)[:, 0].tolist() if flip else [0] * 6
    for n in range(6):
        expected = literal(images[n], 2, rows[n], columns[n], bool(mirrored[n]))
        np.testing.assert_array_equal(made[n], expected)
    assert len({*zip(rows, columns, strict=True)}) > 3
    assert sum(mirrored) in ((2, 3, 4) if flip else (0,))


def test_every_place_is_as_likely() -> None:
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[0, 0, 1, 1] = 1
    generator = torch.Generator().manual_seed(0)
    mean = cropped(image.expand(9000, 1, 3, 3), 1, True, generator).double().mean(0)[0]
    torch.testing.assert_close(mean, torch.full((3, 3), 1 / 9).double(), atol=0.015, rtol=0)


def test_an_image_is_shown_once_and_normalised_by_colour(cifar: tuple[str, np.ndarray]) -> None:
    root, images = cifar
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    splits = CIFAR10(root=root, encoder="image", steps=25, mean=mean, std=std).load()
    assert (splits.steps, splits.channels, splits.image) == (1, 3072, (3, 32, 32))
    expected = images[50:] / 255
    for colour in range(3):
        expected[:, colour] = (expected[:, colour] - mean[colour]) / std[colour]
    found = whole(splits, "test").view(10, 3, 32, 32)
    torch.testing.assert_close(found, torch.from_numpy(expected).float())
    one = CIFAR10(root=root, encoder="image", mean=(0.5,), std=(0.25,)).load()
    torch.testing.assert_close(
        whole(one, "test").view(10, 3, 32, 32), torch.from_numpy(images[50:]).float() / 63.75 - 2
    )


def test_training_images_alone_are_cropped_and_anew_in_each_epoch(
    cifar: tuple[str, np.ndarray],
) -> None:
    root, images = cifar
    plain, moved = (
        CIFAR10(root=root, encoder="image", crop_padding=pad, flip=bool(pad)).load()
        for pad in (0, 4)
    )
    for split in ("valid", "test"):
        assert torch.equal(whole(moved, split), whole(plain, split))
    assert torch.equal(whole(moved, "train"), whole(plain, "train"))  # as `evaluate` sees them
    first, again, later = (
        whole(moved, "train", epoch, shuffle=True, seed=3) for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, whole(moved, "train", shuffle=True, seed=4))
    loader, same = moved.loader("train", 7, shuffle=True), torch.ones(7, 1, 3072).byte()
    drawn = [loader._prepared(same, epoch, batch) for epoch in (0, 1) for batch in (0, 1)]
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(4) for j in range(i))
    index = moved.train.index
    assert index is not None
    places = [(row, column) for row in range(9) for column in range(9)]
    for n in (0, 1):  # each is one of the 162 crops of its own image
        own = images[:50][int(index[n])]
        padded = np.pad(own, ((0, 0), (4, 4), (4, 4)))
        crops = [padded[:, r : r + 32, c : c + 32] for r, c in places]
        crops += [crop[:, :, ::-1] for crop in crops]
        seen = (first[n].view(3, 32, 32) * 255).round().byte().numpy()
        assert sum(np.array_equal(seen, crop) for crop in crops) == 1


def test_noise_is_drawn_once_and_the_target_is_without_it(mnist: Mnist) -> None:
    settings = dict(root=str(mnist[0]), encoder="image", mean=(0.1307,), std=(0.3081,))
    splits = MNIST(**settings, noise=0.05, target="image", valid_fraction=0.2).load()  # type: ignore[arg-type]
    clean = MNIST(**settings, valid_fraction=0.2).load()  # type: ignore[arg-type]
    assert (splits.classes, clean.classes) == (784, 10)
    added = []
    for split in ("train", "valid", "test"):
        noise = (whole(splits, split) - whole(clean, split)) * 0.3081
        for epoch in (0, 1):
            shuffled = (whole(splits, split, epoch, shuffle=True) - whole(clean, split)) * 0.3081
            torch.testing.assert_close(noise, shuffled)
        frames, pixels = next(splits.loader(split, 200).epoch(0))
        numbers = getattr(splits, split).ids
        own = torch.from_numpy(mnist[1])[numbers].flatten(1).float()
        torch.testing.assert_close(pixels, own / 255)
        assert frames.shape == (1, len(numbers), 784)
        added.append(noise)
    noise = torch.cat(added)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean().item()) < 0.001
    assert len({tuple(row) for row in noise.round(decimals=4).tolist()}) == len(noise) == 120
    other = MNIST(**settings, noise=0.05, noise_seed=1).load()  # type: ignore[arg-type]
    assert not torch.equal(whole(other, "test"), whole(splits, "test"))


def test_noise_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    assert torch.equal(fixed_noise(3, 4, 0.1, 0), fixed_noise(3, 4, 0.1, 0))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_cropped_image_is_its_own_target(mnist: Mnist) -> None:
    splits = MNIST(
        root=str(mnist[0]), encoder="image", crop_padding=3, noise=0.1, target="image"
    ).load()
    frames, pixels = next(splits.loader("train", 50, shuffle=True).epoch(0))
    assert (frames[0] - pixels).std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "pixels"}, r"dataset\.target must be one of label, image, got 'pixels'"),
        ({"noise": -0.1}, r"dataset\.noise must be 0 or more"),
        ({"crop_padding": -1}, r"dataset\.crop_padding must be 0 or more"),
        ({"noise": 0.1, "encoder": "rate"}, r"dataset\.noise leaves no intensities.*rate"),
        ({"flip": True, "encoder": "delta"}, "delta reads rows, but .*flip.* need whole images"),
        ({"crop_padding": 1, "encoder": "delta"}, "delta reads rows"),
        ({"target": "image", "encoder": "delta"}, "delta reads rows"),
        ({"mean": (0.1, 0.2)}, r"dataset\.mean and dataset\.std need as many values"),
        ({"std": (0.0,)}, "std positive ones"),
        ({"mean": (), "std": ()}, "need as many values"),
    ],
)
def test_impossible_settings_are_named(
    mnist: Mnist, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FashionMNIST(root=str(mnist[0]), **{"encoder": "image", **settings}).load()


def test_colours_that_do_not_fit_are_named(mnist: Mnist) -> None:
    five = (0.5,) * 5
    splits = MNIST(root=str(mnist[0]), encoder="image", mean=five, std=five).load()
    with pytest.raises(ValueError, match=r"dataset\.mean has 5 values, which do not fit"):
        whole(splits, "test")


@pytest.mark.parametrize(
    ("samples", "fraction", "sizes"),
    [(60_000, 1 / 12, (55_000, 5_000)), (60_000, 0.05, (57_000, 3_000)),
     (50_000, 0.05, (47_500, 2_500))],
)  # fmt: skip
def test_the_published_sizes_of_the_splits(
    samples: int, fraction: float, sizes: tuple[int, int]
) -> None:
    train = FrameSet(torch.zeros(samples, 1, 1).byte(), torch.zeros(samples).long())
    assert tuple(len(part) for part in split_validation(train, fraction, seed=0)) == sizes
