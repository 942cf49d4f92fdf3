"""The pages: written from the code as it is, with links that lead somewhere and right commands."""

from __future__ import annotations

import ast
import csv
import importlib
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from snnbreg import assembly, cli
from snnbreg.analysis.gallery import FIGURES, TABLES
from snnbreg.datasets.download import FOLDERS
from tests_support import ROOT, load_script

reference = load_script("scripts/reference.py")
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md")]
)  # fmt: skip
GROUPS = ("dataset", "model", "optim", "scheduler", "trainer", "logger")
SHELL = {
    "pip", "mutmut", "make", "sbatch", "mkdocs", "python3", "pytest", "tar", "cp", "mkdir", "for",
    "do", "done", "sed", "timeout", "ruff", "mypy", ".",
}  # fmt: skip
"""First words of lines that start no command of ours, or start it in a way of their own."""


@pytest.mark.parametrize("page", reference.PAGES)
def test_pages_are_written_from_the_code_as_it_is(page: str) -> None:
    now = reference.PAGES[page]().rstrip() + "\n"
    assert (ROOT / "docs" / page).read_text() == now, "run python scripts/reference.py"


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_of_a_config_has_a_comment_or_inherits_one(group: str) -> None:
    known = reference.meanings(group)
    for path in reference.files(group).values():
        for name in reference.keys(path):
            assert known.get(name), f"{path} does not say what {name} is, nor does another file"


def test_what_stands_beside_a_key_is_read(tmp_path: Path) -> None:
    path = tmp_path / "group.yaml"
    path.write_text("# Head.\nname: x\na: [1, 2]   # first\n            # second\nb: null\n")
    assert reference.keys(path) == {
        "name": ("x", ""), "a": ("[1, 2]", "first second"), "b": ("null", ""),
    }  # fmt: skip
    assert reference.head(path) == ("", "Head.")


