"""Regularisers against their definitions, brute force, and hand-computed numbers."""

import math

import pytest
import torch

from regularizer_cases import CASES, LARGE, NAMES
from snnbreg.optim import REGULARIZERS, elastic_net, register_groups
from snnbreg.optim.regularizers import FAMILIES, get_regularizer, prox, subgradient

EVERY = pytest.mark.parametrize("case", CASES, ids=NAMES)


def points(case, count, seed=0, zeros=False):
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    if zeros:  # some points have zero entries, some zero groups
        found *= torch.rand(count, 6, generator=generator) < 0.7
        for i, group in enumerate(case.groups):
            found[i :: len(case.groups) + 1, list(group)] = 0
    return found.abs() if case.name == "l1_nonneg" else found


def brute_force(objective, start):
    """The minimiser of a strongly convex function of six numbers, by ever finer random steps."""
    generator = torch.Generator().manual_seed(0)
    best, step = start, 1.0
    lowest = objective(best[None]).item()
    while step > 1e-4:
        trials = best + step * torch.randn(200, 6, generator=generator, dtype=torch.float64)
        trials[::3] = torch.where(trials[::3].abs() < step / 2, 0.0, trials[::3])
        trials[1::3] = trials[1::3].abs()  # at the edge of a constraint, most steps are outside
        values = objective(trials)
        index = values.argmin()
        if values[index] < lowest:
            best, lowest = trials[index], values[index].item()
        else:
            step *= 0.85
    return best


def test_every_name_is_tested():
    kinds = {name.removeprefix("l1+").partition(":")[0] for name in NAMES}
    assert kinds == {*REGULARIZERS, *FAMILIES}
    assert kinds == {name.removeprefix("l1+").partition(":")[0] for name in LARGE}


@EVERY
def test_value_is_the_definition(case):
    numbers = points(case, 30, zeros=True)
    found = [case.functional().value(case.shaped(x)) for x in numbers]
    torch.testing.assert_close(torch.stack(found), case.oracle(numbers))


@EVERY
def test_value_is_positively_homogeneous(case):
    """Without this, prox_{delta lam J}(delta v) would not be delta prox_{lam J}(v)."""
    functional = case.functional()
    for x in points(case, 5, zeros=True):
        scaled, value = functional.value(case.shaped(3.7 * x)), functional.value(case.shaped(x))
        torch.testing.assert_close(scaled, 3.7 * value, atol=1e-13, rtol=1e-13)
        moved = functional.prox(case.shaped(3.7 * x), 3.7 * 0.2)
        expected = 3.7 * functional.prox(case.shaped(x), 0.2)
        torch.testing.assert_close(moved, expected, atol=1e-13, rtol=1e-13)


@EVERY
@pytest.mark.parametrize("delta", [1.0, 0.4])
def test_prox_is_the_minimiser_that_brute_force_finds(case, delta):
    """Of lam J(theta) + ||theta||^2 / (2 delta) - <v, theta>."""
    for seed, lam in enumerate((0.1, 0.5)):
        v = 1.5 * torch.randn(6, generator=torch.Generator().manual_seed(seed)).double()

        def objective(trials, v=v, lam=lam):
            squares = trials.square().sum(1) / (2 * delta)
            return lam * case.oracle(trials) + squares - trials @ v

        found = delta * case.functional().prox(case.shaped(v), lam).flatten()
        start = found.new_zeros(6)
        torch.testing.assert_close(found, brute_force(objective, start), atol=2e-3, rtol=0)
        # and exactly: no direction leads lower, from a long way off to the last digits
        tries = torch.randn(600, 6, generator=torch.Generator().manual_seed(1)).double()
        tries = found + tries * torch.logspace(-6, 0, 600, dtype=torch.float64)[:, None]
        assert (objective(tries) >= objective(found[None]) - 1e-14).all()


@pytest.mark.parametrize("case", [case for case in CASES if case.groups], ids=lambda c: c.name)
def test_prox_zeroes_whole_groups(case):
    """Of numbers that are all equal, so that only the size of a group could matter; it does not."""
    for lam, zero in ((0.9, False), (1.1, True)):
        level = 2.0 if case.name.startswith("l1+") else 1.0
        theta = case.functional().prox(case.shaped(torch.full((6,), level)), lam)
        assert ((theta == 0).all() if zero else (theta > 0).all()).item()
    v = torch.ones(6)
    v[list(case.groups[0])] = 10.0
    theta = case.functional().prox(case.shaped(v), 1.1).flatten()
    assert (theta != 0).nonzero().flatten().tolist() == sorted(case.groups[0])


