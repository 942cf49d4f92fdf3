from importlib import import_module

import pytest
import torch

pytest.importorskip("triton")

from snnbreg import functional
from snnbreg.kernels import gpu
from tests_support import load_script

benchmark = load_script("scripts/benchmark_gpu.py")

gather = import_module("baselines.gather")  # the benchmark has put scripts/ on the path
DEVICE = "cpu" if gpu.INTERPRETED else "cuda"
SIZES = {"T": 3, "inputs": 2, "outputs": 2, "hidden": (4,)}


def test_all_forms_of_a_layer_are_timed(capsys):
    before = torch.get_float32_matmul_precision()
    rows = benchmark.layer_rows(DEVICE, (4, 2, 3), repeats=1)
    benchmark.table("Layer", rows)
    assert [row["form"] for row in rows] == list(benchmark.FORMS)
    assert all(row["step"] > 0 and row["inference"] > 0 for row in rows)
    assert capsys.readouterr().out.count("\n") == 5 + len(rows)
    assert torch.get_float32_matmul_precision() == before


def test_networks_are_trained_by_the_form_that_is_timed(monkeypatch):
    monkeypatch.setattr(benchmark, "FORMS", ("exact", "gather"))
    monkeypatch.setattr(benchmark, "RUNS", (1, 2))
    used = []
    for module in (gpu, gather):
        original = module.delayed_recurrence

        def watched(*args, original=original, module=module, **options):
            used.append(module.__name__.rsplit(".")[-1])
            return original(*args, **options)

        monkeypatch.setattr(module, "delayed_recurrence", watched)
    rows = benchmark.network_rows(DEVICE, "tiny", 2, repeats=1, **SIZES)
    assert used == 3 * ["gpu"] + 3 * ["gather"]
    assert [row["form"] for row in rows] == ["exact", "gather"]
    rows = benchmark.parallel_rows(DEVICE, "tiny", 2, repeats=1, **SIZES)
    assert [row["runs"] for row in rows] == [1, 2]


@pytest.mark.parametrize("case", [(20, 2, 7, 9.0), (1, 3, 7, 3.0), (5, 2, 18, 3.0)], ids=str)
def test_the_gathering_baseline_equals_the_reference(case):
    """A ratio of times means something only then."""
    T, B, N, sigma = case
    options = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
    leaves = [
        1.5 * torch.rand(T, B, N, **options),
        2 * torch.randn(N, N, **options) / N**0.5,
        8 * torch.rand(N, **options),
        1 + sigma * torch.rand(N, **options),
    ]
    leaves = [leaf.to(DEVICE).requires_grad_() for leaf in leaves]
    mask = 2 * torch.rand(B, N, **options).round().to(DEVICE) if T > 5 else None
    weighting = torch.randn(T, B, N, **options).to(DEVICE)
    results = []
    for engine in (gather, functional):
        spikes = engine.delayed_recurrence(*leaves, mask)
        grads = torch.autograd.grad((spikes * weighting).sum(), leaves, allow_unused=True)
        results.append([spikes, *(torch.zeros(()) if g is None else g for g in grads)])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours.cpu(), expected.cpu(), rtol=0, atol=1e-9)
    assert results[0][0].any()
