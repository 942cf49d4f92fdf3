import pytest
import torch
from torch import nn

from snnbreg.models import LIF, DelayedLinear
from snnbreg.models.dropout import HeldDropout
from snnbreg.models.layers import SpikingLayer
from snnbreg.models.linear import Linear


def layer(linear=None, norm=None, dropout_on="current", engine="auto"):
    torch.manual_seed(0)
    linear = linear or Linear(20, 12, engine=engine)
    norm = norm or nn.Identity()
    return SpikingLayer(linear, LIF(tau=1.5, threshold=0.5), norm, HeldDropout(0.5), dropout_on)


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("kind", ["linear", "batch norm", "delayed", "on spikes"])
def test_dropout_masks_the_current_or_the_spikes(kind, engine):
    """The mask is drawn alike wherever it is applied."""
    chosen = layer(
        DelayedLinear(20, 12, sigma=1.0) if kind == "delayed" else None,
        nn.BatchNorm1d(12) if kind == "batch norm" else None,
        "spikes" if kind == "on spikes" else "current",
        engine,
    )
    events = (torch.rand(30, 6, 20) < 0.2).float()
    torch.manual_seed(1)
    out = chosen(events)
    torch.manual_seed(1)
    mask = 2 * torch.empty(6, 12).bernoulli_(0.5)
    current = chosen.linear(events)
    current = chosen.norm(current.flatten(0, 1)).unflatten(0, (30, 6))
    if kind == "on spikes":
        expected = chosen.neuron(current) * mask
    else:
        expected = chosen.neuron(current * mask)
    assert torch.equal(out, expected)
    assert out.any()
    assert not out[:, mask == 0].any()


def test_a_linear_layer_is_torchs_over_time():
    torch.manual_seed(0)
    ours = Linear(20, 12)
    torch.manual_seed(0)
    theirs = nn.Linear(20, 12)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    events = torch.rand(5, 3, 20)
    assert torch.equal(ours(events), theirs(events))  # too many events to be listed
    rare = events * (events > 0.9)
    torch.testing.assert_close(ours(rare), theirs(rare))


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine='gpu' is unknown"):
        Linear(3, 2, engine="gpu")
