"""The controller of lambda: it reaches a density, and leaves alone what it says it leaves alone."""

import io

import pytest
import torch

from snnbreg.optim import AdaBreg, LinBreg, ProxAdam, ProxSGD
from snnbreg.schedulers import make_scheduler

EPOCHS, BATCHES = 30, 8


def problem(start, method=AdaBreg, **settings):
    """Regression with 40 true weights of 200; returns weight, optimizer, controller, a batch."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(200)
    truth[:40] = torch.randn(40, generator=generator)
    inputs = torch.randn(400, 200, generator=generator)
    targets = inputs @ truth + 0.1 * torch.randn(400, generator=generator)
    weight = torch.randn(200, generator=generator) * 0.1
    weight[torch.rand(200, generator=generator) >= start] = 0
    weight = torch.nn.Parameter(weight)
    bias = torch.nn.Parameter(torch.zeros(1))
    groups = [{"params": [bias], "regularizer": "none"}, {"params": [weight], "lam": 0.2}]
    optimizer = method(groups, lr=2e-2)
    decay = make_scheduler("cosine", optimizer, EPOCHS, BATCHES)
    controller = make_scheduler("target", optimizer, EPOCHS, BATCHES, field="lam", **settings)

    def epoch(number):
        for batch in range(BATCHES):
            rows = slice(50 * batch, 50 * batch + 50)
            optimizer.zero_grad()
            ((inputs[rows] @ weight + bias - targets[rows]) ** 2).mean().backward()
            optimizer.step()
            controller.step_batch()
        decay.step_epoch()
        controller.step_epoch(0.0)

    epoch.decay = decay
    return weight, optimizer, controller, epoch


def density(weight):
    return float((weight != 0).double().mean())


@pytest.mark.parametrize("method", [AdaBreg, LinBreg])
@pytest.mark.parametrize("start", [1.0, 0.05])
@pytest.mark.parametrize("target", [0.1, 0.3])
def test_the_target_is_reached_from_a_dense_and_from_a_sparse_start(method, start, target):
    weight, optimizer, _, epoch = problem(start, method, density=target)
    for number in range(EPOCHS):
        epoch(number)
    assert density(weight) == target  # 20 or 60 of 200
    assert optimizer.param_groups[0]["lam"] == optimizer.defaults["lam"]


@pytest.mark.parametrize(("keep", "start"), [("dual", 1.0), ("weights", 0.05)])
def test_from_cool_down_on_every_epoch_ends_at_the_target(keep, start):
    weight, optimizer, _, epoch = problem(start, cool_down=0.5, keep=keep, density=0.3, highest=1e3)
    seen = []
    for number in range(EPOCHS):
        epoch(number)
        seen.append(density(weight))
        lam, dual = optimizer.param_groups[1]["lam"], optimizer.dual(weight)
        soft = dual.sign() * (dual.abs() - lam).clamp(min=0)
        torch.testing.assert_close(weight.detach().double(), soft, atol=1e-6, rtol=1e-5)
    assert seen[14:] == [0.3] * 16
    assert len(set(seen[:14])) > 5


@pytest.mark.parametrize("method", [ProxSGD, ProxAdam])
@pytest.mark.parametrize("start", [1.0, 0.05])
@pytest.mark.parametrize("target", [0.1, 0.3])
def test_proximal_methods_reach_the_target_by_the_price(method, start, target):
    weight, optimizer, _, epoch = problem(start, method, density=target)
    seen = []
    for number in range(EPOCHS):
        epoch(number)
        seen.append(density(weight))
    assert seen[-1] == target
    assert max(seen[-3:]) <= target
    assert optimizer.param_groups[0]["lam"] == optimizer.defaults["lam"]


def test_a_price_on_its_way_follows_the_density_that_the_next_epoch_will_have():
    """With pace 1e9 the target, 0.5, is wanted at once: 0.525 with what there is to spare.

    10 of 10 weights; 8, on the way down: 6.4 are expected; 2, too few and falling: a factor of
    1 / step; 2; 4, on the way up: 8 are expected; 7.
    """
    weight = torch.nn.Parameter(torch.ones(10))
    optimizer = ProxSGD([weight], lam=1e-4)
    settings = {"density": 0.5, "warm_up": 0, "step": 9.0, "pace": 1e9}
    controller = make_scheduler("target", optimizer, 20, 1, field="lam", **settings)
    lam = 1e-4
    falling = 0.525 / 9
    for nonzero, expected in ((10, 1.0), (8, 0.64), (2, falling), (2, 0.2), (4, 0.8), (7, 0.7)):
        weight.data = (torch.arange(10) < nonzero).float()
        state = controller.state_dict()
        controller.load_state_dict(state)  # forgets nothing
        controller.step_epoch()
        lam *= expected / 0.525
        assert optimizer.param_groups[0]["lam"] == pytest.approx(lam)


@pytest.mark.parametrize(
    ("before", "shrunk", "times"), [(10, True, 1), (8, False, 1), (10, True, 2)]
)
def test_a_price_does_not_let_all_weights_vanish_at_once(before, shrunk, times):
    """8 of 10 weights are left; after 4 steps of lr lam = 0.1 factor five are to be, the largest.

    So the third smallest, 0.2, may be shrunk by 0.2 / 4 in a step, or by 0.2 / 2 if the controller
    acts again after two. If the density does not fall, gradients hold on to the weights, and the
    price rises as the discrepancy says.
    """
    weight = torch.nn.Parameter(torch.ones(10))
    optimizer = ProxSGD([weight], lr=0.5, lam=0.2)
    settings = {"density": 0.5, "warm_up": 0, "step": 9.0, "pace": 1e9, "times": times}
    controller = make_scheduler("target", optimizer, 20, 4, field="lam", **settings)
    controller.before = before / 10
    weight.data = torch.tensor([0.0, -0.1, 0.8, -0.2, 0.15, 0.9, 0.7, 0.0, 0.6, -0.5])
    controller.step_epoch()
    lam = 0.2 / (4 / times) / 0.5 if shrunk else 0.2 * 0.8 / 0.525
    assert optimizer.param_groups[0]["lam"] == pytest.approx(lam)


@pytest.mark.parametrize("nonzero", [8, 4])
def test_the_first_density_says_nothing_of_the_next(nonzero):
    weight = torch.nn.Parameter((torch.arange(10) < nonzero).float())
    optimizer = ProxSGD([weight], lam=1e-4)
    settings = {"density": 0.5, "warm_up": 0, "step": 9.0, "pace": 1e9}
    make_scheduler("target", optimizer, 20, 1, field="lam", **settings).step_epoch()
    assert optimizer.param_groups[0]["lam"] == pytest.approx(1e-5 * nonzero / 0.525)


def test_a_regulariser_that_is_gone_is_left_alone():
    weight, optimizer, controller, epoch = problem(1.0, density=0.1)
    for number in range(10):
        epoch(number)
    optimizer.param_groups[1].update(regularizer="none", lam=0.0)
    before = weight.detach().clone()
    controller.step_epoch()
    assert torch.equal(weight, before)
    assert optimizer.param_groups[1]["lam"] == 0


def test_an_older_run_goes_on_as_it_began():
    _, _, controller, _ = problem(1.0)
    state = controller.state_dict()
    assert state.pop("exact")
    controller.before = state.pop("before") + 0.5
    controller.load_state_dict(state)
    assert controller.exact is False
    assert controller.before == 0.0


def test_several_times_in_an_epoch():
    """Of 8 batches three times: after 3, 6 and 8; the way to the target has as many stations."""
    weight, optimizer, controller, epoch = problem(1.0, density=0.1, warm_up=0.1, times=3)
    group, changes, lams = optimizer.param_groups[1], [], []
    step = controller.step_batch

    def watched():
        step()
        lams.append(group["lam"])

    controller.step_batch = watched
    for number in range(EPOCHS):
        lams[:] = [group["lam"]]
        epoch(number)
        lams.append(group["lam"])
        changes.append([k for k in range(1, 10) if lams[k] != lams[k - 1]])
        if number == 10:
            done = (3 * 11 - 9 + 1) / (81 - 9)  # from the ninth turn on, to the 81st of 90
            wanted = 0.1 * (controller.start / 0.1) ** (torch.e ** (-4.0 * done))
            assert density(weight) == pytest.approx(wanted, abs=1 / 200)
            saved = controller.state_dict()
    assert changes[:3] == [[], [], [9]]  # warm-up: nine turns
    assert changes[3:20] == [[3, 6, 9]] * 17
    assert density(weight) == 0.1
    assert saved["turn"] == 33
    controller.load_state_dict(saved)
    assert controller.turn == 33
    older = {key: value for key, value in saved.items() if key != "turn"} | {"epoch": 11}
    controller.load_state_dict(older)
    assert controller.turn == 33


def test_an_epoch_whose_batches_nobody_counted_is_an_epoch():
    controller = problem(1.0, times=3)[2]
    controller.step_epoch()
    controller.step_epoch()
    assert controller.turn == 6


def test_not_more_often_than_there_are_batches():
    controller = problem(1.0, times=50)[2]
    assert controller.times == BATCHES


def test_without_the_controller_the_density_is_another_one():
    for start in (1.0, 0.05):
        weight, _, _, epoch = problem(start, density=0.1, warm_up=1.0, cool_down=1.0, exact=False)
        for number in range(EPOCHS):
            epoch(number)
        assert abs(density(weight) - 0.1) > 0.05


def test_weights_and_subgradients_stay_where_the_rule_says_so():
    weight, optimizer, controller, epoch = problem(1.0, keep="weights", warm_up=0.0)
    for number in range(5):
        epoch(number)
    theta, lam = weight.detach().clone(), optimizer.param_groups[1]["lam"]
    p = (optimizer.dual(weight) - theta) / lam
    controller.step_epoch()
    changed = optimizer.param_groups[1]["lam"]
    assert changed == 2 * lam  # far above the target: the largest factor
    assert torch.equal(weight, theta)
    torch.testing.assert_close((optimizer.dual(weight) - theta) / changed, p, atol=1e-6, rtol=0)


def test_the_dual_stays_where_the_rule_says_so():
    weight, optimizer, controller, epoch = problem(1.0, keep="dual", warm_up=0.0)
    for number in range(5):
        epoch(number)
    before, dual = controller.start, optimizer.dual(weight)
    controller.step_epoch()
    lam = optimizer.param_groups[1]["lam"]
    assert torch.equal(optimizer.dual(weight), dual)
    soft = dual.sign() * (dual.abs() - lam).clamp(min=0)
    torch.testing.assert_close(weight.detach().double(), soft, atol=1e-6, rtol=1e-5)
    wanted = 0.1 * (before / 0.1) ** (torch.e ** (-4.0 * 6 / 26))  # of epochs 1 to 26, the sixth
    assert density(weight) == pytest.approx(wanted, abs=1 / 200)


@pytest.mark.parametrize("keep", ["dual", "weights"])
def test_lambda_rises_above_the_target_and_falls_below(keep):
    for start, rises in ((1.0, True), (0.05, False)):
        _, optimizer, _, epoch = problem(start, keep=keep, density=0.3, warm_up=0.0)
        epoch(0)
        assert (optimizer.param_groups[1]["lam"] > 0.2) == rises


def of_two_groups(lams, nonzero=10, **settings):
    """Ten weights in two groups, some of them 1 to 10 and the others 0; and a controller."""
    weights = torch.arange(1.0, 11.0) * (torch.arange(10) < nonzero)
    params = [torch.nn.Parameter(part) for part in weights.split([4, 6])]
    groups = [{"params": [p], "lam": lam} for p, lam in zip(params, lams, strict=True)]
    optimizer = AdaBreg(groups)
    controller = make_scheduler("target", optimizer, 11, 1, field="lam", warm_up=0, **settings)

    def step():
        controller.step_epoch()
        return [group["lam"] for group in optimizer.param_groups]

    return optimizer, step


@pytest.mark.parametrize(
    ("nonzero", "settings", "factor"),
    [
        (8, {"step": 9.0}, 2.0),
        (8, {"gain": 2.0, "step": 9.0}, 4.0),
        (8, {"gain": 2.0, "step": 3.0}, 3.0),
        (4, {"step": 9.0}, 1.0),
        (2, {"gain": 0.5}, 0.5**0.5),
        (2, {"gain": 3.0, "step": 5.0}, 0.2),
        (0, {"step": 4.0}, 0.25),
    ],
)
def test_the_discrepancy_makes_the_factor_and_groups_keep_their_proportions(
    nonzero, settings, factor
):
    _, step = of_two_groups([0.2, 0.6], nonzero, keep="weights", density=0.4, **settings)
    assert step() == pytest.approx([0.2 * factor, 0.6 * factor])


@pytest.mark.parametrize(("nonzero", "end"), [(10, [0.3, 0.3]), (0, [0.01, 0.01])])
def test_lambda_stays_between_lowest_and_highest(nonzero, end):
    bounds = {"lowest": 0.01, "highest": 0.3}
    bounds["exact"] = False
    _, step = of_two_groups([0.05, 0.1], nonzero, keep="weights", density=0.5, **bounds)
    assert [step() for _ in range(10)][-1] == end


@pytest.mark.parametrize("keep", ["weights", "dual"])
def test_a_group_at_lambda_zero_starts_at_the_lowest(keep):
    _, step = of_two_groups([0.0, 0.5], 10, keep=keep, density=0.5, lowest=0.01)
    first, second = step()
    assert first > 0.01
    assert second / first == pytest.approx(50)


def test_the_factor_of_the_dual_is_the_one_that_ranks_all_groups_together():
    """A weight lives while |v| > factor lam, so the factor is one of the values |v| / lam."""
    optimizer, step = of_two_groups([0.2, 0.6], density=0.2, pace=1e9)  # at once to two weights
    params = [group["params"][0] for group in optimizer.param_groups]
    ratios = [optimizer.dual(p) / lam for p, lam in zip(params, (0.2, 0.6), strict=True)]
    factor = torch.cat(ratios).sort(descending=True).values[2].item()
    assert step() == pytest.approx([0.2 * factor, 0.6 * factor])
    assert sum(int((p != 0).sum()) for p in params) == 2


def test_from_cool_down_on_the_target_is_wanted_whatever_the_pace():
    optimizer, step = of_two_groups([0.2, 0.6], density=0.2, pace=0.1, cool_down=0.0)
    step()
    assert sum(int((g["params"][0] != 0).sum()) for g in optimizer.param_groups) == 2


def test_warm_up_and_cool_down_leave_lambda_alone():
    _, optimizer, _, epoch = problem(1.0, warm_up=0.2, cool_down=0.5, exact=False)
    lams = []
    for number in range(EPOCHS):
        lams.append(optimizer.param_groups[1]["lam"])  # of this epoch
        epoch(number)
    assert lams[:6] == [0.2] * 6
    assert len(set(lams[5:15])) == 10  # after epochs 6 to 14
    assert len({*lams[14:], optimizer.param_groups[1]["lam"]}) == 1


@pytest.mark.parametrize("keep", ["dual", "weights"])
def test_a_resumed_run_is_the_same_bit_for_bit(keep):
    weight, optimizer, controller, epoch = problem(1.0, keep=keep)
    for number in range(10):
        epoch(number)
    file = io.BytesIO()
    torch.save(
        [
            optimizer.state_dict(),
            controller.state_dict(),
            weight.detach(),
            epoch.decay.state_dict(),
        ],
        file,
    )
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, resumed, second, again = problem(0.5, keep=keep)
    other.data.copy_(saved[2])
    resumed.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    again.decay.load_state_dict(saved[3])
    resumed.param_groups[0]["params"][0].data.copy_(optimizer.param_groups[0]["params"][0])
    for number in range(10, EPOCHS):
        epoch(number)
        again(number)
        assert torch.equal(weight, other)
        assert controller.state_dict() == second.state_dict()


def test_the_state_brings_its_lambdas_along():
    optimizer, step = of_two_groups([0.2, 0.6], keep="weights", density=0.5)
    other, _ = of_two_groups([0.9, 0.9])
    controllers = [make_scheduler("target", o, 5, 2, field="lam") for o in (optimizer, other)]
    step()
    controllers[1].load_state_dict(controllers[0].state_dict())
    assert [group["lam"] for group in other.param_groups] == [0.4, 1.2]


@pytest.mark.parametrize(("start", "end"), [(0.01, 30.0), (90.0, 0.1)])
def test_lambda_is_sought_in_its_whole_range(start, end):
    weight = torch.nn.Parameter(torch.tensor([2 * end, end]))
    optimizer = LinBreg([weight], lam=0.0)  # here v = theta, and so it stays
    optimizer.set_lam(start, keep="dual")
    settings = {"density": 0.5, "warm_up": 0, "pace": 1e9}
    make_scheduler("target", optimizer, 11, 1, field="lam", **settings).step_epoch()
    assert optimizer.param_groups[0]["lam"] == pytest.approx(end)
    assert weight.tolist() == [pytest.approx(end), 0.0]
