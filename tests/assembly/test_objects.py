"""Building: initial weights, optimizers, schedules and warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from snnbreg import assembly
from snnbreg.assembly.methods import build_schedulers

Small = Callable[..., dict[str, Any]]

CPU = torch.device("cpu")


def test_a_sparse_start_has_the_density_and_no_preferred_sign(small: Small) -> None:
    config = small("optim.init_density=0.05", "model.hidden=[200,200]")
    network = assembly.build_network(config, 140, 10, CPU)
    for synapses in network.synapses()[:-1]:
        kept = synapses.weight[synapses.weight != 0]
        assert len(kept) / synapses.weight.numel() == pytest.approx(0.05, rel=0.15)
        assert (kept > 0).double().mean() == pytest.approx(0.5, abs=0.05)


def sparse_start(config: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The weight matrices of a network and, drawn in the same way, those of its dense start."""
    optim = config["optim"] | {"init_density": 1.0}
    return tuple(  # type: ignore[return-value]
        {s.name: s.weight.detach() for s in assembly.build_network(c, 28, 10, CPU).synapses()}
        for c in (config, config | {"optim": optim})
    )


RULES = [
    r"{pattern: '\.(delay|spread)$', optimizer: delays}",
    r"{pattern: 'layers\.0\.linear\.weight', regularizer: group_rows}",
    r"{pattern: 'layers\.0\.neuron\.weight', regularizer: group_columns}",
    r"{pattern: '(readout.*|bias)$', regularizer: none}",
    r"{pattern: ''}",
]


def test_what_is_dropped_together_follows_the_rule_of_the_tensor(small: Small) -> None:
    rules = f"optim.rules=[{','.join(RULES)}]"
    config = small("optim.init_density=0.5", "model.hidden=[60,50]", rules)
    weights, dense = sparse_start(config)
    whole = {
        name: tuple(bool(((w != 0).any(dim) == (w != 0).all(dim)).all()) for dim in (1, 0))
        for name, w in weights.items()
    }
    assert whole == {
        "layers.0.linear.weight": (True, False),  # rows, not columns
        "layers.0.neuron.weight": (False, True),
        "layers.1.linear.weight": (False, False),
        "layers.1.neuron.weight": (False, False),
        "readout.linear.weight": (True, True),  # not masked
    }
    for name, w in weights.items():
        masked = name != "readout.linear.weight"
        assert 0.25 < (w != 0).double().mean() < 0.75 or not masked
        scaled = dense[name] * (2**0.5 if masked else 1.0)
        torch.testing.assert_close(w, torch.where(w != 0, scaled, 0.0))


@pytest.mark.parametrize("change", ["optim=adam", "optim=sgd", "optim.regularizer=none"])
def test_without_any_regulariser_all_matrices_start_sparse(small: Small, change: str) -> None:
    weights, _ = sparse_start(small(change, "optim.init_density=0.3", "model.hidden=[60,50]"))
    sparse, _ = sparse_start(small("optim.init_density=0.3", "model.hidden=[60,50]"))
    for name, weight in weights.items():
        assert torch.equal(weight, sparse[name])  # the mask of l1
        assert (weight != 0).double().mean() == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
@pytest.mark.parametrize("density", [0.05, 0.37])
def test_a_sparse_start_can_have_an_exact_number_of_weights(
    small: Small, allocation: str, density: float
) -> None:
    settings = (f"optim.init_density={density}", f"optim.init_allocation={allocation}")
    weights, dense = sparse_start(small(*settings, "optim.init_exact=true", "model.hidden=[33,21]"))
    total = 28 * 33 + 33 * 33 + 33 * 21 + 21 * 21 + 21 * 10
    assert sum(int((w != 0).sum()) for w in weights.values()) == round(density * total)
    for name, w in weights.items():
        scale = (w.numel() / int((w != 0).sum())) ** 0.5
        torch.testing.assert_close(w, torch.where(w != 0, dense[name] * scale, 0.0))


def test_an_exact_start_counts_groups(small: Small) -> None:
    config = small(
        "optim.init_density=0.3", "optim.init_exact=true", "optim.regularizer=group_rows"
    )
    weights, _ = sparse_start(config)
    rows = {name: (int((w != 0).any(1).sum()), len(w)) for name, w in weights.items()}
    assert all(kept == round(0.3 * n) for kept, n in rows.values())


