"""Curves against torch's schedulers and numbers worked by hand."""

import pytest
import torch

from snnbreg.schedulers import annealed_sigma
from snnbreg.schedulers.values import cosine, one_cycle


def torch_lrs(make, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimizer)
    lrs = []
    for _ in range(total):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize(
    ("total", "pct_start"), [(150, 0.3), (10, 0.3), (4, 0.3), (3, 0.3), (2, 0.3), (7, 0.0)]
)
def test_one_cycle_is_that_of_torch(total, pct_start, anneal):
    expected = torch_lrs(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.3, total, pct_start=pct_start, anneal_strategy=anneal, cycle_momentum=False
        ),
        total,
    )
    low = 0.3 / 25
    ours = [one_cycle(t, total, low, 0.3, low / 1e4, pct_start, anneal) for t in range(total)]
    assert ours == expected


@pytest.mark.parametrize(("total", "pct_start"), [(1, 0.3), (2, 0.5), (5, 1.0), (10, 0.1)])
def test_one_cycle_where_torch_divides_by_zero_or_trains_nothing(total, pct_start):
    values = [one_cycle(t, total, 0.1, 1.0, 0.0, pct_start) for t in range(total + 3)]
    assert max(values) == 1.0
    assert values[total - 1 :] == [values[total - 1]] * 4


@pytest.mark.parametrize("end", [0.0, 0.1, 0.5])
def test_cosine_is_that_of_torch(end):
    expected = torch_lrs(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, end), 21
    )
    assert [cosine(t, 0.3, end, 20) for t in range(21)] == pytest.approx(expected, abs=1e-15)


def test_sigma_of_the_published_runs():
    last = [annealed_sigma(epochs - 1, epochs) for epochs in (100, 150, 200)]
    assert last == pytest.approx([0.0623, 0.0613, 0.0607], abs=5e-5)
    assert annealed_sigma(0, 100) == 10.0
    assert annealed_sigma(75, 150) == pytest.approx(10 * 0.95**50)
    assert annealed_sigma(1, 4, initial=8.0, decay=0.5, power=8.0) == 2.0
