"""Exact numbers of kept weights."""

import math

import pytest
import torch

from snnbreg.optim.ranking import Budget, keep_largest, layer_counts
from snnbreg.optim.sparse import layer_densities
from sparsifier_course import random


def test_ties_are_broken_by_the_place():
    assert keep_largest(torch.ones(4), 2).tolist() == [True, True, False, False]
    scores = torch.tensor([[2.0, 1.0, 1.0], [1.0, 3.0, 0.0]])
    assert keep_largest(scores, 3).tolist() == [[True, True, False], [False, True, False]]
    assert keep_largest(scores.t(), 3).tolist() == [[True, True], [False, True], [False, False]]


@pytest.mark.parametrize("count", [-1, 0, 1, 17, 49, 50, 60])
def test_the_largest_are_those_of_a_stable_sort(count):
    scores = random(50).mul(2).round()  # many ties
    order = scores.sort(descending=True, stable=True).indices[: max(0, count)]
    expected = torch.zeros(50, dtype=torch.bool)
    expected[order] = True
    assert torch.equal(keep_largest(scores, count), expected)
    assert keep_largest(scores, count).dtype == torch.bool


def test_erk_of_the_spoken_digits_network():
    shapes = [(256, 140), (256, 256), (256, 256), (256, 256), (10, 256)]
    assert layer_counts(shapes, 0.05, "erk") == [2117, 2737, 2737, 2737, 1422]
    counts = layer_counts(shapes, 0.1, "erk")
    shares = [
        d * math.prod(s) for d, s in zip(layer_densities(shapes, 0.1, "erk"), shapes, strict=True)
    ]
    assert [round(share) for share in shares] == [4292, 5550, 5550, 5550, 2560]
    assert counts[-1] == 2560
    assert sum(counts) == round(0.1 * 235_008)  # not 23,502, the sum of rounded numbers
    assert all(abs(c - share) < 1 for c, share in zip(counts, shares, strict=True))


def test_what_is_missing_goes_to_the_largest_fractions_wherever_they_stand():
    shapes = [(1, 3), (4, 2), (3, 3)]  # 1.05, 2.8 and 3.15 weights
    assert layer_counts(shapes, 0.35, "uniform") == [1, 3, 3]


def test_the_allocation_says_how_many_of_each_matrix_are_kept():
    shapes = [(10, 10), (2, 5)]  # 22 weights of 110; by 20/100 to 7/10: 16.3 and 5.7
    expected = {"layer": [20, 2], "erk": [16, 6], "global": [22]}
    assert {name: Budget(shapes, 0.2, name).final for name in expected} == expected
    assert [Budget(shapes, 0.2, name).sizes for name in expected] == [[100, 10], [100, 10], [110]]


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
@pytest.mark.parametrize("density", [0.02, 0.11, 0.5, 0.97, 1.0])
def test_numbers_per_layer_amount_to_the_total(allocation, density):
    shapes = [(7, 9), (5, 7), (5, 5), (3, 5), (2, 3, 3, 3)]
    counts = layer_counts(shapes, density, allocation)
    assert sum(counts) == round(density * 192)
    assert all(0 <= c <= math.prod(s) for c, s in zip(counts, shapes, strict=True))


def test_one_ranking_or_one_per_matrix():
    scores = [torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[0.1, 0.2, 0.3, 0.4]])]
    expected = {"global": [4, 0], "layer": [2, 2], "erk": [2, 2]}
    for allocation, counts in expected.items():
        budget = Budget([s.shape for s in scores], 0.5, allocation)
        masks = budget.select(scores, budget.final)
        assert [int(mask.sum()) for mask in masks] == counts
    assert masks[0].tolist() == masks[1].tolist() == [[False, False, True, True]]
