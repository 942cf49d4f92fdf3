"""Sparse initialisation keeps the variance and the shape of the regulariser's groups."""

import pytest
import torch

from snnbreg.optim import count_nonzero, density, sparsify_


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


def test_dense_is_untouched_bit_for_bit_and_draws_nothing():
    weight, source = dense(5, 5), generator()
    assert torch.equal(sparsify_(weight, 1.0, source), dense(5, 5))
    assert torch.equal(source.get_state(), generator().get_state())


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


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_a_regulariser_that_does_not_fit_the_shape_is_refused(value):
    with pytest.raises(ValueError, match="'group_rows' needs a parameter of 2 dimensions"):
        sparsify_(dense(5), value, regularizer="group_rows")


def test_counts():
    net = torch.nn.Linear(3, 2)
    torch.nn.init.zeros_(net.bias)
    assert count_nonzero(net.named_parameters()) == {"weight": 6, "bias": 0}
    assert density(net.parameters()) == 0.75
    assert density([torch.ones(1)]) == 1.0
    assert density([]) == 0.0
