"""Objectives against their formulas, written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from snnbreg.training import OBJECTIVES


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_against_the_formula(name: str) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(4, 3, 5, dtype=torch.float64)
    labels = torch.tensor([1, 4, 0])
    expected = 0.0
    for b, label in enumerate(labels.tolist()):
        scores = [0.0] * 5
        for t in range(4):
            row = outputs[t, b].tolist()
            if name == "softmax_sum_cross_entropy":
                total = sum(math.exp(x) for x in row)
                row = [math.exp(x) / total for x in row]
            scores = [s + x for s, x in zip(scores, row, strict=True)]
        expected += math.log(sum(math.exp(s) for s in scores)) - scores[label]
    loss, scores_BK = OBJECTIVES[name](outputs, labels)
    assert loss.item() == pytest.approx(expected / 3, abs=1e-12)
    assert scores_BK[2].tolist() == pytest.approx(scores, abs=1e-12)
