"""Changes of recordings against literal loops over samples, frames and channels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snnbreg.datasets import FrameLoader, FrameSet
from snnbreg.datasets.augment import augmentation
from snnbreg.datasets.changes import (
    CHANGES,
    ChangedLoader,
    checked_changes,
    shifted_along_channels,
    stretched_along_channels,
    stretched_in_time,
    with_additions,
    with_background,
    with_gaps,
    with_losses,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_counts(samples: int, steps: int, channels: int, most: int = 4) -> Tensor:
    shape = (samples, steps, channels)
    return torch.randint(0, most, shape, dtype=torch.uint8, generator=generator(9))


@pytest.fixture
def frames() -> FrameSet:
    return FrameSet(random_counts(12, 30, 4), torch.arange(12) % 3)


def test_a_recording_is_shifted_as_a_whole_by_a_number_of_channels_for_each_sample() -> None:
    counts = torch.randint(0, 9, (50, 3, 7), dtype=torch.uint8, generator=generator())
    result = shifted_along_channels(counts, 2, generator(1))
    draws = torch.randint(-2, 3, (50, 1), generator=generator(1))[:, 0]
    assert set(draws.tolist()) == {-2, -1, 0, 1, 2}
    expected = torch.zeros_like(counts)
    for b, shift in enumerate(draws.tolist()):
        for c in range(7):
            if 0 <= c + shift < 7:
                expected[b, :, c + shift] = counts[b, :, c]
    assert torch.equal(result, expected)


def test_a_shift_beyond_the_channels_leaves_nothing_behind() -> None:
    counts = torch.ones(40, 2, 3, dtype=torch.uint8)
    kept = shifted_along_channels(counts, 9, generator()).flatten(1).sum(1)
    assert set(kept.tolist()) == {0, 2, 4, 6}


@pytest.mark.parametrize("changes", [{"shift": 2}, dict.fromkeys(CHANGES, 0.4) | {"shift": 1}])
def test_a_changed_loader_draws_anew_each_epoch_and_keeps_labels_and_order(
    frames: FrameSet, changes: dict[str, float]
) -> None:
    loader = ChangedLoader(frames, 5, True, 3, changes=changes)
    plain = FrameLoader(frames, 5, True, 3)
    epochs = [list(loader.epoch(epoch)) for epoch in (0, 1)]
    again = list(ChangedLoader(frames, 5, True, 3, changes=changes).epoch(1))
    for (x, y), (other, labels) in zip(epochs[1], again, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y, labels)
    sources = list(plain.epoch(1))
    moved_samples = 0
    for (x, y), (source, labels) in zip(epochs[1], sources, strict=True):
        assert torch.equal(y, labels)
        assert x.shape == source.shape
        moved_samples += int((x != source).any(dim=2).any(dim=0).sum())
    assert moved_samples > 5
    draws = [torch.cat([x.sum((0, 2)) for x, _ in epoch]) for epoch in epochs]
    assert not torch.equal(draws[0], draws[1])


def factors(samples: int, strength: float, seed: int) -> list[float]:
    draws = torch.rand(samples, generator=generator(seed))
    return (1 + strength * (2 * draws - 1)).tolist()


def test_channels_are_stretched_about_their_middle() -> None:
    counts = random_counts(20, 3, 9)
    result = stretched_along_channels(counts, 0.4, generator(1))
    expected = torch.zeros_like(counts)
    for b, factor in enumerate(factors(20, 0.4, 1)):
        for c in range(9):
            source = math.floor((c + 0.5 - 4.5) / factor + 4.5)
            if 0 <= source < 9:
                expected[b, :, c] = counts[b, :, source]
    assert torch.equal(result, expected)
    assert result.dtype == torch.uint8
    assert torch.equal(result[:, :, 4], counts[:, :, 4])  # the middle stays
    assert (result[:, :, 0] == 0).all(1).any()  # what is squeezed leaves zeros


def test_time_is_stretched_from_the_beginning() -> None:
    counts = random_counts(20, 9, 3)
    result = stretched_in_time(counts, 0.4, generator(1))
    expected = torch.zeros_like(counts)
    for b, factor in enumerate(factors(20, 0.4, 1)):
        for t in range(9):
            source = math.floor((t + 0.5) / factor)
            if 0 <= source < 9:
                expected[b, t] = counts[b, source]
    assert torch.equal(result, expected)
    assert result.dtype == torch.uint8
    assert (result[:, 8] == 0).all(1).any()


def test_a_slower_word_has_more_events_in_proportion() -> None:
    counts = torch.zeros(200, 100, 1, dtype=torch.uint8)
    counts[:, :50] = 2
    result = stretched_in_time(counts, 0.5, generator(2)).sum((1, 2))
    expected = 100 * torch.tensor(factors(200, 0.5, 2))
    assert (result - expected).abs().max() <= 2


def test_each_event_is_lost_or_kept_on_its_own() -> None:
    counts = random_counts(6, 5, 4)
    result = with_losses(counts, 0.8, generator(3))
    draw = generator(3)
    shares = (0.8 * torch.rand(6, generator=draw)).tolist()
    chances = iter(torch.rand(int(counts.sum()), generator=draw).tolist())
    expected = torch.zeros_like(counts)
    for b in range(6):
        for t in range(5):
            for c in range(4):
                for _ in range(int(counts[b, t, c])):
                    expected[b, t, c] += next(chances) >= shares[b]
    assert torch.equal(result, expected)
    assert torch.equal(with_losses(counts, 0.0, generator()), counts)


def test_events_are_added_anywhere_in_proportion_to_those_of_the_sample() -> None:
    counts = torch.cat([random_counts(5, 6, 4), torch.zeros(1, 6, 4, dtype=torch.uint8)])
    result = with_additions(counts, 2.0, generator(4))
    draw = generator(4)
    shares = 2.0 * torch.rand(6, generator=draw)
    numbers = [round(float(u) * int(x.sum())) for u, x in zip(shares, counts, strict=True)]
    places = iter(torch.rand(sum(numbers), generator=draw))
    expected = counts.clone()
    for b, number in enumerate(numbers):
        for _ in range(number):
            expected[b].view(-1)[int(24 * next(places))] += 1
    assert torch.equal(result, expected)
    assert result[5].sum() == 0  # nothing is added to nothing
    assert numbers[0] > 0


def test_a_background_is_a_band_of_channels_at_all_times() -> None:
    counts = random_counts(8, 7, 10)
    result = with_background(counts, 3.0, generator(5))
    draw = generator(5)
    shares, middles, widths = (torch.rand(8, generator=draw) for _ in range(3))
    sums = [int(x.sum()) for x in counts]
    numbers = [round(float(3.0 * u) * n) for u, n in zip(shares, sums, strict=True)]
    spreads = torch.randn(sum(numbers), generator=draw)
    times = torch.rand(sum(numbers), generator=draw)
    expected, event = counts.clone(), 0
    for b, number in enumerate(numbers):
        width = 10 * (0.02 + 0.18 * float(widths[b]))
        for _ in range(number):
            channel = math.floor(10 * float(middles[b]) + width * float(spreads[event]))
            if 0 <= channel < 10:
                expected[b, int(7 * float(times[event])), channel] += 1
            event += 1
    assert torch.equal(result, expected)
    assert (result != counts).any()


def test_a_mask_is_one_band_of_channels_and_one_stretch_of_time() -> None:
    counts = torch.ones(3_000, 8, 12, dtype=torch.uint8)
    result = with_gaps(counts, 0.5, generator(1))
    seen: dict[str, list[tuple[int, int]]] = {"channels": [], "time": []}
    for sample in result:
        silent = {
            "channels": [c for c in range(12) if not sample[:, c].any()],
            "time": [t for t in range(8) if not sample[t].any()],
        }
        expected = torch.ones(8, 12, dtype=torch.uint8)
        expected[:, silent["channels"]] = 0
        expected[silent["time"]] = 0
        assert torch.equal(sample, expected)
        for axis, gap in silent.items():
            if gap:
                assert gap == list(range(gap[0], gap[-1] + 1))
            seen[axis].append((len(gap), gap[0] if gap else -1))
    for axis, size in (("channels", 12), ("time", 8)):
        widths = [width for width, _ in seen[axis]]
        for width in range(size // 2):
            assert abs(widths.count(width) / 3_000 - 2 / size) < 0.03
            starts = {first for w, first in seen[axis] if w == width}
            assert starts == (set(range(size - width + 1)) if width else {-1})
        assert max(widths) == size // 2 - 1
    widths_of_both = torch.tensor([[float(width) for width, _ in gaps] for gaps in seen.values()])
    assert abs(torch.corrcoef(widths_of_both)[0, 1]) < 0.1


def test_counts_stay_bytes() -> None:
    full = torch.full((3, 4, 5), 255, dtype=torch.uint8)
    for name, change in CHANGES.items():
        result = change.apply(full, 1.0 if name == "shift" else 0.5, generator())
        assert result.dtype == torch.uint8
        assert result.shape == full.shape
        assert name in ("shift", "stretch", "pace", "lose", "mask") or (result == 255).all()


def test_changes_are_applied_one_after_the_other_from_one_stream(frames: FrameSet) -> None:
    make = augmentation("lose+shift", 3)
    assert make is not None
    plain = next(FrameLoader(frames, 12, True, 5).epoch(2))[0]
    changed = next(make(frames, 12, True, 5).epoch(2))[0]
    loader = ChangedLoader(frames, 12, True, 5, changes={})
    assert torch.equal(next(loader.epoch(2))[0], plain)
    loader.changes = {"shift": 3, "lose": 0.2}
    assert torch.equal(next(loader.epoch(2))[0], changed)
    alone = next(ChangedLoader(frames, 12, True, 5, changes={"shift": 3}).epoch(2))[0]
    assert (changed <= alone).all()  # the shift is drawn first: the loss changes nothing of it
    assert (changed < alone).any()


def test_strengths_come_from_names_or_from_a_mapping() -> None:
    assert list(checked_changes("+".join(reversed(CHANGES)), 3)) == list(CHANGES)
    assert checked_changes({"pace": 0.3, "shift": 2, "add": 0}, 7) == {"shift": 2, "pace": 0.3}
    assert augmentation({"shift": 0}, 4) is None
    assert augmentation("none", 4) is None
