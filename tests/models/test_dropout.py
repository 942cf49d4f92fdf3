import pytest
import torch

from snnbreg.models import HeldDropout


def test_one_mask_per_sample_and_neuron_held_over_time_and_scaled():
    torch.manual_seed(0)
    out = HeldDropout(0.2)(torch.ones(5, 60, 50, dtype=torch.float64))
    assert out.dtype == torch.float64
    assert (out == out[0]).all()
    assert set(out.unique().tolist()) == {0.0, 1.25}
    kept = out[0] > 0
    assert kept.double().mean().item() == pytest.approx(0.8, abs=0.03)
    assert not (kept == kept[0]).all()  # differs between samples
    assert not (kept == kept[:, :1]).all()  # and between neurons


def test_each_call_draws_anew_and_the_seed_decides():
    x = torch.ones(2, 8, 8)
    dropout = HeldDropout(0.5)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)


def test_does_nothing_in_evaluation_or_at_zero():
    x = torch.randn(2, 3, 4)
    assert HeldDropout(0.5).eval()(x) is x
    assert HeldDropout(0.0)(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_probabilities_out_of_range_are_refused(p):
    with pytest.raises(ValueError, match=f"dropout={p} must be"):
        HeldDropout(p)