@EVERY
def test_only_the_nuclear_norm_makes_no_zeros(case):
    """It lowers the rank instead; masks, counts and densities have nothing to see there."""
    v = torch.tensor([3.0, 3.1, 3.2, 3.3, 3.4, 3.5])
    v[list(case.groups[0] if case.groups else [1])] *= 0.01
    theta = case.functional().prox(case.shaped(v), 0.9)
    assert case.functional().makes_zeros == (case.name != "nuclear")
    if case.name != "none":
        assert case.functional().makes_zeros == (0 < torch.count_nonzero(theta).item() < 6)
    if case.name == "nuclear":
        assert torch.linalg.matrix_rank(case.shaped(v)) == 2
        v = torch.ones(2, 3) + 0.1 * case.shaped(v)  # of rank 2, and nearly of rank 1
        assert torch.linalg.matrix_rank(case.functional().prox(v, 0.9)) == 1


@EVERY
@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_zero_stays_zero(case, lam):
    zero, functional = case.shaped(torch.zeros(6)), case.functional()
    assert torch.equal(functional.prox(zero, lam), zero)
    assert torch.equal(functional.subgradient(zero), zero)
    assert functional.value(zero).item() == 0


@EVERY
def test_subgradient_inequality(case):
    others = points(case, 200, seed=1)
    for theta in points(case, 10, zeros=True):
        p = case.functional().subgradient(case.shaped(theta)).flatten()
        linear = case.oracle(theta[None]) + (others - theta) @ p
        assert (case.oracle(others) >= linear - 1e-12).all()
        if case.name != "nuclear":  # the subgradient of least norm
            assert (p[theta == 0] == 0).all()


@EVERY
@pytest.mark.parametrize("delta", [1.0, 2.0])
def test_prox_inverts_the_dual_variable(case, delta):
    functional = case.functional()
    for numbers in points(case, 10, zeros=True):
        theta = case.shaped(numbers)
        v = theta / delta + 3.0 * functional.subgradient(theta)
        torch.testing.assert_close(delta * functional.prox(v, 3.0), theta, atol=1e-14, rtol=1e-14)


@EVERY
def test_couplings_and_masks_follow_the_groups(case):
    functional = case.functional()
    groups = case.groups or [(i,) for i in range(6)]
    if case.name == "nuclear":
        groups = [tuple(range(6))]
    for group in groups:
        changed = torch.zeros(6, dtype=torch.bool)
        changed[group[0]] = True
        coupled = functional.coupled or (lambda entries: entries)  # None: every entry alone
        assert coupled(case.shaped(changed)).flatten().nonzero().flatten().tolist() == list(group)
    drawn = []

    def choose(counts):
        drawn.append(torch.arange(math.prod(counts)).view(*counts))
        return drawn[0]

    shape = case.shaped(torch.zeros(6)).shape
    numbers = functional.draw(shape, choose)
    assert drawn[0].numel() == (2 if case.name == "nuclear" else len(groups))
    if case.name != "nuclear":
        numbers = numbers.expand(shape).flatten()
        assert all(len(numbers[list(group)].unique()) == 1 for group in groups)
        assert len(numbers.unique()) == len(groups)


def test_rows_and_columns_by_hand():
    v = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    torch.testing.assert_close(
        prox("l1+group_rows", v, lam=1.0),  # [2, 3] of norm 13^.5, less 2^.5; [0, 0]
        torch.tensor([[2.0, 3.0], [0.0, 0.0]]) * (1 - (2 / 13) ** 0.5),
    )
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8]]) * 2**0.5
    torch.testing.assert_close(subgradient("group_rows", v), expected)
    assert elastic_net("group_columns", v, lam=2.0, delta=4.0).item() == pytest.approx(
        2 * 2**0.5 * (9.09**0.5 + 16.16**0.5) + 25.25 / 8
    )