def test_a_dense_start_asks_for_no_shape(small: Small) -> None:
    config = small("optim.regularizer=group_kernels", "optim.init_density=1.0")
    weights, _ = sparse_start(config)
    dense, _ = sparse_start(small("optim.init_density=1.0"))
    assert all(torch.equal(weights[name], dense[name]) for name in dense)


def test_small_matrices_keep_more_where_asked_for(small: Small) -> None:
    sizes = "model.hidden=[200,200]"
    config = small("optim.init_density=0.1", "optim.init_allocation=erk", sizes)
    weights, _ = sparse_start(config)
    kept = {name: (w != 0).double().mean().item() for name, w in weights.items()}
    total = sum(w.numel() for w in weights.values())
    # 28 -> 200, 200 -> 200 three times, 200 -> 10
    share = 0.1 * (28 * 200 + 3 * 200 * 200 + 200 * 10) / (228 + 3 * 400 + 210)
    expected = {
        "layers.0.linear.weight": share * 228 / (28 * 200),
        "layers.0.neuron.weight": share * 400 / 200**2,
        "layers.1.linear.weight": share * 400 / 200**2,
        "layers.1.neuron.weight": share * 400 / 200**2,
        "readout.linear.weight": share * 210 / (200 * 10),
    }
    for name, probability in expected.items():
        deviation = (probability * (1 - probability) / weights[name].numel()) ** 0.5
        assert kept[name] == pytest.approx(probability, abs=4 * deviation)
    variance = sum(p * (1 - p) * weights[name].numel() for name, p in expected.items())
    nonzero = sum(int(torch.count_nonzero(w)) for w in weights.values())
    assert nonzero == pytest.approx(0.1 * total, abs=4 * variance**0.5)


def test_the_density_of_all_counts_what_is_masked_alone(small: Small) -> None:
    # regularised by no rule: the input's matrix, and the readout's, which the delays' Adam moves
    rules = r"optim.rules=[{pattern: '(delay|spread|bias|readout.*)$', optimizer: delays}"
    rules += r",{pattern: neuron, regularizer: l1},{pattern: '', regularizer: none}]"
    allocation = "optim.init_allocation=erk"
    options = ["model.hidden=[200]", "optim.init_density=0.1", rules]
    weights, _ = sparse_start(small(*options, allocation))
    uniform, _ = sparse_start(small(*options))
    assert all(torch.equal(weights[name], uniform[name]) for name in weights)
    dense = {name for name, weight in weights.items() if (weight != 0).all()}
    assert dense == {"layers.0.linear.weight", "readout.linear.weight"}


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_weights_in_and_out_of_a_neuron_start_together(small: Small, allocation: str) -> None:
    rule = r"{pattern: '^(layers\.1\.linear|readout\.linear)\.weight', "
    rule += "regularizer: group_neurons:in+out}"
    rules = r"optim.rules=[{pattern: '(delay|spread|bias)$', optimizer: delays}," + rule
    config = small(
        "model.hidden=[20,50]", "optim.init_density=0.4", f"optim.init_allocation={allocation}",
        rules + ",{pattern: ''}]",
    )  # fmt: skip
    weights, _ = sparse_start(config)
    into, out = weights["layers.1.linear.weight"], weights["readout.linear.weight"]
    assert torch.equal((into != 0).all(1), (into != 0).any(1))
    assert torch.equal((into != 0).all(1), (out != 0).all(0))
    assert torch.equal((into != 0).all(1), (out != 0).any(0))
    assert 0.1 < (into != 0).double().mean() < 0.9
    network = assembly.build_network(config, 28, 10, CPU)
    optimizer = assembly.build_optimizers(config, network)["weights"]
    assert optimizer.param_groups[0]["regularizer"] == "group_neurons:in+out"


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_an_unknown_allocation_is_named(small: Small, density: float) -> None:
    config = small("optim.init_allocation=erdos", f"optim.init_density={density}")
    with pytest.raises(ValueError, match=r"optim: Invalid allocation: 'erdos'.*uniform, erk"):
        assembly.build_network(config, 28, 10, CPU)


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