def test_a_run_folder_holds_what_its_page_says(
    small: Callable[..., dict[str, Any]], train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    import numpy as np

    from snnbreg.runs import RunFolder

    run = RunFolder(tmp_path)
    with run.locked():
        summary = train(small("trainer.epochs=1"), run)
    named = {key.replace("{measure}", "acc") for key in reference.SUMMARY}
    assert set(summary) == named
    for path in tmp_path.rglob("*"):
        name = path.relative_to(tmp_path).as_posix()
        assert path.is_dir() or name in reference.FILES, name
    arrays = {name for names in reference.PREDICTIONS for name in names.split(", ")}
    with np.load(run.predictions) as predictions:
        assert set(predictions) <= arrays
    columns = [name.replace("{measure}", "acc") for name in reference.COLUMNS]
    for column in run.read_metrics() or {}:
        assert any(fnmatchcase(column, name) for name in columns), column


def test_the_page_on_reports_knows_every_table_and_figure() -> None:
    text = (ROOT / "docs" / "report.md").read_text()
    for name in [*FIGURES, *TABLES]:
        assert f"`{name}`" in text or f"`{name}_...`" in text, name


def test_what_the_page_on_lambda_says_is_in_its_runs() -> None:
    text = (ROOT / "docs" / "lam.md").read_text()
    with open(ROOT / "results" / "lambda" / "runs.csv") as file:
        rows = [{k: float(v) for k, v in r.items() if v} for r in csv.DictReader(file)]

    def weights(**wanted: float) -> list[int]:
        found = [r for r in rows if "lam" in r and all(r[k] == v for k, v in wanted.items())]
        return sorted(round(100 * r["density"]) for r in found)

    assert len(rows) == 56
    sparse, dense = weights(start=0.05), weights(start=1.0)
    assert f"{sparse[0]} to {sparse[-1]} % of the weights" in text
    assert f"{dense[0]} % of the weights stay" in text
    (slow,) = weights(start=0.05, lam=0.1, epochs=16, lr=0.001)
    (fast,) = weights(start=0.05, lam=0.1, epochs=16, lr=0.01)
    (short,) = weights(start=0.05, lam=0.1, epochs=4, lr=0.01)
    assert f"leaves {slow} % of the weights at lr 0.001\n  and {fast} % at lr 0.01" in text
    assert f"{short} % after 4 epochs, {fast} % after 16" in text
    for row in (row for row in rows if "target" in row):
        assert row["density"] == pytest.approx(0.1, abs=5e-5)
        assert f"{100 * row['val_acc']:.0f} %" in text or "(10 or 11 %)" in text


# -- links ------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What code-hosting pages make of headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        assert not posixpath.isabs(path)
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(file), f"{target} has no such heading"


# -- commands ---------------------------------------------------------------------------------


def blocks(text: str, language: str) -> Iterator[str]:
    """The code blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in code blocks, and of ours in the text."""
    text = page.read_text()
    lines = "\n".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`((?:python |snnbreg |torchrun )[^`]+)`", text)
    for line in [*lines, *(" ".join(line.split()) for line in inline)]:
        words: list[str] = []
        try:
            split = shlex.split(line, comments=True)
        except ValueError as error:
            raise AssertionError(f"{page.name}: {line}: {error}") from error
        for word in split:
            if word in ("&&", "|", "||", ";") or word.endswith(";"):
                yield [*words, *([word.rstrip(";")] if word.endswith(";") and word != ";" else [])]
                words = []
            else:
                words.append(word)
        yield words


def overrides_of(words: list[str]) -> list[str]:
    """The overrides of Hydra among the words; those that stand for others are left out."""
    kept = []
    for word in words:
        fine = "=" in word and not word.startswith("-")
        own = word.startswith(("hydra/launcher=", "hydra.launcher", "+hydra.launcher"))
        if fine and not own and word != "KEY=VALUE" and not word.startswith("experiment=NAME"):
            kept.append(word)
    return kept


def check_overrides(words: list[str]) -> None:
    """The first job of these overrides composes and passes its schema; all choices are there."""
    for override in OverridesParser.create().parse_overrides(overrides_of(words)):
        choices = [override.value()]
        if override.is_sweep_override():
            choices = list(override.sweep_string_iterator())
        key = override.get_key_element()
        if (ROOT / "configs" / key).is_dir():
            for choice in choices:
                assert (ROOT / "configs" / key / f"{choice}.yaml").is_file(), f"{key}={choice}"
    jobs = []
    for override in OverridesParser.create().parse_overrides(overrides_of(words)):
        key = override.get_key_element()
        if override.is_sweep_override():
            jobs.append(f"{key}={next(iter(override.sweep_string_iterator()))}")
        else:
            jobs.append(f"{key}={override.get_value_element_as_str()}")
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("config", jobs, return_hydra_config=True)
    plain = {key: value for key, value in cfg.items() if key != "hydra"}
    values: Any = OmegaConf.to_container(OmegaConf.create(plain))
    assembly.sweeps.leave_out(values, jobs)
    assembly.check(values)


def check_command(words: list[str]) -> None:
    """One command: ours must parse, others must be of a known kind."""
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if (
        not words
        or words[0] in SHELL
        or "$(" in words[0]
        or words[:2] in (["snnbreg", "network"], ["snnbreg", "NAME"])
    ):
        return  # the last two: the name of a format, any command
    if words[:2] == ["python", "scripts/NAME.py"]:
        return
    if words[0] == "python" and words[1:2] and words[1].startswith("scripts/"):
        assert (ROOT / words[1]).is_file(), words[1]
        name = Path(words[1]).stem
        words = ["snnbreg", {"compare_runs": "compare"}.get(name, name), *words[2:]]
        if words[1] not in cli.COMMANDS:
            return
    if words[0] == "torchrun":
        words = ["python", *words[words.index("train.py") :]]
    if words[:2] == ["python", "train.py"] or words[:2] == ["snnbreg", "train"]:
        check_overrides(words[2:])
        return
    assert words[0] == "snnbreg", f"{words[0]} is no command that the tests know"
    if len(words) == 2 and words[1] in cli.COMMANDS:  # its name, in a sentence
        return
    if "|" in words[1]:
        assert set(words[1].split("|")) <= set(cli.COMMANDS), words[1]
        return
    try:
        options = cli.parse(words[1], [word for word in words[2:] if word != "..."])
    except SystemExit as error:
        raise AssertionError(" ".join(words)) from error
    if words[1] == "prepare":
        assert options.dataset in ("audio", "arabic_commands", *FOLDERS, "NAME"), options.dataset
    if words[1] in ("reproduce", "rivals", "tune", "width"):
        check_overrides(options.overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page: Path) -> None:
    for words in commands(page):
        try:
            check_command(words)
        except Exception as error:
            raise AssertionError(f"{' '.join(words)}: {error}") from error


def test_a_wrong_key_in_a_command_is_found() -> None:
    for line in (
        "python train.py optim.lamm=1", "snnbreg export RUN", "snnbreg reproduce all --sedes 1",
        "python train.py -m optim=adam,adabrog", "wandb login",
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"lamm|export RUN|sedes|adabrog|wandb"):
            check_command(shlex.split(line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_pages_imports_what_there_is(page: Path) -> None:
    for block in blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("snnbreg"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
