from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from snnbreg.datasets.loader import FrameLoader, FrameSet, permutation
from snnbreg.datasets.splits import Splits, limited, make_splits, split_validation


@pytest.fixture
def frames() -> FrameSet:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 256, (23, 6, 4), dtype=torch.uint8, generator=generator)
    return FrameSet(counts, torch.arange(23))


def gathered(loader: FrameLoader, epoch: int = 0) -> tuple[Tensor, Tensor]:
    batches = list(loader.epoch(epoch))
    return torch.cat([x for x, _ in batches], dim=1), torch.cat([y for _, y in batches])


def test_batches_are_the_frames_with_time_first(frames: FrameSet) -> None:
    batches = list(FrameLoader(frames, 10).epoch(0))
    assert [tuple(x.shape) for x, _ in batches] == [(6, 10, 4), (6, 10, 4), (6, 3, 4)]
    for x, y in batches:
        assert x.dtype == torch.float32
        assert x.is_contiguous()
        for b, sample in enumerate(y):
            for t in range(6):
                assert x[t, b].tolist() == frames.frames[sample, t].tolist()


def test_an_epoch_has_each_sample_once_in_an_order_of_its_own(frames: FrameSet) -> None:
    loader = FrameLoader(frames, 5, shuffle=True, seed=3)
    orders = [gathered(loader, epoch)[1].tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert gathered(FrameLoader(frames, 7, shuffle=True, seed=3), 1)[1].tolist() == orders[1]
    assert gathered(FrameLoader(frames, 5, shuffle=True, seed=4), 1)[1].tolist() != orders[1]


def test_the_order_is_the_same_on_every_machine() -> None:
    raw = np.random.PCG64(np.random.SeedSequence((3, 1))).random_raw(5).tolist()
    assert raw[0] == 4671694712983073299
    assert permutation(5, 3, 1).tolist() == sorted(range(5), key=raw.__getitem__)


def test_negative_seeds_are_refused(frames: FrameSet) -> None:
    with pytest.raises(ValueError, match="seeds must be 0 or more"):
        next(FrameLoader(frames, 5, shuffle=True, seed=-1).epoch(0))


def test_the_global_generator_is_left_alone(frames: FrameSet) -> None:
    def noise(x: Tensor, seed: int) -> Tensor:
        return x + torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    gathered(FrameLoader(frames, 5, shuffle=True, encoder=noise))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_batch_of_each_epoch_has_a_seed_of_its_own(frames: FrameSet) -> None:
    def seeds(loader: FrameLoader, epoch: int) -> list[int]:
        found: list[int] = []
        loader.encoder = lambda x, seed: found.append(seed) or x
        list(loader.epoch(epoch))
        return found

    loader = FrameLoader(frames, 5)
    first, second = seeds(loader, 0), seeds(loader, 1)
    assert len({*first, *second}) == 10
    assert seeds(FrameLoader(frames, 5), 1) == second


def test_a_batch_is_cut_to_its_longest_sample(frames: FrameSet) -> None:
    lengths = torch.ones(23, dtype=torch.int64)
    lengths[7] = 4
    cut = FrameSet(frames.frames, frames.labels, lengths=lengths)
    assert [len(x) for x, _ in FrameLoader(cut, 5).epoch(0)] == [1, 4, 1, 1, 1]


def test_subsets_share_the_frames(frames: FrameSet) -> None:
    some = frames.subset(torch.tensor([4, 9, 2, 5]))
    fewer = some.subset(torch.tensor([3, 0]))
    assert fewer.frames is frames.frames
    assert fewer.targets.tolist() == [5, 4]
    x, y = gathered(FrameLoader(fewer, 8))
    assert y.tolist() == [5, 4]
    assert torch.equal(x, frames.frames[[5, 4]].transpose(0, 1).float())
    assert sorted(gathered(FrameLoader(some, 3, shuffle=True))[1].tolist()) == [2, 4, 5, 9]


def test_a_sample_keeps_its_number(frames: FrameSet) -> None:
    numbered = replace(frames, first=100)
    for split in (numbered, *split_validation(numbered, 0.2, seed=0), limited(numbered, 6)):
        assert split.ids.dtype == torch.int64
        assert split.ids.tolist() == [100 + label for label in split.targets]
        assert torch.equal(FrameLoader(split, 4, shuffle=True).ids, split.ids)


def test_frames_are_scaled(frames: FrameSet) -> None:
    scaled = FrameSet(frames.frames, frames.labels, scale=1 / 255)
    x, _ = gathered(FrameLoader(scaled, 23))
    torch.testing.assert_close(x, frames.frames.transpose(0, 1) / 255)


def test_a_sample_may_have_a_label_for_every_step(frames: FrameSet) -> None:
    labels = torch.arange(23 * 6).view(23, 6)
    train, valid = split_validation(replace(frames, labels=labels), 0.2, seed=0)
    for split in (train, valid):
        _, y = gathered(FrameLoader(split, 5, shuffle=True), 1)
        assert sorted(y.tolist()) == split.targets.tolist() == labels[split.ids].tolist()


def test_frames_may_lie_on_another_device_than_the_batches(frames: FrameSet) -> None:
    # a device whose values cannot be read: only shapes are moved
    loader = FrameLoader(
        replace(frames, frames=frames.frames.to("meta")), 10, shuffle=True, device="meta"
    )
    x, y = next(loader.epoch(0))
    assert x.device.type == y.device.type == "meta"
    assert x.shape == (6, 10, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_batches_are_the_same_on_an_accelerator(frames: FrameSet) -> None:
    expected = gathered(FrameLoader(frames, 5, shuffle=True))
    for source in (frames, replace(frames, frames=frames.frames.cuda())):
        found = gathered(FrameLoader(source, 5, shuffle=True, device="cuda"))
        assert torch.equal(found[0].cpu(), expected[0])
        assert torch.equal(found[1].cpu(), expected[1])


def test_impossible_sets_and_loaders_are_refused(frames: FrameSet) -> None:
    with pytest.raises(ValueError, match=r"uint8 or float32 \(samples, T, C\)"):
        FrameSet(frames.frames.double(), frames.labels)
    with pytest.raises(ValueError, match="labels must be int64"):
        FrameSet(frames.frames, frames.labels[:4])
    with pytest.raises(ValueError, match="lengths must be int64"):
        FrameSet(frames.frames, frames.labels, lengths=frames.labels.int())
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        FrameLoader(frames, 0)
    with pytest.raises(ValueError, match="no batch can be made of a split without samples"):
        FrameLoader(frames.subset(torch.arange(0)), 24)


def test_the_validation_split_is_a_part_of_its_own(frames: FrameSet) -> None:
    train, valid = split_validation(frames, 0.2, seed=0)
    assert (len(train), len(valid)) == (18, 5)
    assert sorted([*train.targets.tolist(), *valid.targets.tolist()]) == list(range(23))
    for part in (train.targets.tolist(), valid.targets.tolist()):
        assert part == sorted(part)
    again = split_validation(frames, 0.2, seed=0)[1].targets
    assert torch.equal(again, valid.targets)
    assert not torch.equal(split_validation(frames, 0.2, seed=1)[1].targets, valid.targets)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.01])
