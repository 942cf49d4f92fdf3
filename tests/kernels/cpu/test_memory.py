import threading

import pytest
import torch

from snnbreg.kernels.cpu import memory
from snnbreg.kernels.cpu.memory import ALIGNED, LARGE, SPARE, empty


@pytest.fixture
def blocks(monkeypatch):
    """No block is kept yet."""
    found = memory._Blocks()
    monkeypatch.setattr(memory, "_blocks", found)
    return found


def test_memory_is_used_again_when_the_tensor_and_its_views_are_gone(blocks):
    tensor = empty((LARGE,), torch.uint8)
    view, place = tensor[5:], tensor.data_ptr()
    del tensor
    other = empty((LARGE,), torch.uint8)
    assert other.data_ptr() != place  # the view still lives
    del view
    assert empty((LARGE // 4,), torch.float32).data_ptr() == place
    assert blocks.used == other.numel()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_it_is_an_ordinary_tensor(blocks, dtype):
    tensor = empty((3, LARGE), dtype)
    assert tensor.shape == (3, LARGE)
    assert tensor.dtype == dtype
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % ALIGNED == 0
    tensor.fill_(3)
    assert tensor[2, -1] == 3
    assert blocks.used == 3 * LARGE * dtype.itemsize


def test_a_block_that_is_far_too_large_or_too_small_stays_free(blocks):
    del_me = empty((2 * LARGE,), torch.uint8)
    place = del_me.data_ptr()
    del del_me
    small = empty((int(2 * LARGE / SPARE) - 64,), torch.uint8)
    large = empty((2 * LARGE + 1,), torch.uint8)
    assert place not in (small.data_ptr(), large.data_ptr())
    assert empty((int(2 * LARGE / SPARE) + 64,), torch.uint8).data_ptr() == place


def test_the_closest_block_is_taken(blocks):
    tensors = [empty((LARGE + extra,), torch.uint8) for extra in (3000, 1000, 2000)]
    closest = tensors[1].data_ptr()
    tensors.clear()
    assert empty((LARGE + 500,), torch.uint8).data_ptr() == closest


def test_no_more_is_kept_than_was_in_use_at_once(blocks):
    for size in range(LARGE, 20 * LARGE, 2 * LARGE):  # each too large for the block before
        empty((size,), torch.uint8)
        assert sum(block.size for block in blocks.free) <= blocks.most_used == size
    assert blocks.used == 0


def test_small_tensors_are_none_of_its_business(blocks):
    empty((LARGE - 1,), torch.uint8)
    assert not blocks.free


def test_threads_share_the_blocks(blocks):
    def work():
        for _ in range(50):
            empty((LARGE,), torch.uint8)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blocks.used == 0
    assert 1 <= len(blocks.free) <= 3
