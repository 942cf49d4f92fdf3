"""The benchmark of sparse networks runs, at a size that takes no time."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from snnbreg.kernels import cpu
from snnbreg.kernels.cpu.matrices import pack
from tests_support import ROOT, load_script


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark with a data set that takes no time."""
    found = load_script("scripts/benchmark_sparse.py")
    monkeypatch.setitem(found.SIZES, "ssc", (256, 12, 20, 5))
    monkeypatch.setitem(found.VALIDATION, "ssc", 512)
    return found


@pytest.mark.parametrize("kind", ["steps", "epochs"])
def test_both_forms_take_the_same_steps(benchmark: Any, kind: str) -> None:
    job = benchmark.job_of("ssc", 0.1, 2.0, 0.06, batch=5)._replace(kind=kind, shown=1)
    found = benchmark.compare(job, rounds=2)
    assert found["loss"]["dense"] == pytest.approx(found["loss"]["sparse"], abs=1e-4)
    assert min(found["dense"], found["sparse"], found["ratio"]) > 0


def test_another_checkout_takes_the_same_steps(benchmark: Any) -> None:
    job = benchmark.job_of("ssc", 0.1, 2.0, 0.06, batch=5)
    with benchmark.Checkout(ROOT) as other:
        found = benchmark.compare(job, 1, other)
    assert found["loss"]["before"] == found["loss"]["sparse"]
    assert found["before"] > 0 < found["ratio_before"]


def test_a_folder_without_the_package_is_no_checkout(benchmark: Any, tmp_path: Path) -> None:
    job = benchmark.job_of("ssc", 0.1, 2.0, 0.06, batch=5)
    with benchmark.Checkout(tmp_path) as other, pytest.raises(RuntimeError, match="stand above"):
        other.measure(job)


def test_an_epoch_scales_its_batches_and_leaves_the_support(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = import_module("baselines.training")
    seconds = iter(range(1_000))
    monkeypatch.setattr(training, "clock", lambda: lambda: float(next(seconds)))
    networks = []
    build = training.network_of
    monkeypatch.setattr(
        training, "network_of", lambda job: networks.append(build(job)) or networks[-1]
    )
    job = benchmark.job_of("ssc", 0.1, 2.0, 0.06)._replace(kind="epochs", shown=1)
    found = benchmark.compare(job, rounds=1)
    # of 256 samples 128 are shown, of 512 as many as an evaluation's batch holds
    assert (found["dense"], found["sparse"], found["ratio"]) == (4.0, 4.0, 1.0)
    for network in networks:
        assert network.sigma == 2.0
    for _, weight, _ in networks[-1].synapses():
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
    job = benchmark.job_of("ssc", 0.1, 10.0, 0.06)
    job = job._replace(state=benchmark.parameters(job._replace(state=None), 0.1, 0.06, frames))
    network = benchmark.network_of(job).eval()
    for _, weight, _ in network.synapses():
        assert float((weight != 0).float().mean()) == pytest.approx(0.1, abs=0.02)
    with torch.no_grad():
        spikes = network.layers[0](frames)
    assert float(spikes.mean()) == pytest.approx(0.06, abs=0.01)
