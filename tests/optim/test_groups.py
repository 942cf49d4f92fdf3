"""Every parameter is claimed exactly once, by the first pattern that fits."""

from pathlib import Path
from textwrap import dedent

import pytest
import torch
import yaml

import snnbreg
from snnbreg.models import SpikingNetwork
from snnbreg.optim import AdaBreg, assign_groups, describe, groups_for, parameter_groups


def network():
    return torch.nn.ModuleDict({"input": torch.nn.Linear(3, 4), "readout": torch.nn.Linear(4, 2)})


RULES = [
    {"pattern": r"^readout\.weight$", "lam": 0.5},
    {"pattern": r"weight$", "lam": 2.0, "lr": 0.01},
    {"pattern": r"delay$", "optimizer": "delays", "optional": True},
    {"pattern": r"bias$", "optimizer": "biases", "regularizer": "none"},
]


def test_the_first_match_wins_and_the_order_is_kept():
    net = network()
    assigned = assign_groups(net.named_parameters(), RULES)
    assert [entry.names for entry in assigned] == [
        ("readout.weight",),
        ("input.weight",),
        ("input.bias", "readout.bias"),
    ]
    assert assigned[1].params[0] is net["input"].weight


def test_a_pattern_can_be_for_few_dimensions_alone():
    rules = [{"pattern": "^input", "max_dims": n} for n in (1, 2)] + [{"pattern": ""}]
    assigned = assign_groups(network().named_parameters(), rules)
    assert [(entry.title, entry.names, entry.settings) for entry in assigned] == [
        ("^input of at most 1 dimension", ("input.bias",), {}),
        ("^input of at most 2 dimensions", ("input.weight",), {}),
        ("(all)", ("readout.weight", "readout.bias"), {}),
    ]


def test_groups_build_an_optimizer_and_hold_names_but_no_pattern():
    assigned = assign_groups(network().named_parameters(), RULES)
    optimizer = AdaBreg(groups_for(assigned), lr=0.1, lam=1.0)
    groups = optimizer.state_dict()["param_groups"]
    assert [(g["lr"], g["lam"], g["param_names"]) for g in groups] == [
        (0.1, 0.5, ["readout.weight"]),
        (0.01, 2.0, ["input.weight"]),
    ]
    assert not {"pattern", "optional", "optimizer"} & groups[0].keys()
    assert [g["param_names"] for g in groups_for(assigned, "biases")] == [
        ["input.bias", "readout.bias"]
    ]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"pattern": "weight"}], r"No pattern claims the parameters input\.bias, readout\.bias"),
        ([{"pattern": ""}, {"pattern": "spread"}], "'spread' claims no parameter: nothing matches"),
        ([{"pattern": ""}, {"pattern": "bias"}], "'bias' claims no parameter: earlier patterns"),
        ([{"pattern": "(weight"}], r"Invalid pattern '\(weight'"),
        ([{"lam": 1.0}], "has no 'pattern'"),
    ],
)
def test_gaps_and_idle_patterns_are_errors(rules, message):
    with pytest.raises(ValueError, match=message):
        assign_groups(network().named_parameters(), rules)


def test_frozen_parameters_are_left_out():
    net = network()
    net["input"].requires_grad_(False)
    (entry,) = assign_groups(net.named_parameters(), [{"pattern": ""}])
    assert entry.names == ("readout.weight", "readout.bias")


def test_the_table_names_patterns_counts_and_settings():
    rules = [*RULES[:3], {"pattern": "", "optimizer": "biases", "regularizer": "none"}]
    assigned = assign_groups(network().named_parameters(), rules)
    assert describe(assigned, {"lr": 0.1, "lam": 9.0, "regularizer": "l1"}) == dedent(
        """\
        pattern            optimizer  tensors  entries  lr    lam  regularizer
        ^readout\\.weight$  weights    1        8        0.1   0.5  l1
                           readout.weight
        weight$            weights    1        12       0.01  2    l1
                           input.weight
        (all)              biases     2        6        0.1   -    none
                           input.bias, readout.bias"""
    )


def test_parameter_groups_keep_delays_biases_and_norms_from_shrinking():
    network = SpikingNetwork(inputs=4, outputs=2, hidden=[3, 3], norm="batch", learn_spread=True)
    groups = {group["name"]: group for group in parameter_groups(network, delay_lr=0.05)}
    assert list(groups) == ["weights", "biases", "delays"]
    names = {name: set(group["param_names"]) for name, group in groups.items()}
    everything = dict(network.named_parameters())
    assert set().union(*names.values()) == set(everything)
    assert sum(map(len, names.values())) == len(everything)
    assert names["weights"] == {entry.name for entry in network.synapses()}
    assert names["delays"] == {
        f"layers.{i}.neuron.{x}" for i in (0, 1) for x in ("delay", "spread")
    }
    assert groups["delays"]["lr"] == 0.05
    assert "lr" not in groups["weights"]
    optimizer = AdaBreg(list(groups.values()), lr=1e-3, lam=0.5)
    assert [g["regularizer"] for g in optimizer.param_groups] == ["l1", "none", "none"]
    assert [g["lr"] for g in optimizer.param_groups] == [1e-3, 1e-3, 0.05]


def test_parameter_groups_of_a_network_without_delays():
    groups = parameter_groups(torch.nn.Linear(3, 2))
    assert [(group["name"], group["param_names"]) for group in groups] == [
        ("weights", ["weight"]),
        ("biases", ["bias"]),
    ]


def test_parameter_groups_are_those_of_the_trainer():
    rules = yaml.safe_load(
        (Path(snnbreg.__file__).parents[1] / "configs/optim/adabreg.yaml").read_text()
    )
    network = SpikingNetwork(inputs=4, outputs=2, hidden=[3, 3], learn_spread=True)
    theirs = assign_groups(network.named_parameters(), rules["rules"])
    ours = reversed(parameter_groups(network))
    assert [list(entry.names) for entry in theirs] == [group["param_names"] for group in ours]


def test_one_group_of_weights_and_biases_is_said_to_shrink_both(caplog):
    AdaBreg(parameter_groups(torch.nn.Linear(3, 2)), lam=1.0)
    AdaBreg(torch.nn.Linear(3, 2).parameters(), lam=0.0)
    AdaBreg([torch.nn.Parameter(torch.ones(3))], lam=1.0)
    assert not caplog.records
    AdaBreg(torch.nn.Linear(3, 2).parameters(), lam=1.0)
    assert "parameter_groups(network) keeps them apart" in caplog.text
