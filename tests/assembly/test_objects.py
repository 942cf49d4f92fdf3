"""Building: initial weights, optimizers, schedules and warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from snnbreg import assembly
from snnbreg.assembly.objects import build_schedulers

Small = Callable[..., dict[str, Any]]

CPU = torch.device("cpu")


def test_a_sparse_start_has_the_density_and_no_preferred_sign(small: Small) -> None:
    config = small("optim.init_density=0.05", "model.hidden=[200,200]")
    network = assembly.build_network(config, 140, 10, CPU)
    for synapses in network.synapses()[:-1]:
        kept = synapses.weight[synapses.weight != 0]
        assert len(kept) / synapses.weight.numel() == pytest.approx(0.05, rel=0.15)
        assert (kept > 0).double().mean() == pytest.approx(0.5, abs=0.05)


def test_initial_weights_depend_on_the_seed_alone(small: Small) -> None:
    states = []
    for seed in (5, 5, 6):
        torch.rand(3)
        network = assembly.build_network(small(f"seed={seed}"), 28, 10, CPU)
        states.append(network.synapses()[0].weight.detach().clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_parameters_go_where_the_rules_say(small: Small) -> None:
    config = small("optim.lr=0.3", "optim.lam=0.2", "optim.delay_lr=0.7", "model.norm=batch")
    network = assembly.build_network(config, 28, 10, CPU)
    optimizers = assembly.build_optimizers(config, network)
    names = {id(p): name for name, p in network.named_parameters()}
    found = {
        names[id(p)]: (name, group["lr"], group.get("regularizer"), group.get("lam"))
        for name, optimizer in optimizers.items()
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert set(found) == set(names.values())
    for name, (optimizer, lr, regularizer, lam) in found.items():
        if name.endswith(("delay", "spread")):
            assert (optimizer, lr, regularizer) == ("delays", 0.7, None)
        elif "norm" in name or name.endswith("bias"):
            assert (optimizer, regularizer) == ("weights", "none")
        else:
            assert (optimizer, lr, regularizer, lam) == ("weights", 0.3, "l1", 0.2)


def test_delays_follow_their_own_schedule_where_there_is_one(small: Small) -> None:
    config = small("scheduler=onecycle", "scheduler.delays={name: cosine, per: epoch}")
    optimizers = assembly.build_optimizers(config, assembly.build_network(config, 28, 10, CPU))
    schedulers = build_schedulers(config, optimizers, steps_per_epoch=4)
    weights, delays = (optimizers[name].param_groups[-1] for name in ("weights", "delays"))
    assert weights["lr"] == pytest.approx(config["optim"]["lr"] / 25)
    assert delays["lr"] == 0.05
    for scheduler in schedulers:
        scheduler.step_epoch()
    assert delays["lr"] == pytest.approx(0.05 * 0.75)  # (1 + cos(pi / 3)) / 2


def test_lambda_follows_its_own_schedule(small: Small) -> None:
    schedule = "scheduler.lam={name: linear, per: epoch, start: 0.1, end: 0.4}"
    config = small("scheduler=none", "optim.lam=0.7", schedule)
    optimizers = assembly.build_optimizers(config, assembly.build_network(config, 28, 10, CPU))
    schedulers = build_schedulers(config, optimizers, steps_per_epoch=4)
    lams = []
    for _ in range(4):
        groups = optimizers["weights"].param_groups
        lams.append({group["lam"] for group in groups if group["regularizer"] != "none"})
        for scheduler in schedulers:
            scheduler.step_batch()
            scheduler.step_epoch()
    assert [len(values) for values in lams] == [1, 1, 1, 1]
    assert [value for values in lams for value in values] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_lambda_out_of_reach_is_told(small: Small, caplog: pytest.LogCaptureFixture) -> None:
    config = small("optim.lam=10", "optim.lr=0.001", "optim.init_density=1.0")
    optimizers = assembly.build_optimizers(config, assembly.build_network(config, 28, 10, CPU))
    build_schedulers(config, optimizers, steps_per_epoch=4)
    assert "lam = 10" in caplog.text
    assert "out of reach" in caplog.text


@pytest.mark.parametrize("schedule", ["cosine", "[1,2]", "{per: step}"])
def test_a_schedule_that_is_none_is_named(small: Small, schedule: str) -> None:
    config = small(f"scheduler.delays={schedule}")
    optimizers = assembly.build_optimizers(config, assembly.build_network(config, 28, 10, CPU))
    with pytest.raises(ValueError, match="A schedule is a mapping such as"):
        build_schedulers(config, optimizers, 4)


def test_threads_are_those_of_the_config_and_afterwards_as_before(small: Small) -> None:
    for threads, inside in ((3, 3), (None, 1)):
        config = small()
        config["trainer"]["threads"] = threads
        with assembly.using_threads(config):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 1
    config["trainer"]["threads"] = 0
    with pytest.raises(ValueError, match="threads=0"), assembly.using_threads(config):
        pass
