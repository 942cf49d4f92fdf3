"""The benchmark of sparse networks runs, at a size that takes no time."""

from __future__ import annotations

import pytest
import torch

from snnbreg.kernels import cpu
from snnbreg.kernels.cpu.matrices import pack
from tests_support import load_script


def test_both_forms_take_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_script("scripts/benchmark_sparse.py")
    monkeypatch.setitem(benchmark.SIZES, "ssc", (100, 12, 20, 5))
    found = benchmark.steps("ssc", 0.1, 2.0, 0.06, rounds=2, batch=5)
    assert found["loss"]["dense"] == pytest.approx(found["loss"]["sparse"], abs=1e-4)
    assert min(found["dense"], found["sparse"], found["ratio"]) > 0


def test_an_epoch_scales_its_batches_and_leaves_the_support(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark = load_script("scripts/benchmark_sparse.py")
    monkeypatch.setitem(benchmark.SIZES, "ssc", (256, 12, 20, 5))
    monkeypatch.setitem(benchmark.VALIDATION, "ssc", 512)
    seconds = iter(range(1_000))
    monkeypatch.setattr(benchmark, "clock", lambda: lambda: float(next(seconds)))
    networks = []
    build = benchmark.build
    monkeypatch.setattr(benchmark, "build", lambda *x: networks.append(build(*x)) or networks[-1])
    found = benchmark.epochs("ssc", 0.1, 2.0, 0.06, rounds=1, shown=1)
    # of 256 samples 128 are shown, of 512 as many as an evaluation's batch holds
    assert found == {"epoch_dense": 4.0, "epoch_sparse": 4.0, "epoch_ratio": 1.0}
    assert networks[0].sigma == 2.0
    for _, weight, _ in networks[0].synapses():
        assert float((weight != 0).float().mean()) < 0.3


def test_inside_the_context_nothing_is_skipped() -> None:
    benchmark = load_script("scripts/benchmark_sparse.py")
    weight = torch.eye(5, requires_grad=True)
    events = torch.eye(5)[:, None]

    def lists_zeros() -> tuple[bool, bool]:
        name = type(cpu.linear(events, weight, None).grad_fn).__name__
        return "LinearOfEvents" in name, pack(weight).start.size > 0

    assert lists_zeros() == (True, True)
    with benchmark.dense_products():
        assert lists_zeros() == (False, False)
    assert lists_zeros() == (True, True)


def test_a_network_has_the_density_and_rate_it_is_asked_for() -> None:
    benchmark = load_script("scripts/benchmark_sparse.py")
    frames = torch.poisson(torch.full((40, 16, 140), 0.15))
    network = benchmark.build("ssc", 0.1, 10.0, 0.06, frames).eval()
    for _, weight, _ in network.synapses():
        assert float((weight != 0).float().mean()) == pytest.approx(0.1, abs=0.02)
    with torch.no_grad():
        spikes = network.layers[0](frames)
    assert float(spikes.mean()) == pytest.approx(0.06, abs=0.01)
