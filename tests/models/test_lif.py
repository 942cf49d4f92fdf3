import pytest
import torch

from snnbreg import functional
from snnbreg.models import LIF, LeakyIntegrator


def test_passes_every_setting_on():
    settings = {
        "tau": 3.0,
        "threshold": 0.7,
        "reset": "hard",
        "detach_reset": True,
        "surrogate": "atan",
        "alpha": 2.0,
    }
    torch.manual_seed(0)
    a, b = (c.requires_grad_() for c in torch.rand(15, 2, 4).expand(2, -1, -1, -1).clone())
    ours, expected = LIF(**settings)(a), functional.lif(b, functional.lif_parameters(**settings))
    assert torch.equal(ours, expected)
    for spikes in (ours, expected):
        (spikes * torch.arange(15.0)[:, None, None]).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_a_surrogate_of_snntorch_trains():
    torch.manual_seed(0)
    current = torch.rand(10, 2, 3, requires_grad=True)
    LIF(surrogate="snntorch:fast_sigmoid")(current).sum().backward()
    assert current.grad.abs().sum() > 0


def test_leaky_integrator_takes_its_leak_from_tau():
    impulse = torch.zeros(4, 1, 1)
    impulse[0] = 1.0
    assert LeakyIntegrator(tau=4.0)(impulse).flatten().tolist() == [1, 0.75, 0.75**2, 0.75**3]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LIF(tau=0.0), "tau=0.0"),
        (lambda: LIF(reset="none"), "reset='none' is unknown"),
        (lambda: LIF(surrogate="relu"), "surrogate='relu' is unknown: .*snntorch:atan"),
        (lambda: LIF(engine="cuda"), "engine='cuda' is unknown"),
        (lambda: LeakyIntegrator(tau=0.9), "tau=0.9"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
