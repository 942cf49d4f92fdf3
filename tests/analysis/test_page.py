from __future__ import annotations

import base64
import logging
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from snnbreg.analysis import (
    FIGURES,
    Group,
    Run,
    confusion_matrix,
    paired_table,
    read_run,
    report,
    report_tables,
)
from snnbreg.analysis.studies import is_dense
from snnbreg.cli import parse
from snnbreg.commands import report as command

Make = Callable[..., Path]
BREGMAN = ("bregman_figure2", "bregman_figure3", "autoencoder_neurons", "autoencoder_digits")
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and remembers them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def test_report_is_one_whole_file(study: list[Run], tmp_path: Path) -> None:
    path = report(tmp_path / "runs", tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    images = [a for tag, a in page.tags if tag == "img"]
    missing = ["accuracy_by_method", "accuracy_against_cost", "admm", "steps", *BREGMAN]
    assert len(images) == len(FIGURES) - len(missing)
    for attributes in images:
        assert attributes["alt"]
        kind, _, data = str(attributes["src"]).partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")
    for _, attributes in page.tags:  # nothing is fetched
        for name in ("src", "href"):
            assert str(attributes.get(name) or "data:").startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", re.sub(r"base64,[^']*", "", text))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [str(a["href"])[1:] for tag, a in page.tags if tag == "a"]
    assert set(links) <= set(ids)
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ) in page.tags


def test_report_says_what_was_found(study: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    hydra = study[0].path / ".hydra"
    hydra.mkdir()
    (hydra / "overrides.yaml").write_text("- optim=adam\n- seed=0\n")
    (study[1].path / "config.yaml").write_text("[")
    path = report(folder, tmp_path / "out", ["figure1", "figure3"])
    page = Page(path.read_text(encoding="utf-8"))
    assert "AdaBreg at λ = 1 keeps 25.0" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "15 runs (15 completed)" in page.text
    assert "snnbreg train optim=adam seed=0" in page.text
    assert f"snnbreg report {folder} --figures figure3" in page.text
    assert f"Skipped {study[1].path}" in page.text
    assert "did not end" not in page.text
    names = {p.name for p in (tmp_path / "out").rglob("*")}
    assert "Sparse beside dense networks on the same samples of spoken_digits" in page.text
    assert page.text.index("Sparse beside") < page.text.index("Neurons per layer")
    assert {
        "paired_spoken_digits.csv",
        "table2.md",
        "table2.csv",
        "table2.tex",
        "lambda_spoken_digits.csv",
    } <= names
    assert {"figure1.svg", "figure1.png", "figure3.svg"} <= names


def test_each_data_set_has_its_own_image(make: Make, tmp_path: Path) -> None:
    for name in ("shd", "ssc"):
        make({"dataset.name": name})
    path = report(tmp_path / "runs", names=["figure1"])
    assert path == tmp_path / "runs" / "report" / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    described = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert ["shd" in str(d) for d in described] == [True, False]
    assert "Not drawn" in page.text


def test_what_cannot_be_reported(make: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        report(tmp_path / "nowhere")
    (make() / "summary.json").unlink()
    (make() / "config.yaml").write_text("[")
    with pytest.raises(ValueError, match=r"no run that has ended \(1 unfinished; 1 could not"):
        report(tmp_path / "runs")
    with pytest.raises(ValueError, match="no figure 'x'; choose from figure1"):
        report(tmp_path / "runs", names=["x"])


def test_slim_folders_give_the_whole_paired_table(
    study: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Config, summary and predictions are enough, and nothing is drawn."""
    slim = tmp_path / "slim"
    for run in study:
        (slim / run.path.name).mkdir(parents=True)
        for name in ("config.yaml", "summary.json", "predictions.npz"):
            shutil.copy(run.path / name, slim / run.path.name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it is an error now
    whole = paired_table(study, "spoken_digits")
    assert len(whole.rows) == 6
    assert report_tables(slim, ["paired"]) == [whole]
    arguments = [str(slim), "--tables", "paired", "--output", str(tmp_path / "out")]
    command.run(parse("report", arguments))
    assert capsys.readouterr().out == whole.to_markdown()
    assert (tmp_path / "out" / "paired_spoken_digits.csv").read_text() == whole.to_csv()
    assert not (slim / "report").exists()
    assert [table.name for table in report_tables(slim)] == [
        "table2", "paired_spoken_digits", "lambda_spoken_digits",
    ]  # fmt: skip


def test_runs_of_two_versions_are_told_apart_unless_a_key_is_ignored(
    study: list[Run], tmp_path: Path
) -> None:
    """One of the sparse runs has a key that did not exist when the others ran."""
    runs = Path(shutil.copytree(study[0].path.parent, tmp_path / "copies"))
    whole = paired_table(study, "spoken_digits")
    newer = next(run for run in study if not is_dense(run))
    with (runs / newer.path.name / "config.yaml").open("a") as file:
        file.write("newkey: 3\n")
    assert report_tables(runs, ["paired"]) != [whole]
    assert report_tables(runs, ["paired"], ignore=["newkey"]) == [whole]
    with pytest.raises(ValueError, match=r"No run below .* has the setting another"):
        report_tables(runs, ["paired"], ignore=["another"])


def test_tables_that_cannot_be_made(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make()
    (make({"seed": 1}) / "summary.json").write_text("[]")
    with pytest.raises(ValueError, match="no table 'x'; choose from table2, paired, "):
        report_tables(tmp_path / "runs", ["x"])
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ValueError, match="nothing for the tables paired; paired needs sparse"),
    ):
        report_tables(tmp_path / "runs", ["paired"])
    assert "summary.json holds no summary" in caplog.text


def test_runs_that_did_not_end_are_told_of(
    study: list[Run], make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make({"seed": 7}, summary={"status": "interrupted"}, losses=(3.0, 2.0))
    said = rf"1 of {len(study) + 1} runs did not end .* \(interrupted after 2 epochs\)"
    report_tables(tmp_path / "runs", ["table2"])
    assert re.search(said, caplog.text)
    path = report(tmp_path / "runs", names=["figure1"])
    assert re.search(said, Page(path.read_text(encoding="utf-8")).text)


def test_a_real_run(small: Any, train: Any, tmp_path: Path) -> None:
    """What training writes today is what is read here."""
    import yaml

    from snnbreg.training import RunFolder

    config = small("optim.lam=0.5", "optim.lr=0.01", "optim.init_density=1.0")
    folder = tmp_path / "study" / "run"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    summary = train(config, RunFolder(folder))
    names = ["figure1", "figure4", *list(FIGURES)[6:]]
    page = Page(report(tmp_path / "study", names=names).read_text(encoding="utf-8"))
    shown = {a["id"] for tag, a in page.tags if tag == "figure"}
    # one run, with a schedule
    missing = {
        "figure4", "accuracy_by_method", "accuracy_against_cost", "admm", "steps", *BREGMAN,
    }  # fmt: skip
    assert set(names) - shown == missing
    matrix = confusion_matrix(Group({}, (read_run(folder),)))
    assert matrix.trace() / matrix.sum() == summary["deployed_test_acc"]
