"""Make trained networks ready for a chip, with the proof that nothing changed.

Of many runs, or with several numbers of bits, each export lies below a slim copy of its run
(config, summary, predictions), where a report finds it: ``DIR/RUN/exports/8``. Kill it at any time:
the same command makes only what is missing.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from snnbreg.commands.exporting import REPORT, Choices, export, made_of
from snnbreg.runs import read_run, read_runs, write_atomically

COPIED = ("summary.json", "predictions.npz")
PLACES = ("root", "cache")
"""Of ``dataset``: where its files lie, which a copy leaves out."""


def run(options: Namespace) -> int:
    """Export and say what was found; 1 where one of many could not be made."""
    folders = [options.folder, *(word for word in options.overrides if "=" not in word)]
    overrides = [word for word in options.overrides if "=" in word]
    rest = (options.samples, options.layout, options.checkpoint)
    wanted = [
        Choices(bits, *rest, options.finetune if bits < 32 or len(options.bits) == 1 else 0)
        for bits in options.bits
    ]
    if len(folders) == len(wanted) == 1 and not _holds_runs(Path(folders[0])):
        report = export(folders[0], options.out, wanted[0], overrides)
        print(_table(report))
        print(f"Export: {options.out}; make -C {options.out} check compiles and compares")
        return 0
    failed = 0
    for path in _finished(folders):
        for choices in wanted:
            try:
                print(_one_of_many(path, Path(options.out), choices, overrides), flush=True)
            except (ValueError, OSError) as error:
                failed = 1
                print(f"Failed: {path.name}, {choices.bits} bits: {error}", file=sys.stderr)
    return failed


def _holds_runs(folder: Path) -> bool:
    return not (folder / "checkpoints").is_dir() and folder.is_dir() and bool(read_runs(folder))


def _finished(folders: Sequence[str]) -> list[Path]:
    """The runs at or below some folders that have been completed.

    Raises:
        ValueError: there is none, or two of them have the same name.
    """
    paths = [run.path for folder in folders for run in read_runs(folder)
             if run.status == "completed" and (run.path / "checkpoints").is_dir()]  # fmt: skip
    paths = list(dict.fromkeys(path.resolve() for path in paths))
    if not paths:
        raise ValueError(f"There is no completed run with checkpoints in {', '.join(folders)}")
    twice = {path.name for path in paths if sum(path.name == other.name for other in paths) > 1}
    if twice:
        raise ValueError(f"Several runs have the name {twice.pop()}: export them one by one")
    return paths


def _one_of_many(path: Path, out: Path, choices: Choices, overrides: list[str]) -> str:
    """Make one export unless it is there; says so in a line.

    Raises:
        ValueError: the run cannot be exported, or another run's copy lies where its own should.
    """
    home = out / path.name
    _copy(path, home)
    label = str(choices.bits) + (f"_finetuned{choices.finetune}" if choices.finetune else "")
    place = home / "exports" / label
    report, state = _read(place / REPORT), "there already"
    if report is None or report["made_of"] != made_of(path, choices):
        (place / REPORT).unlink(missing_ok=True)
        report, state = export(str(path), place, choices, overrides), "made"
    acc = ", ".join(f"{split} {value:.4f}" for split, value in report["acc"].items())
    return f"{place}: {state}; {acc}"


def _copy(path: Path, home: Path) -> None:
    """A run's config, summary and predictions, which are all that tables need."""
    if home.exists() and home.samefile(path):
        return
    for name in COPIED:
        content, file = (path / name).read_bytes(), home / name
        if file.exists() and file.read_bytes() != content:
            raise ValueError(f"{home} holds another run of this name: choose another --out")
        _write(file, content)
    run = read_run(path)
    config = run.config
    if run.title is not None:
        config["dataset"]["title"] = run.title  # which the folder may have given
    config["dataset"] |= {key: None for key in PLACES if key in config["dataset"]}
    _write(home / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _table(report: dict[str, Any]) -> str:
    proof = report["proof"]
    removed = sum(len(names) for why in report["removed"] for names in why.values())
    rows = [
        ("neurons", f"{sum(report['neurons'])} of {sum(report['neurons']) + removed}"),
        ("weights", f"{report['nonzero']:,} of {report['weights']:,}"),
        ("test samples", f"{proof['samples']}"),
        ("spikes that differ", f"{proof['differing_spikes']} of {sum(proof['spikes']):,}"),
        ("classes that differ", f"{proof['differing_classes']}"),
        ("accuracy", f"{proof['acc']:.4f}; trained network: {proof['trained_acc']:.4f}"),
    ]
    if "equal_classes" in report:
        rows.append(
            (f"in {report['made_of']['bits']} bits", f"accuracy {report['acc']['test']:.4f}")
        )
    size, operations = report["cost"]["bytes"], report["cost"]["operations"]
    rows += [
        ("bytes", f"{size['tables']:,}; dense in float32: {size['dense_float32']:,}"),
        ("operations", f"{operations['mean']:,.0f} ± {operations['deviation']:,.0f} a sample"),
    ]
    rows.append(("NIR", report["nir"]))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
