"""The settings of the controller of lambda: what they are without being named, and their limits."""

import pytest
import torch

from snnbreg.optim import AdaBreg, ProxSGD
from snnbreg.schedulers import make_scheduler


@pytest.mark.parametrize(("method", "lowest"), [(AdaBreg, 1e-3), (ProxSGD, 1e-6)])
def test_a_price_may_be_lower_than_a_threshold_of_dual_variables(method, lowest):
    weight = torch.nn.Parameter(torch.zeros(10))
    controller = make_scheduler("target", method([weight], lam=1e-2), 60, 1, field="lam")
    for _ in range(50):
        controller.step_epoch()
    assert controller.optimizer.param_groups[0]["lam"] == pytest.approx(lowest)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"density": 0}, "Invalid density"), ({"density": 1.1}, "Invalid density"),
        ({"gain": 0}, "Invalid gain"), ({"warm_up": -0.1}, "Invalid warm_up"),
        ({"warm_up": 1.1}, "Invalid warm_up"),
        ({"cool_down": 1.1}, "Invalid cool_down"), ({"keep": "p"}, "Invalid keep"),
        ({"lowest": 5.0, "highest": 5.0}, "Invalid lowest"), ({"lowest": 0.0}, "Invalid lowest"),
        ({"warm_up": 0.8, "cool_down": 0.2}, "Invalid cool_down"),
        ({"step": 1.0}, "Invalid step"), ({"pace": 0}, "Invalid pace"),
        ({"times": 0}, "Invalid times"), ({"times": 1.5}, "Invalid times"),
        ({"field": "lr"}, "target scheduler changes lam only"), ({"wish": 1}, "wish"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(settings, message):
    optimizer = AdaBreg([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match=message):
        make_scheduler("target", optimizer, 5, 2, **{"field": "lam", **settings})


def test_without_settings():
    optimizer = AdaBreg([torch.nn.Parameter(torch.ones(3))])
    controller = make_scheduler("target", optimizer, 25, 2, field="lam")
    expected = {
        "target": 0.1, "keep": "dual", "pace": 4.0, "gain": 1.0, "largest": 2.0, "lowest": 1e-3,
        "highest": 100.0, "exact": True, "first": 3, "end": 23, "turn": 0, "times": 1, "epochs": 25,
        "steps_per_epoch": 2, "per": "epoch", "schedules": [],
    }  # fmt: skip
    assert {key: getattr(controller, key) for key in expected} == expected


def test_the_limits_of_the_settings_are_allowed():
    optimizer = AdaBreg([torch.nn.Parameter(torch.ones(3))])
    settings = {"density": 1.0, "warm_up": 0.0, "cool_down": 1.0}
    controller = make_scheduler("target", optimizer, 5, 2, field="lam", **settings)
    assert (controller.first, controller.end) == (1, 5)
    make_scheduler("target", optimizer, 5, 2, field="lam", warm_up=1.0, cool_down=1.0)
    make_scheduler("target", optimizer, 5, 2, field="lam", gain=0.1, pace=0.1, step=1.1)


def test_an_optimizer_without_regularised_weights_is_refused():
    for optimizer in (
        torch.optim.Adam([torch.nn.Parameter(torch.ones(3))]),
        AdaBreg([torch.nn.Parameter(torch.ones(3))], regularizer="none"),
    ):
        with pytest.raises(ValueError, match="needs a Bregman optimizer"):
            make_scheduler("target", optimizer, 5, 2, field="lam")


def test_the_state_of_another_scheduler_is_refused():
    optimizer = AdaBreg([torch.nn.Parameter(torch.ones(3))])
    controller = make_scheduler("target", optimizer, 5, 2, field="lam")
    with pytest.raises(ValueError, match="belongs to another scheduler"):
        controller.load_state_dict(make_scheduler("none", optimizer, 5, 2).state_dict())