def test_nuclear_norm_by_hand():
    v = torch.tensor([[3.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    torch.testing.assert_close(prox("nuclear", v, 2.0), torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(subgradient("nuclear", v), torch.tensor([[1.0, 0, 0], [0, -1, 0]]))
    assert elastic_net("nuclear", v).item() == pytest.approx(4.0)


def test_the_nuclear_norm_takes_rounding_for_zero_and_survives_divergence():
    torch.manual_seed(0)
    low = (torch.randn(9, 2).double() @ torch.randn(2, 7).double()).float().double()
    assert torch.linalg.matrix_rank(subgradient("nuclear", low), tol=1e-3) == 2
    assert prox("nuclear", torch.tensor([[math.inf, 1.0]]), 0.1).isnan().all()


def test_nonnegative_l1_refuses_negative_weights():
    theta = torch.tensor([-1.0, 2.0])
    assert elastic_net("l1_nonneg", theta).item() == math.inf
    assert torch.equal(prox("l1_nonneg", theta, lam=0.0), torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize("name", ["l2", "l1+nuclear", "l1+", "group_rows:2", "group_blocks"])
def test_unknown_name_lists_the_valid_ones(name):
    expected = r"none, l1, l1_nonneg, nuclear, group_rows, .*blocks:4x4, .*neurons:in\+out, l1\+"
    with pytest.raises(ValueError, match=f".*Valid regularizers are {expected}"):
        get_regularizer(name)


@pytest.mark.parametrize(
    ("name", "shapes", "message"),
    [
        ("group_blocks:4x", [(4, 4)], "sides of a block as in 4x4"),
        ("group_blocks:0x4", [(4, 4)], "sides of a block as in 4x4"),
        ("group_blocks:4x4", [(4, 4, 4)], "needs a parameter of 2 dimensions"),
        ("nuclear", [(4, 4), (4,)], r"needs a parameter of 2 dimensions, not one of shape \(4,\)"),
        ("group_labels:nobody", [(2, 3)], r"call snnbreg.optim.register_groups\('nobody', labels"),
        ("group_labels:by_hand", [(3, 2)], r"its labels' shape \(2, 3\), not one of shape \(3, 2"),
        ("group_labels:real", [(2, 3)], "labels that are integers"),
        ("group_neurons:in+between", [(2, 3)], "a matrix that leads from a layer to itself"),
        ("group_neurons:in+out", [(2, 3)], "is for 2 parameters, but the group has 1"),
        ("group_neurons:in+out", [(2, 3), (2, 3)], r"columns .* has in \(2, 3\), out \(2, 3\)"),
        ("group_neurons:in+out", [(2, 3), (2,)], r"columns .* has in \(2, 3\), out \(2,\)"),
        ("group_neurons:in+out", [(1, 3), (1,)], r"columns .* has in \(1, 3\), out \(1,\)"),
    ],
)
def test_what_a_name_does_not_fit_is_said(name, shapes, message):
    register_groups("real", torch.zeros(2, 3))
    with pytest.raises(ValueError, match=message):
        get_regularizer(name, *shapes)


def test_groups_that_are_registered_again_replace_the_first():
    v = torch.tensor([3.0, 0.5, 0.5])
    for labels, alone in (([0, 0, 1], 2), ([0, 1, 0], 1)):
        register_groups("again", torch.tensor(labels))
        theta = prox("group_labels:again", v, 1.0)
        assert (theta == 0).nonzero().flatten().tolist() == [alone]


def test_a_name_of_groups_may_have_a_colon():
    register_groups("net:first", torch.tensor([0, 0, 1]))
    theta = prox("group_labels:net:first", torch.tensor([3.0, 0.5, 0.5]), 1.0)
    assert (theta == 0).tolist() == [False, False, True]


def test_neurons_of_a_single_parameter_are_its_rows():
    v = points(CASES[0], 1).view(2, 3)
    joint = get_regularizer("group_neurons:in", v.shape).joint([v.shape])
    torch.testing.assert_close(joint.prox(v.flatten(), 0.3).view(2, 3), prox("group_rows", v, 0.3))


def test_group_regularizer_refuses_a_bias():
    with pytest.raises(ValueError, match=r"'group_rows' needs a parameter of 2 dimensions.*\(5,\)"):
        prox("group_rows", torch.zeros(5), 1.0)
    for function in (subgradient, elastic_net):
        with pytest.raises(ValueError, match="'group_rows' needs a parameter of 2 dimensions"):
            function("group_rows", torch.zeros(5))


def test_a_regulariser_that_couples_parameters_takes_no_single_one():
    v, coupling = torch.zeros(2, 3), get_regularizer("group_neurons:in+out")
    for function, arguments in (
        (coupling.value, (v,)), (coupling.subgradient, (v,)), (coupling.prox, (v, 1.0)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="couples the parameters of its group"):
            function(*arguments)
    with pytest.raises(ValueError, match="is for 2 parameters"):
        prox("group_neurons:in+out", v, 1.0)