def test_an_empty_validation_or_training_split_is_refused(
    frames: FrameSet, fraction: float
) -> None:
    with pytest.raises(ValueError, match="valid_fraction"):
        split_validation(frames, fraction, seed=0)


def test_a_limit_keeps_a_fixed_choice_in_order(frames: FrameSet) -> None:
    some = limited(frames, 6).targets.tolist()
    assert some == sorted(some)
    assert len(set(some)) == 6
    assert some != list(range(6))
    assert limited(frames, 6).targets.tolist() == some
    assert limited(frames, None) is limited(frames, 23) is frames
    with pytest.raises(ValueError, match=r"dataset\.limit must be 1 or more.*got 0"):
        limited(frames, 0)


def test_members_are_numbers_of_the_samples_of_all_parts_one_behind_the_other() -> None:
    short = FrameSet(torch.full((3, 2, 1), 4).byte(), torch.arange(3), scale=0.5, notes=("a note",))
    long = FrameSet(torch.full((2, 4, 1), 6).byte(), torch.tensor([3, 4]), scale=0.5)
    members = {"train": np.array([0, 3]), "valid": np.array([1]), "test": np.array([4, 2])}
    splits = make_splits("some", {"train": short, "test": long}, 5, members=members)
    for split, numbers in members.items():
        part = getattr(splits, split)
        assert part.targets.tolist() == part.ids.tolist() == numbers.tolist()
    x, _ = next(splits.loader("train", 2).epoch(0))
    assert x[..., 0].T.tolist() == [[2, 2, 0, 0], [3, 3, 3, 3]]
    missing = "There is no training sample of the classes 1, 2, 4"
    assert (splits.steps, splits.notes) == (4, ("a note", missing))


def test_a_data_set_moves_as_a_whole_and_shared_frames_stay_shared() -> None:
    frames = FrameSet(torch.ones(6, 2, 3, dtype=torch.uint8), torch.arange(6))
    other = FrameSet(torch.ones(2, 2, 3, dtype=torch.uint8), torch.arange(2))
    first, second = frames.subset(torch.arange(4)), frames.subset(torch.tensor([4, 5]))
    splits = Splits("some", first, second, other, channels=3, classes=6, steps=2)
    assert splits.nbytes() == 8 * 2 * 3
    moved = splits.to("meta")
    assert moved.train.frames.device.type == moved.test.frames.device.type == "meta"
    assert moved.train.frames is moved.valid.frames
    assert moved.train.index is first.index
