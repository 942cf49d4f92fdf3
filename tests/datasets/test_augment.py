from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_files import random_recordings, write_events
from snnbreg.datasets import SHD, FrameLoader, FrameSet, SpokenDigits
from snnbreg.datasets.augment import (
    AugmentedLoader,
    _Partners,
    augmentation,
    blended,
    moved,
    shifted_in_time,
)
from snnbreg.datasets.changes import ChangedLoader


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def frames() -> FrameSet:
    counts = torch.randint(0, 3, (12, 30, 4), dtype=torch.uint8, generator=generator())
    lengths = torch.arange(19, 31)
    for sample, length in enumerate(lengths):
        counts[sample, length:] = 0
    return FrameSet(counts, torch.arange(12) % 3, lengths=lengths)


def test_shifts_are_literal_and_stay_within_the_recording(frames: FrameSet) -> None:
    counts, used = frames.frames.repeat(1, 1, 50), frames.lengths
    assert used is not None
    result = shifted_in_time(counts, used, generator(1))
    draws = torch.randint(-100, 101, (12, 1, 200), generator=generator(1))[:, 0]
    assert draws.min() == -100
    assert draws.max() == 100
    expected = torch.zeros_like(counts)
    for b in range(12):
        for c in range(200):
            for t in range(30):
                if 0 <= t + draws[b, c] < used[b]:
                    expected[b, t + draws[b, c], c] = counts[b, t, c]
    assert torch.equal(result, expected)


CHANGED = functools.partial(ChangedLoader, changes={"shift": 2})
PUBLISHED = functools.partial(AugmentedLoader, max_shift=2)


@pytest.mark.parametrize("kind", [CHANGED, PUBLISHED])
def test_the_same_order_is_augmented_anew_each_epoch(
    frames: FrameSet, kind: Callable[..., FrameLoader]
) -> None:
    """Without shuffling only the augmentation is drawn, from the seed, epoch and batch."""

    def epoch(seed: int, number: int) -> list[torch.Tensor]:
        loader = kind(frames, 5, False, seed)
        return [batch for batch, _ in loader.epoch(number)]

    def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    assert equal(epoch(3, 1), epoch(3, 1))
    assert not equal(epoch(3, 0), epoch(3, 1))
    assert not equal(epoch(3, 1), epoch(4, 1))


def test_the_published_set_can_shift_whole_recordings_instead() -> None:
    single = FrameSet(torch.eye(8, dtype=torch.uint8).expand(6, 8, 8).clone(), torch.arange(6) % 2)
    loader = AugmentedLoader(single, 18, True, 0, max_shift=3)
    ((x, _),) = loader.epoch(0)
    shifts = set()
    for sample in x[:, 6:12].transpose(0, 1):  # untouched, shifted and blended follow each other
        offsets = (sample.nonzero()[:, 1] - sample.nonzero()[:, 0]).unique()
        assert len(offsets) == 1
        shifts.add(int(offsets))
    assert len(shifts) > 1
    assert max(map(abs, shifts)) <= 3


