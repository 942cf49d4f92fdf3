"""The specification that W&B is sent, held to what configs/wandb_dashboard.yaml says."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from snnbreg.cli import parse
from snnbreg.commands.dashboard import run
from snnbreg.training.dashboard import save, specification, workspace
from tests_support import ROOT

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")

DESCRIBED = yaml.safe_load((ROOT / "configs" / "wandb_dashboard.yaml").read_text())


def panels(view: Any) -> dict[str, dict[str, Any]]:
    """The panels of a view by title: their settings, and ``viewType``."""
    (section,) = specification(view)["spec"]["section"]["panelBankConfig"]["sections"]
    assert section["isOpen"]
    flow = section["flowConfig"]
    assert flow["columnsPerPage"] * flow["rowsPerPage"] >= len(section["panels"])  # one page
    return {
        panel["config"]["chartTitle"]: panel["config"] | {"viewType": panel["viewType"]}
        for panel in section["panels"]
    }


def one(**panel: Any) -> dict[str, Any]:
    """What becomes of one panel."""
    description = {"group_by": [], "x_axis": "epoch", "panels": [{"title": "A"} | panel]}
    return panels(workspace(description, "p"))["A"]


def test_every_panel_of_the_file_is_there() -> None:
    found = panels(workspace(DESCRIBED, "p"))
    assert list(found) == [panel["title"] for panel in DESCRIBED["panels"]]
    kinds = {"line": "Run History Line Plot", "histogram": "Run History Line Plot",
             "scatter": "Scatter Plot"}  # fmt: skip
    for panel in DESCRIBED["panels"]:
        assert found[panel["title"]]["viewType"] == kinds[panel["type"]], panel
    loss = found["Loss against epoch by lambda"]
    assert (loss["xAxis"], loss["metrics"]) == ("epoch", ["val_loss", "train_loss"])
    assert (loss["groupAgg"], loss["groupArea"]) == ("mean", "stddev")
    assert "useMetricRegex" not in loss
    best = found["Best accuracy against lambda"]
    # a nested setting lies below the value of its group
    assert (best["xAxis"], best["yAxis"]) == ("config:optim.value.lam", "summary:best_val_acc")
    assert best["xAxisLogScale"] is True
    against = found["Accuracy of the deployed network against density"]
    assert (against["xAxis"], against["yAxis"]) == (
        "summary:density", "summary:best_deployed_val_acc",
    )  # fmt: skip
    assert "xAxisLogScale" not in against


@pytest.mark.parametrize(
    ("title", "matched"),
    [
        ("Density per layer", "density/layers.0.linear.weight"),
        ("Spikes per neuron and step by layer", "firing_rate/layers.1"),
        ("Delays", "delay/layers.0"),
    ],
)
def test_a_star_is_any_characters_of_a_whole_name(title: str, matched: str) -> None:
    panel = panels(workspace(DESCRIBED, "p"))[title]
    assert (panel["metrics"], panel["useMetricRegex"], panel["xAxis"]) == ([], True, "epoch")
    names = ["density", "firing_rate", "deployed_density/x", "nonzero/x", matched]
    assert [name for name in names if re.search(panel["metricRegex"], name)] == [matched]


def test_names_beside_a_star_are_taken_literally() -> None:
    pattern = one(type="line", y=["a.b", "c/*"])["metricRegex"]
    names = ["a.b", "c/1", "axb", "a.bb", "1c/1", "c"]
    assert [name for name in names if re.search(pattern, name)] == ["a.b", "c/1"]


def test_axes_of_a_panel() -> None:
    assert one(type="line", y=["a"], x="b", log_x=True)["xLogScale"] is True
    assert one(type="line", y=["a"], x="b")["xAxis"] == "b"
    assert one(type="scatter", y=["config.a.b"])["xAxis"] == "summary:epoch"
    assert one(type="scatter", y=["config.a.b"])["yAxis"] == "config:a.value.b"


def test_runs_are_grouped_and_a_sweep_can_be_shown_alone() -> None:
    everything = specification(workspace(DESCRIBED, "p", "e"))
    assert (everything["project"], everything["entity"]) == ("p", "e")
    section = everything["spec"]["section"]
    assert section["settings"]["xAxis"] == "epoch"
    assert section["settings"]["maxRuns"] == 100
    (runs,) = section["runSets"]
    assert [(key["section"], key["name"]) for key in runs["grouping"]] == [
        ("run", "group"), ("config", "optim.value.lam"),
    ]  # fmt: skip
    assert not runs["filters"]["filters"]
    sweep = specification(workspace(DESCRIBED, "p", group="night"))
    assert sweep["displayName"] == "Sweep night"
    (kept,) = sweep["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert (kept["key"], kept["op"], kept["value"]) == (
        {"section": "run", "name": "group"}, "=", "night",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        ({"type": "pie", "y": ["a"]}, "'A' has the type 'pie'; choose from line, scatter, histo"),
        ({"y": ["a"]}, "'A' has the type None"),
        ({"type": "line", "y": ["a"], "z": 1}, r"'A' has unknown keys \['z'\]; known are"),
        ({"type": "line"}, "'A' needs y, a list of names"),
        ({"type": "line", "y": "loss"}, "'A' needs y, a list of names"),
        ({"type": "scatter", "y": ["a", "b"]}, "'A' is a scatter plot: its y is one name"),
        ({"type": "scatter", "y": ["a/*"]}, "'A' is a scatter plot: its y is one name"),
    ],
)
def test_a_panel_that_cannot_be_built(panel: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one(**panel)


def test_a_description_that_lacks_a_key() -> None:
    with pytest.raises(ValueError, match=r"has the keys .*'x_axis'\], not \['panels'\]"):
        workspace({"panels": []}, "p")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(ValueError, match=r"pip install 'snnbreg\[dashboard\]'"):
        workspace(DESCRIBED, "p")


class Server:
    """W&B's server as the package talks to it: keeps what it is sent."""

    default_entity = "me"

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._service_api = SimpleNamespace(execute_graphql=self.answer, app_url="https://w")

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(variables)
        return {"upsertView": {"view": {"name": "nw-abc-v", "id": "1"}}}


def test_the_view_is_saved_as_it_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    monkeypatch.setattr("wandb.Api", lambda: server)
    run(parse("dashboard", ["--project", "p", "--print"]))
    printed = json.loads(capsys.readouterr().out)
    assert not server.sent
    run(parse("dashboard", ["--project", "p"]))
    assert capsys.readouterr().out == "https://w/me/p?nw=abc\n"
    (sent,) = server.sent
    assert (sent["projectName"], sent["entityName"]) == ("p", "me")
    assert without_names(json.loads(sent["spec"])) == without_names(printed["spec"])


def without_names(spec: Any) -> Any:
    """A specification without the random names of its panels."""
    if isinstance(spec, dict):
        return {key: without_names(value) for key, value in spec.items() if key != "__id__"}
    return [without_names(value) for value in spec] if isinstance(spec, list) else spec


def test_without_an_account_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def api() -> None:
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr("wandb.Api", api)
    with pytest.raises(ValueError, match="W&B did not save the view: No API key configured"):
        save(workspace(DESCRIBED, "p"))
