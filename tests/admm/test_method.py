"""ADMM as a method: learns, does not depend on batches or processes, and is what it simulates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from snnbreg.admm import ADMM
from snnbreg.admm.variables import Storage
from snnbreg.models import SpikingNetwork
from snnbreg.training import TASKS
from snnbreg.training.processes import Processes, process_group
from tests_support import assert_equal_states

TASK = TASKS["last_squared_error"]
BEST: dict[str, Any] = {"readout": "exact", "restart": 1, "momentum": 0.9, "init": "network"}


def plain(*hidden: int, **settings: Any) -> SpikingNetwork:
    """A small network of plain LIF neurons in float64."""
    torch.manual_seed(0)
    options = {"recurrent": False, "delays": "none", "bias": False, "dropout": 0.0,
               "readout": "leaky", "tau": 10.0, "engine": "reference", **settings}  # fmt: skip
    return SpikingNetwork(6, 3, hidden, **options).double()


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes of which each drives two channels, 8 steps, 23 samples."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(23) % 3
    rates = torch.full((8, 23, 6), 0.2)
    for channel in range(2):
        rates[:, torch.arange(23), 2 * labels + channel] = 2.0
    return torch.poisson(rates, generator=generator).double(), labels


def fit(
    network: SpikingNetwork, sizes: tuple[int, ...] = (23,), epochs: int = 6, **settings: Any
) -> tuple[ADMM, list[dict[str, float]]]:
    """Train on batches of these sizes; the states of all start alike."""
    frames, labels = samples()
    batches = list(zip(frames.split(sizes, 1), labels.split(sizes), strict=True))
    method = ADMM(network, TASK, Processes(), epochs, **settings)
    rows = []
    for number in range(epochs):
        torch.manual_seed(number)
        rows.append(method.epoch(number, batches, lambda: None))
    return method, rows


@pytest.mark.parametrize("form", ["fast", "published"])
def test_a_small_problem_is_learnt(form: str) -> None:
    network = plain(30)
    _, rows = fit(network, epochs=30, form=form)
    assert rows[-1]["train_acc"] > 0.9
    assert rows[-1]["objective"] < rows[0]["objective"] / 2
    frames, labels = samples()
    score = TASK.score(network(frames), labels)
    assert rows[-1]["train_acc"] == float(score.total) / score.count
    assert rows[-1]["train_loss"] == pytest.approx(float(score.loss.detach()), rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_best_settings_learn_at_every_depth(depth: int) -> None:
    network = plain(*[20] * depth)
    _, rows = fit(network, epochs=30, **{**BEST, "init": "active", "rho": 0.1, "beta": 0.01})
    assert rows[-1]["train_acc"] == 1.0
    frames, labels = samples()
    assert float(TASK.score(network(frames), labels).total) == 23


@torch.no_grad()
def test_states_of_the_frameworks_network_have_no_residual() -> None:
    """Two hidden layers and a tau that is no power of two; the snapshot before any update."""
    network = plain(12, 9, weight_init="kaiming", tau=7.3, threshold=0.6)
    frames, labels = samples()
    method = ADMM(network, TASK, Processes(), 1, init="network")
    method.variables.start([(frames, labels)])
    row = method._measured()
    for kind in ("residual", "spike_residual"):
        assert all(value < 1e-13 for key, value in row.items() if key.startswith(kind))
    batch = method.variables.batches[0]
    torch.testing.assert_close(batch.z[-1], network(frames).detach(), atol=1e-12, rtol=0)
    spikes = network.layers[0](frames)
    assert torch.equal(batch.a[0], spikes)
    assert 0.05 < float(spikes.mean()) < 0.95
    assert torch.equal(batch.a[1], network.layers[1](spikes))
    assert row["objective"] == pytest.approx(23 * row["train_loss"], rel=1e-12)


@pytest.mark.parametrize("settings", [
    {}, {"form": "published", "multipliers": "all"}, {"lam": 0.01},
    {"lam": 0.05, "solver": "bregman"}, {"readout": "exact", "lam": 0.002, "momentum": 0.5}, BEST,
])  # fmt: skip
def test_batches_change_nothing(settings: dict[str, Any]) -> None:
    one, three = plain(10, 8), plain(10, 8)
    settings = {"init": "network", "warmup": 0.2, **settings}
    _, rows = fit(one, **settings)
    _, others = fit(three, (9, 9, 5), **settings)
    for weight, other in zip(one.plain_lif().weights, three.plain_lif().weights, strict=True):
        torch.testing.assert_close(weight, other, atol=1e-9, rtol=0)
    for row, other_row in zip(rows, others, strict=True):
        assert row == pytest.approx(other_row, abs=1e-9)


def test_the_dual_variable_waits_and_then_stands_where_it_should() -> None:
    for multipliers, nonzero in (("last", 1), ("all", 8)):
        method, _ = fit(plain(10), epochs=4, warmup=0.75, multipliers=multipliers)
        dual = method.variables.batches[0].dual
        assert int(dual.abs().amax((1, 2)).count_nonzero()) == nonzero
        if multipliers == "last":
            batch = method.variables.batches[0]
            torch.testing.assert_close(dual[-1], 2 * (batch.target - batch.z[-1][-1]))
    method, _ = fit(plain(10), epochs=4, warmup=1.0)
    assert not method.variables.batches[0].dual.any()


@pytest.mark.parametrize(("solver", "lam"), [("fista", 0.05), ("bregman", 10.0)])
def test_weights_are_exactly_zero_with_a_regulariser(solver: str, lam: float) -> None:
    network = plain(30)
    fit(network, epochs=20, lam=lam, solver=solver)
    density = torch.cat([w.flatten() for w in network.plain_lif().weights]).count_nonzero() / 270
    assert 0.02 < float(density) < 0.9


def test_whole_rows_vanish_together() -> None:
    network = plain(30)
    fit(network, epochs=20, lam=0.05, regularizer="group_rows")
    alive = (network.plain_lif().weights[0] != 0).any(1)
    assert torch.equal(alive, (network.plain_lif().weights[0] != 0).all(1))
    assert 0 < int(alive.sum()) < 30


def test_penalties_follow_the_residuals() -> None:
    method, rows = fit(plain(10), epochs=3, beta=1e-4, balance=2.0)
    assert rows[-1]["beta"] == 4e-4
    assert method.penalties.beta == 8e-4
    _, rows = fit(plain(10), epochs=3, beta=1e-4)
    assert rows[-1]["beta"] == 1e-4


def test_mixed_sweeps_stay_in_the_box_and_sum_to_one() -> None:
    """With one sweep in the mixture nothing changes; with three, states are mixed."""
    _, rows = fit(plain(10))
    _, same = fit(plain(10), anderson=1)
    assert same == rows
    method, other = fit(plain(10), anderson=3)
    assert other[0] == rows[0]
    assert other[1] == rows[1] != rows[2] != other[2]
    a = method.variables.batches[0].a[0]
    assert 0 <= float(a.min()) < float(a.max()) <= 1
    assert other[-1]["objective"] < rows[0]["objective"]


@pytest.mark.parametrize("more", [
    {"lam": 0.02, "solver": "bregman", "balance": 1.2, "anderson": 2},
    {**BEST, "init": "active", "restart": 2},
    {**BEST, "init": "active"},
])  # fmt: skip
def test_a_state_continues_bit_for_bit(more: dict[str, Any], tmp_path: Path) -> None:
    settings = {"epochs": 4, **more}
    network, again = plain(9, 8), plain(9, 8)
    frames, labels = samples()
    method, rows = fit(network, **settings)
    first = ADMM(again, TASK, Processes(), **settings)
    for number in range(4):
        torch.manual_seed(number)
        row = first.epoch(number, [(frames, labels)], lambda: None)
        torch.save((first.state_dict(), again.state_dict()), tmp_path / "state.pt")
        again = plain(9, 8)
        first = ADMM(again, TASK, Processes(), **settings)
        state, weights = torch.load(tmp_path / "state.pt", weights_only=True)
        again.load_state_dict(weights)
        first.load_state_dict(state, "state.pt")
        assert row == rows[number]
    assert_equal_states(method.state_dict(), first.state_dict())
    assert_equal_states(network.state_dict(), again.state_dict())
    batches = method.state_dict()["admm"]["batches"]
    assert len(batches) == (more.get("restart") != 1)  # no variable outlives a sweep


def test_variables_beyond_the_limit_lie_in_files() -> None:
    storage = Storage(100)
    values = [torch.rand(3, 4), torch.rand(3, 5), torch.rand(0, 2)]
    kept = [storage.keep(x) for x in values]
    assert storage.files == 1
    for x, y in zip(values, kept, strict=True):
        assert torch.equal(x, y)
        assert x is not y
    in_memory, in_files = plain(10, 8), plain(10, 8)
    fit(in_memory)
    method, _ = fit(in_files, memory_gb=0)
    assert method.variables.storage.files == 6
    assert torch.equal(in_memory.plain_lif().weights[1], in_files.plain_lif().weights[1])


@pytest.mark.parametrize(("settings", "message"), [
    ({"form": "slow"}, "form='slow' is unknown"),
    ({"rho": 0.0}, "rho=0.0 must be positive"),
    ({"lam": -1.0}, "lam=-1.0 must not be negative"),
    ({"anderson": -1}, "anderson=-1 must not be negative"),
    ({"restart": -1}, "restart=-1 must not be negative"),
    ({"warmup": float("nan")}, "warmup=nan must not be negative"),
    ({"momentum": 1.0}, r"momentum=1.0 must lie in \[0, 1\)"),
    ({"readout": "exact", "form": "published"}, "form=published has no readout=exact"),
    ({"restart": 1}, "restart needs readout=exact"),
    ({"restart": 1, "readout": "exact", "anderson": 2}, "anderson mixes states"),
    ({"regularizer": "l2"}, "Invalid regularizer"),
])  # fmt: skip
def test_mistakes_are_explained(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ADMM(plain(5), TASK, Processes(), 1, **settings)


def test_other_networks_and_labels_are_refused() -> None:
    settings = {"recurrent": True, "bias": True, "readout": "linear", "dropout": 0.1}
    network = plain(5, **settings)
    expected = "needs recurrent=false, bias=false, dropout=0, readout=leaky"
    with pytest.raises(ValueError, match=expected):
        ADMM(network, TASK, Processes(), 1)
    with pytest.raises(ValueError, match="offer plain_lif"):
        ADMM(torch.nn.Linear(2, 2), TASK, Processes(), 1)
    frames, labels = samples()
    method = ADMM(plain(5), TASK, Processes(), 1)
    with pytest.raises(ValueError, match="one class per sample"):
        method.epoch(0, [(frames, labels[:, None].expand(-1, 8))], lambda: None)
    with pytest.raises(ValueError, match="run was made with another method"):
        method.load_state_dict({"optimizers": {}}, "run")


def _process(rank: int, count: int, folder: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    with process_group("gloo", init_method=store, rank=rank, world_size=count):
        network = plain(10, 8)
        method, rows = fit(network, (12, 10, 1), **settings)
        saved = method.state_dict()["admm"]["batches"] if rank == 0 else []
    torch.save((network.state_dict(), rows, saved), folder / f"{rank}.pt")


@pytest.mark.parametrize("settings", [{"warmup": 0.2}, {**BEST, "init": "active"}])
def test_two_processes_together_train_as_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """The second one has no sample in the last batch; the first saves the samples of both."""
    network = plain(10, 8)
    method, rows = fit(network, (12, 10, 1), **settings)
    mp.spawn(_process, (2, tmp_path, settings), nprocs=2)
    for rank in range(2):
        state, found, saved = torch.load(tmp_path / f"{rank}.pt")
        for name, weight in network.state_dict().items():
            torch.testing.assert_close(state[name], weight, atol=1e-9, rtol=0)
        for row, expected in zip(found, rows, strict=True):
            assert row == pytest.approx(expected, abs=1e-9)
        for batch, whole in zip(saved, method.state_dict()["admm"]["batches"], strict=rank == 0):
            for name in ("z", "a"):
                for x, y in zip(batch[name], whole[name], strict=True):
                    torch.testing.assert_close(x, y, atol=1e-9, rtol=0)
            torch.testing.assert_close(batch["dual"], whole["dual"], atol=1e-9, rtol=0)
