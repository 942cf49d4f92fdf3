"""The controls of a study of delays: equal in parameters, different in delays."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml

from snnbreg import analysis, assembly
from snnbreg.assembly.configs import composed
from snnbreg.commands.controls import CONTROLS, control_settings
from snnbreg.commands.reproduce import study, write
from snnbreg.commands.train import train
from snnbreg.models import SpikingNetwork
from snnbreg.runs import RunFolder
from tests_support import SMALL_DIGITS

OWN = ["dataset=spoken_digits", "optim=adam"]
BINS = ["dataset.bin_ms=50"]


def built(settings: list[str], common: list[str]) -> SpikingNetwork:
    config = assembly.check(composed([*settings, *common]))
    network = assembly.build_network(config, 140, 10, torch.device("cpu"), None)
    assert isinstance(network, SpikingNetwork)
    return network


def test_all_have_as_many_parameters_as_a_neuron_per_layer_allows() -> None:
    planned = dict(zip(CONTROLS, control_settings(OWN, BINS), strict=True))
    assert planned["learned"] == OWN
    own = sum(p.numel() for p in built(planned["learned"], BINS).parameters())
    for name, settings in planned.items():
        network = built(settings, BINS)
        width = len(network.layers[0].linear.weight)  # type: ignore[union-attr]
        counted = {
            wide: sum(
                p.numel()
                for p in built([*settings, f"model.hidden=[{wide},{wide}]"], BINS).parameters()
            )
            for wide in (width - 1, width, width + 1)
        }
        nearest = min(counted, key=lambda wide: abs(counted[wide] - own))
        assert nearest == width, name


def test_each_control_has_the_delays_of_its_name() -> None:
    for name, settings in zip(CONTROLS, control_settings(OWN, BINS), strict=True):
        parameters = {key: p for key, p in built(settings, BINS).named_parameters()}
        loops = [key for key in parameters if key.endswith("neuron.weight")]
        recurrent = [p for key, p in parameters.items() if key.endswith("neuron.delay")]
        forward = [p for key, p in parameters.items() if key.endswith("linear.delay")]
        assert bool(loops) == (name not in ("feedforward", "no_recurrence")), name
        assert bool(forward) == (name in ("both", "feedforward")), name
        assert bool(recurrent) == (name in ("learned", "both", "common", "fewer_spikes")), name
        if name == "common":
            assert [p.numel() for p in recurrent] == [1, 1]


def test_a_network_without_delays_has_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="model=mnist has no recurrent delays"):
        control_settings(["dataset=mnist", "optim=adam"], [])


def test_the_study_runs_and_its_page_has_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("SNNBREG_CACHE", str(tmp_path / "cache"))
    options = Namespace(
        target="delays", dataset="spoken_digits", seeds=[0], lambdas=[], epochs=1, root=None,
        overrides=list(SMALL_DIGITS), runs=tmp_path / "runs", any_code=False,
    )  # fmt: skip
    runs = study(options)
    assert len(runs) == len(CONTROLS)
    for run in runs[:2]:
        config = assembly.check(composed(run.arguments))
        run.folder.mkdir(parents=True)
        (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
        train(config, RunFolder(run.folder))
    files = write("delays", runs, tmp_path / "out")
    assert files[0].name == "report.html"
    table = (tmp_path / "out" / "tables" / "delays_spoken_digits_limit40.md").read_text()
    assert "learned, per synapse" in table
    assert len(analysis.read_runs(tmp_path / "runs")) == 2
