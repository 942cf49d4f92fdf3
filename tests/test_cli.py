"""The command line before a command runs: choosing it, reading its options, and its configs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import snnbreg
from snnbreg import assembly, cli
from tests_support import ROOT, SMALL_DIGITS


def test_an_unknown_command_gets_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evalute", "folder"]) == 2
    said = capsys.readouterr().err
    assert "no command evalute. Did you mean evaluate?" in said
    for name in ("train", *cli.COMMANDS):
        assert f"\n  {name} " in said
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == 2 * f"{cli.usage()}\n"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_its_module(name: str) -> None:
    assert (Path(snnbreg.__file__).parent / "commands" / f"{name}.py").is_file()


def test_help_and_importing_the_package_are_cheap() -> None:
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.parse(name, ["--help"])
        assert stop.value.code == 0
    code = (
        "import sys, snnbreg, snnbreg.cli; snnbreg.cli.parse('evaluate', ['folder']); "
        "print([m for m in ('torch', 'hydra', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_options_and_overrides_come_in_any_order() -> None:
    options = cli.parse("reproduce", ["all", "--jobs", "3", "device=cpu", "--seeds", "4,5", "a=1"])
    assert (options.target, options.jobs, options.seeds) == ("all", 3, [4, 5])
    assert options.overrides == ["device=cpu", "a=1"]
    assert options.lambdas == [0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10]


def test_the_configs_are_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert assembly.config_folder() == ROOT / "configs"
    package = tmp_path / "snnbreg"
    package.mkdir()
    monkeypatch.setattr(snnbreg, "__file__", str(package / "__init__.py"))
    with pytest.raises(FileNotFoundError, match="lacks its folder configs"):
        assembly.config_folder()
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    assert assembly.config_folder() == tmp_path / "configs"
    shutil.copytree(ROOT / "configs", package / "configs")
    assert assembly.config_folder() == package / "configs"


def test_train_takes_groups_from_the_users_folder_too(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("defaults: [adabreg]\nlam: 0.125\n")
    done = subprocess.run(
        [sys.executable, "-m", "snnbreg", "train", f"--config-dir={tmp_path}", "optim=mine",
         *SMALL_DIGITS, "--cfg", "job"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert "lam: 0.125" in done.stdout, done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(("line", "offered"), [
    ("snnbreg train optim=ada", {"optim=adabreg", "optim=adam", "optim=adamw"}),
    ("snnbreg tr", {"train"}),
    ("snnbreg ", {"train", *cli.COMMANDS}),
    ("snnbreg report outputs/", set()),
])  # fmt: skip
def test_the_shell_completes_a_line(line: str, offered: set[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snnbreg", "-sc", "query=bash"], cwd=tmp_path,
        capture_output=True, text=True, env={**os.environ, "COMP_LINE": line},
    )  # fmt: skip
    assert set(done.stdout.split()) == offered, done.stderr
