"""Sparse initialisation keeps the variance and the shape of the regulariser's groups."""

import pytest
import torch

from regularizer_cases import CASES
from snnbreg.optim import count_nonzero, density, layer_densities, sparsify_


def dense(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_density_and_variance():
    weight = sparsify_(dense(400, 500), 0.1, generator())
    nonzero = weight[weight != 0]
    assert density([weight]) == pytest.approx(0.1, abs=0.005)
    assert nonzero.var().item() == pytest.approx(1 / 0.1, rel=0.03)
    assert weight.var().item() == pytest.approx(1.0, rel=0.03)


def test_kept_weights_are_the_dense_ones_scaled():
    weight, before = dense(30, 20), dense(30, 20)
    sparsify_(weight, 0.25, generator())
    torch.testing.assert_close(weight, torch.where(weight != 0, 2 * before, 0.0))


@pytest.mark.parametrize(
    ("regularizer", "shape", "dims"),
    [
        ("group_rows", (60, 9), (1,)),
        ("group_columns", (9, 60), (0,)),
        ("group_kernels", (8, 7, 3, 3), (2, 3)),
    ],
)
def test_groups_are_kept_or_dropped_as_a_whole(regularizer, shape, dims):
    weight = sparsify_(dense(*shape), 0.4, generator(), regularizer)
    kept = (weight != 0).any(dims)
    assert torch.equal(kept, (weight != 0).all(dims))
    assert 0.2 < kept.double().mean() < 0.6


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in ("none", "nuclear")], ids=lambda c: c.name
)
def test_every_regulariser_keeps_one_group_at_least_and_its_variance(case, exact):
    """At a density that keeps nothing of six numbers; the kept share then is 1 / groups."""
    groups = case.groups or [(i,) for i in range(6)]
    for seed in range(5):
        tensors = [torch.ones(shape) for shape in case.shapes]
        params = tensors if len(tensors) > 1 else tensors[0]
        assert sparsify_(params, 1e-9, generator(seed), case.name, exact) is params
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        assert tuple(flat.nonzero().flatten().tolist()) in [tuple(sorted(g)) for g in groups]
        assert flat.max().item() == pytest.approx(len(groups) ** 0.5)


def test_the_expected_share_counts_the_one_that_is_kept():
    """Of two rows at density 0.3, nothing would remain in half of the cases: 0.3 + 0.7^2 / 2."""
    weights = [sparsify_(torch.ones(2, 3), 0.3, generator(i), "group_rows") for i in range(400)]
    share = 0.3 + 0.7**2 / 2
    assert density(weights) == pytest.approx(share, abs=0.06)
    assert max(weights[0].flatten()).item() == pytest.approx(share**-0.5)


@pytest.mark.parametrize("value", [0.001, 0.1, 0.333, 0.9])
def test_exact_counts_are_met(value):
    assert torch.count_nonzero(sparsify_(dense(50, 40), value, generator(), exact=True)) == round(
        value * 2000
    )


def test_the_nuclear_norm_starts_with_low_rank():
    weight, before = dense(20, 8), dense(20, 8)
    sparsify_(weight, 0.25, generator(), "nuclear", exact=True)
    left = torch.linalg.svdvals(weight)
    assert int((left > 1e-4).sum()) == 2
    assert torch.isclose(left[0], 2 * torch.linalg.svdvals(before), rtol=1e-4).any()
    assert (weight != 0).all()


def test_dense_is_untouched_bit_for_bit_and_draws_nothing():
    weight, source = dense(5, 5), generator()
    assert torch.equal(sparsify_(weight, 1.0, source), dense(5, 5))
    assert torch.equal(source.get_state(), generator().get_state())


@pytest.mark.parametrize("regularizer", ["group_rows", "group_columns", "group_kernels"])
def test_dense_fits_every_shape_and_below_the_shape_matters(regularizer):
    other = (3, 2, 1, 1) if regularizer != "group_kernels" else (3, 2)
    assert torch.equal(sparsify_(dense(*other), 1.0, regularizer=regularizer), dense(*other))
    with pytest.raises(ValueError, match=f"{regularizer}' needs a parameter of"):
        sparsify_(dense(*other), 0.9, regularizer=regularizer)
    with pytest.raises(ValueError, match="Valid regularizers are none"):
        sparsify_(dense(*other), 1.0, regularizer="l3")