@pytest.mark.parametrize(
    ("name", "shift", "message"),
    [
        ("all", 4, "none, delrec, delrec_shift, or changes of shift, stretch, .* got 'all'"),
        ("pace+none", 4, "got 'none'"),
        ("pace+delrec", 4, "got 'delrec'"),
        ("", 4, "got ''"),
        ("shift+pace", 0, "max_shift of 1"),
        ("delrec_shift", 0, "max_shift of 1"),
        ({"pace": 1.5}, 4, "strength of pace must be between 0 and 0.9, got 1.5"),
        ({"lose": -0.1}, 4, "strength of lose must be between 0 and 1, got -0.1"),
        ({"lose": "much"}, 4, "strength of lose must be .* got much"),
        ({"shift": 1.5}, 4, "whole channels, got 1.5"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused(
    name: str | dict[str, float], shift: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        augmentation(name, shift)


def test_a_delay_pads_with_zeros_and_cuts_at_the_end() -> None:
    counts = torch.tensor([[[1], [2], [3]]] * 2)
    assert moved(counts, torch.tensor([1, 3]), 5)[..., 0].tolist() == [
        [0, 1, 2, 3, 0],
        [0, 0, 0, 1, 2],
    ]


def test_blending_keeps_half_of_the_spikes_of_both_on_average() -> None:
    a = torch.tensor([0, 1, 8, 0]).repeat(1, 3000, 1).byte()
    b = torch.tensor([0, 0, 4, 1]).repeat(1, 3000, 1).byte()
    still = torch.zeros(1, dtype=torch.int64)
    kept = blended(a, still, b, still, 3000, generator())
    assert kept.shape == a.shape
    assert (kept <= a + b).all()
    assert kept[..., 0].sum() == 0
    assert abs(float(kept[..., 1].float().mean()) - 0.5) < 0.04
    assert abs(float(kept[..., 3].float().mean()) - 0.5) < 0.04
    assert abs(float(kept[..., 2].float().mean()) - 6.0) < 0.16
    assert abs(float(kept[..., 2].float().var()) - 3.0) < 0.4


def test_partners_are_all_the_others_of_the_class() -> None:
    targets = torch.tensor([2, 0, 2, 1, 2, 0, 2])
    partners = _Partners(targets)
    drawn: dict[int, set[int]] = {sample: set() for sample in range(7)}
    for seed in range(60):
        for sample, other in enumerate(partners.draw(torch.arange(7), generator(seed)).tolist()):
            drawn[sample].add(other)
    assert drawn[3] == {3}
    for sample in (0, 1, 2, 4, 5, 6):
        same = {other for other in range(7) if targets[other] == targets[sample]}
        assert drawn[sample] == same - {sample}


def flat(loader: AugmentedLoader, epoch: int) -> list[tuple[Tensor, Tensor]]:
    return list(loader.epoch(epoch))


def test_an_epoch_has_three_copies_of_each_sample(frames: FrameSet) -> None:
    loader = AugmentedLoader(frames, 5, shuffle=True)
    batches = flat(loader, 0)
    assert len(batches) == len(loader) == 8
    labels = torch.cat([y for _, y in batches])
    assert labels.bincount().tolist() == [12, 12, 12]
    untouched = set()
    for x, y in batches:
        assert x.dtype == torch.float32
        assert x.is_contiguous()
        for b in range(len(y)):
            padded = torch.zeros(60, 4)
            padded[: len(x)] = x[:, b]
            for sample in range(12):
                if torch.equal(padded[:30], frames.frames[sample].float()):
                    assert y[b] == frames.labels[sample]
                    untouched.add(sample)
    assert untouched == set(range(12))


def test_draws_depend_on_seed_epoch_and_batch_alone(frames: FrameSet) -> None:
    loader = AugmentedLoader(frames, 12, shuffle=True, seed=1)
    first = flat(loader, 0)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    second = flat(AugmentedLoader(frames, 12, shuffle=True, seed=1), 0)
    assert torch.equal(torch.get_rng_state(), state)
    for (a, y), (b, z) in zip(first, second, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(y, z)
    assert not torch.equal(first[0][1], flat(loader, 1)[0][1])


def test_a_blend_has_half_of_the_spikes_of_two_aligned_samples() -> None:
    counts = torch.zeros(2, 50, 1, dtype=torch.uint8)
    counts[0, 5], counts[1, 30] = 200, 100
    frames = FrameSet(counts, torch.zeros(2).long(), lengths=torch.tensor([50, 40]))
    seen = False
    for x, _ in AugmentedLoader(frames, 1, shuffle=True).epoch(0):
        total = x.sum()
        if total not in (0, 100, 200):  # neither untouched nor shifted
            assert x[30].sum() == total
            assert 110 < total < 190
            assert len(x) == 75  # 50 frames delayed by 25
            seen = True
    assert seen


def test_on_a_fixed_grid_the_number_of_frames_stays() -> None:
    counts = torch.ones(6, 20, 3, dtype=torch.uint8)
    loader = AugmentedLoader(FrameSet(counts, torch.zeros(6).long()), 4, shuffle=True)
    assert {len(x) for x, _ in loader.epoch(0)} == {20}


@pytest.mark.parametrize("binning", ["fixed", "delrec"])
def test_shd_augments_its_training_split_alone(tmp_path: Path, binning: str) -> None:
    for part, size in (("train", 10), ("test", 4)):
        recordings = random_recordings(size, longest=1.3)
        write_events(tmp_path / f"SHD/shd_{part}.h5", recordings, [0] * size)
    splits = SHD(root=str(tmp_path), binning=binning, augment="delrec").load()
    shuffled = splits.loader("train", 4, shuffle=True)
    assert (shuffled.samples, len(shuffled)) == (24, 6)
    assert sum(len(y) for _, y in shuffled.epoch(0)) == 24
    assert splits.loader("train", 4).samples == 8
    assert splits.loader("valid", 4, shuffle=True).samples == 2
    assert splits.loader("test", 4, shuffle=True).samples == 4
    assert SHD(root=str(tmp_path)).load().loader("train", 4, shuffle=True).samples == 8
    whole = SHD(root=str(tmp_path), binning=binning, augment="shift", max_shift=6).load()
    assert whole.loader("train", 4, shuffle=True).samples == 8
    with pytest.raises(ValueError, match=r"dataset\.augment must be one of none.*got 'flip'"):
        SHD(root=str(tmp_path), augment="flip").load()


def test_the_digits_ask_for_a_shift_of_the_size_that_the_config_names() -> None:
    splits = SpokenDigits(bin_ms=100, channels=28, limit=40, augment="shift", max_shift=2).load()
    loader = splits.loader("train", 40, shuffle=True, seed=1)
    assert isinstance(loader, ChangedLoader)
    assert loader.changes == {"shift": 2}
