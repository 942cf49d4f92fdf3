"""The comparison of methods: trials choose learning rates, which the comparison uses."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnbreg import assembly, cli
from snnbreg.assembly.configs import composed
from snnbreg.assembly.parallel import Run
from snnbreg.commands import rivals

PLAN: dict[str, Any] = {
    "densities": [0.1, 0.5],
    "tuned_at": 0.1,
    "datasets": {"spoken_digits": ["experiment=rivals_digits", "dataset.fold=${seed}"]},
    "adam": [0.01, 0.02],
    "methods": {
        "dense": {"lr": "adam", "settings": ["optim=adam"], "dense": True},
        "gmp": {
            "lr": "adam",
            "settings": ["optim=adam", "optim.sparsifier={name: gmp, density: DENSITY}"],
        },
    },
}


class Pretended:
    """A study that writes what training would leave: at 0.02 validation peaks, then falls."""

    failing = ""

    def __init__(self, runs: list[Run], command: object, jobs: int) -> None:
        self.runs = runs

    def fit(self) -> dict[str, str]:
        for run in self.runs:
            if self.failing and self.failing in run.name:
                continue
            config = assembly.check(composed(run.arguments))
            high = config["optim"]["lr"] == 0.02
            course = [0.99, 0.99, 0.5, 0.5, 0.5, 0.5, 0.5] if high else [0.1, 0.1] + [0.6] * 5
            run.folder.mkdir(parents=True)
            (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
            rows = [f"{epoch},{value}" for epoch, value in enumerate(course, 1)]
            text = "\n".join(["epoch,deployed_val_acc", *rows, ""])
            (run.folder / "metrics.csv").write_text(text)
            summary = {"status": "completed", "epochs": 30, "best_deployed_val_acc": course[-1]}
            (run.folder / "summary.json").write_text(json.dumps(summary))
        return {}


def options(folder: Path, *more: str) -> Namespace:
    places = ["--runs", str(folder / "runs"), "--output", str(folder / "out"), "--seeds", "0,4"]
    return cli.parse("rivals", [*places, *more])


def test_the_rate_that_is_best_in_the_last_epochs_is_used_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "Study", Pretended)
    monkeypatch.setattr(rivals, "read_plan", lambda: PLAN)
    monkeypatch.setattr(rivals.analysis, "write_report", lambda *_: tmp_path)
    assert rivals.run(options(tmp_path)) == 0
    trials = [rivals.read_run(path) for path in (tmp_path / "runs" / "trials").iterdir()]
    assert len(trials) == 4
    assert {(run.seed, run.fold) for run in trials} == {(0, 0)}
    found = [
        rivals.read_run(path) for path in (tmp_path / "runs").iterdir() if path.name != "trials"
    ]
    assert {run.settings["optim.lr"] for run in found} == {0.01}
    assert {(run.seed, run.fold) for run in found} == {(0, 0), (4, 4)}
    densities = [run.settings.get("optim.sparsifier.density") for run in found]
    assert sorted(map(str, densities)) == ["0.1", "0.1", "0.5", "0.5", "None", "None"]
    table = (tmp_path / "out" / "tables" / "trials_spoken_digits.csv").read_text().splitlines()
    assert sum("chosen" in row for row in table) == 2
    assert all("0.01" in row for row in table if "chosen" in row)


@pytest.mark.parametrize(("more", "rate", "trials"), [([], 0.02, 2), (["--trials"], 0.01, 4)])
def test_a_chosen_rate_is_not_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], rate: float, trials: int
) -> None:
    monkeypatch.setattr(rivals, "Study", Pretended)
    plan = {**PLAN, "chosen": {"spoken_digits": {"gmp": 0.02}, "rows_mnist": {"dense": 0.02}}}
    monkeypatch.setattr(rivals, "read_plan", lambda: plan)
    monkeypatch.setattr(rivals.analysis, "write_report", lambda *_: tmp_path)
    assert rivals.run(options(tmp_path, *more)) == 0
    tried = [rivals.read_run(path) for path in (tmp_path / "runs" / "trials").iterdir()]
    assert len(tried) == trials
    found = [rivals.read_run(p) for p in (tmp_path / "runs").iterdir() if p.name != "trials"]
    rates = {
        str(run.settings.get("optim.sparsifier.name")): run.settings["optim.lr"] for run in found
    }
    assert rates == {"gmp": rate, "None": 0.01}


def test_the_chosen_rates_are_those_of_the_plan() -> None:
    plan = rivals.read_plan()
    for dataset, rates in plan["chosen"].items():
        assert dataset in plan["datasets"]
        for rival in rivals.rivals(plan, list(rates)):
            tried = [*rival.rates, *plan["sgd"], *plan["shrinking"]]
            assert rates[rival.name] in tried


def test_a_method_with_a_missing_trial_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "Study", Pretended)
    monkeypatch.setattr(rivals, "read_plan", lambda: PLAN)
    monkeypatch.setattr(rivals.analysis, "write_report", lambda *_: tmp_path)
    monkeypatch.setattr(Pretended, "failing", "gmp, density: 0.1} optim.lr=0.02")
    rivals.run(options(tmp_path))
    found = [rivals.read_run(p) for p in (tmp_path / "runs").iterdir() if p.name != "trials"]
    assert {"optim.sparsifier.name" in run.settings for run in found} == {False}


@pytest.mark.parametrize("dataset", ["spoken_digits", "rows_mnist"])
def test_every_method_of_the_plan_passes_its_schema(dataset: str) -> None:
    plan = rivals.read_plan()
    common = rivals.common_settings(plan, dataset, seed=3)
    found = rivals.rivals(plan)
    assert len({len(rival.rates) for rival in found}) == 1  # as many trials for each
    for rival in found:
        if any("NEURONS" in setting for setting in rival.settings):
            continue  # needs the data; see below
        config = assembly.check(composed(rival.overrides(common, 0.05, 0.125)))
        assert config["optim"]["lr"] == 0.125
        assert config["trainer"]["select"] == "last"
        goals = [config["optim"].get("sparsifier") or {}, config["scheduler"].get("lam") or {}]
        assert rival.dense or {goal["density"] for goal in goals if "density" in goal} == {0.05}


def test_the_small_network_has_as_many_weights_as_the_sparse_one() -> None:
    plan = rivals.read_plan()
    common = rivals.common_settings(plan, "spoken_digits", seed=0)
    # 128 neurons: 3 * 128^2 + 150 * 128 = 68,352 weights; a tenth: 29 neurons have 6,873
    small, long = rivals.rivals(plan, ["small", "small_long"])
    config = assembly.check(composed(small.overrides(common, 0.1, 0.01)))
    assert config["model"]["hidden"] == [29, 29]
    again = assembly.check(composed(long.overrides(common, 0.02, 0.01)))
    assert again["model"]["hidden"] == [8, 8]  # 1,392 of 1,367 wanted
    assert again["trainer"]["epochs"] == 3 * config["trainer"]["epochs"]
    extra = ["dataset.epochs=2"]
    short = assembly.check(composed([*long.overrides(common, 0.02, 0.01, extra), *extra]))
    assert short["trainer"]["epochs"] == 6


def test_the_small_network_is_found_where_the_data_are(idx_root: Path) -> None:
    plan = rivals.read_plan()
    common = rivals.common_settings(plan, "rows_mnist", seed=0)
    (small,) = rivals.rivals(plan, ["small"])
    extra = [f"dataset.root={idx_root}"]
    settings = small.overrides([*common, "dataset.valid_fraction=0.5"], 0.1, 0.01, extra)
    # 128 neurons: 3 * 128^2 + 38 * 128 = 54,016 weights; a tenth: 37 neurons have 5,513
    assert "model.hidden=[37,37]" in settings
    assert not set(extra) & set(settings)


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match=r"gpm is no method of configs/rivals.yaml.*dense.*gmp"):
        rivals.rivals(PLAN, ["gpm"])
    with pytest.raises(ValueError, match="no data set ssc; choose from spoken_digits"):
        rivals.common_settings(PLAN, "ssc", 0)
    with pytest.raises(ValueError, match="No trial of this method"):
        rivals.chosen_rate({0.1: float("nan")})
    assert rivals.chosen_rate({0.2: 0.5, 0.1: 0.5, 0.3: float("nan")}) == 0.1