def test_the_generator_decides_and_parameters_are_written_in_place():
    param = torch.nn.Parameter(dense(20, 20))
    storage = param.data_ptr()
    sparsify_(param, 0.5, generator())
    assert param.data_ptr() == storage
    assert torch.equal(param, sparsify_(dense(20, 20), 0.5, generator()))
    assert not torch.equal(param, sparsify_(dense(20, 20), 0.5, generator(2)))


def test_without_a_generator_the_global_one_decides():
    torch.manual_seed(1)
    assert torch.equal(sparsify_(dense(20, 20), 0.5), sparsify_(dense(20, 20), 0.5, generator(1)))


@pytest.mark.parametrize("source", [None, torch.Generator()])
def test_the_weights_may_be_elsewhere_than_the_generator(source):
    assert sparsify_(torch.empty(4, 2, device="meta"), 0.5, source).device.type == "meta"


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, float("nan")])
def test_a_density_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=f"Invalid density: {value}"):
        sparsify_(dense(2, 2), value)


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_a_density_of_layers_outside_its_range_is_refused(allocation, value):
    with pytest.raises(ValueError, match=f"Invalid density: {value}"):
        layer_densities([(2, 2)], value, allocation)


def test_an_unknown_allocation_is_refused():
    with pytest.raises(ValueError, match=r"'er'\. Valid allocations are uniform, erk"):
        layer_densities([(2, 2)], 0.5, "er")


@pytest.mark.parametrize(
    ("shapes", "value", "expected"),
    [
        # 2/n for n x n: 0.02 and 0.2, of 10,100 weights 1,010; 1010 / (200 + 20) times those
        ([(100, 100), (10, 10)], 0.1, [1010 / 220 * 0.02, 1010 / 220 * 0.2]),
        # 2020 / 220 * 0.2 > 1: the small one is dense, 1,920 of 10,000 are left
        ([(10, 10), (100, 100)], 0.2, [1.0, 0.192]),
        # one after the other: 104 of 130 weights; (1, 10): 104 / 43 * 1.1 > 1 takes 10, then
        # (2, 10): 94 / 32 * 0.6 > 1 takes 20, and 74 of 100 are left
        ([(10, 10), (2, 10), (1, 10)], 0.8, [0.74, 1.0, 1.0]),
        # (8 + 4 + 3 + 3) / (8 * 4 * 9) = 1/16 and (10 + 40) / 400 = 1/8; 34.4 of 688 weights
        ([(8, 4, 3, 3), (10, 40)], 0.05, [34.4 / 68 / 16, 34.4 / 68 / 8]),
        ([(5, 7), (5, 7), (5, 7)], 0.3, [0.3, 0.3, 0.3]),
        ([(3, 1), (50, 50)], 1.0, [1.0, 1.0]),
    ],
)
def test_erdos_renyi_densities(shapes, value, expected):
    assert layer_densities(shapes, value, "erk") == pytest.approx(expected, rel=1e-12)
    assert layer_densities(shapes, value) == [value] * len(shapes)
    assert value < 1 or layer_densities(shapes, value, "erk") == [1.0] * len(shapes)  # no rounding


def test_erdos_renyi_keeps_the_total_and_no_layer_is_overfull():
    shapes = [(256, 140), (256, 256), (20, 256), (64, 3, 5, 5), (1, 1), (2, 900)]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    for step in range(1, 1000):
        densities = layer_densities(shapes, step / 1000, "erk")
        assert all(0 < entry <= 1 for entry in densities)
        total = sum(entry * size for entry, size in zip(densities, sizes, strict=True))
        assert total == pytest.approx(step / 1000 * sum(sizes))


def test_a_regulariser_that_does_not_fit_the_shape_is_refused():
    with pytest.raises(ValueError, match="'group_rows' needs a parameter of 2 dimensions"):
        sparsify_(dense(5), 0.5, regularizer="group_rows")


def test_counts():
    net = torch.nn.Linear(3, 2)
    torch.nn.init.zeros_(net.bias)
    assert count_nonzero(net.named_parameters()) == {"weight": 6, "bias": 0}
    assert density(net.parameters()) == 0.75
    assert density([torch.ones(1)]) == 1.0
    assert density([]) == 0.0
