import pytest
import torch

from tests_support import load_script

benchmark = load_script("scripts/benchmark.py")

LAYER = {"T": 30, "B": 3, "N": 5, "sigma": 4.0, "delay": 6.0, "drive": 1.2}


@pytest.mark.parametrize("form", ["engine", "window", "published"])
def test_all_forms_compute_the_same_layer(form):
    """A ratio of times means something only then."""
    results = []
    for name in (form, "reference"):
        tensors = [x.detach().double().requires_grad_() for x in benchmark.problem(LAYER, "cpu")]
        spikes = benchmark.make_form(name, "auto", "cpu")(*tensors)
        weighting = torch.arange(float(spikes.numel())).reshape(spikes.shape).sin()
        results.append((spikes, *torch.autograd.grad((spikes * weighting).sum(), tensors)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    assert 0.05 < results[0][0].detach().mean() < 0.9


def test_the_floor_is_the_products_of_a_step():
    current, weight, _, _ = benchmark.problem(LAYER, "cpu")
    assert benchmark.floor(current, weight)().shape == (5, 5)


def test_measures_times_and_memory():
    found = benchmark.measure("engine", "auto", "cpu", LAYER, seconds=0.0)
    assert found["step"] >= found["forward"] > 0
    assert found["floor"] > 0
    assert 0 < found["rate"] < 1
    assert found["memory"] >= 0
