import pytest
import torch

pytest.importorskip("triton")

from snnbreg.kernels import gpu
from tests_support import load_script

benchmark = load_script("scripts/benchmark_gpu.py")
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
    for module in (gpu, __import__("snnbreg.kernels.gpu_gather", fromlist=["gpu_gather"])):
        original = module.delayed_recurrence

        def watched(*args, original=original, module=module, **options):
            used.append(module.__name__.rsplit(".")[-1])
            return original(*args, **options)

        monkeypatch.setattr(module, "delayed_recurrence", watched)
    rows = benchmark.network_rows(DEVICE, "tiny", 2, repeats=1, **SIZES)
    assert used == 3 * ["gpu"] + 3 * ["gpu_gather"]
    assert [row["form"] for row in rows] == ["exact", "gather"]
    rows = benchmark.parallel_rows(DEVICE, "tiny", 2, repeats=1, **SIZES)
    assert [row["runs"] for row in rows] == [1, 2]
