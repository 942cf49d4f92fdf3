"""Write the pages of reference: ``python scripts/reference.py``, after a change of what they say.

``docs/configuration.md`` is made of the comments in ``configs/``, ``docs/run_folder.md`` of the
columns of ``metrics.csv`` (``snnbreg/training/columns.py``) and the tables below. Tests compare
the pages with what this would write, and the tables with a run folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from snnbreg.training.columns import COLUMNS

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
NAME = "of the group's choice, or `my.Class`: a class of your own"
MADE = "<!-- Written by scripts/reference.py: change that, or what it reads. -->\n"

FILES = {
    "config.yaml": "every setting of the run, with nothing left to look up",
    "metrics.csv": "a row per epoch, written when the epoch ends",
    "summary.json": "what the run ended with",
    "predictions.npz": "the classes that the chosen checkpoint gives the validation and test samples",
    "classes.json": "the names of the classes, where they have names",
    "train.log": "what was printed",
    "checkpoints/initial.pt": "network and optimizer before the first epoch",
    "checkpoints/last.pt": "likewise after the last epoch that ended: where a stopped run goes on",
    "checkpoints/best.pt": "likewise after the epoch that `trainer.select` chose",
    ".hydra/config.yaml": "the settings as composed, `${...}` and all",
    ".hydra/hydra.yaml": "Hydra's own settings",
    ".hydra/overrides.yaml": "the command line",
    ".lock": "held while a process writes the folder; empty",
    "failed.txt": "of a sweep's job that failed: why",
    "report/": "what `snnbreg report FOLDER` made",
    "tensorboard/": "event files of `logger=tensorboard`",
}
SUMMARY = {
    "status": "`completed`, `diverged` (the loss was no longer a number) or `interrupted`",
    "measure": "of the task: `acc` (accuracy, a fraction) or `mse` (mean squared error)",
    "higher_is_better": "whether more of the measure is better",
    "best_epoch": "the chosen epoch, counted from 1; all figures below are of its checkpoint",
    "best_val_{measure}": "validation samples, published evaluation",
    "best_deployed_val_{measure}": "validation samples, deployed evaluation",
    "select": "what chose the epoch: `published`, `deployed` or `last`",
    "test_{measure}": "test samples, published evaluation",
    "test_loss": "likewise",
    "deployed_test_{measure}": "test samples, deployed evaluation",
    "deployed_test_loss": "likewise",
    "nonzero": "weights that are not zero, of all weight matrices",
    "density": "`nonzero` / all of these weights, a fraction",
    "synops": "synaptic operations per validation sample, published evaluation",
    "firing_rate": "spikes per hidden neuron and step, published evaluation",
    "deployed_synops": "operations of the deployed evaluation: what a chip does per sample",
    "deployed_firing_rate": "spikes per hidden neuron and step, deployed evaluation",
    "parameters": "all that is trained: weights (zeros too), biases, delays, spreads",
    "epochs": "epochs that ended",
    "seconds": "of training and evaluation, all epochs; not of loading and testing",
    "processes": "that shared the run",
}
PREDICTIONS = {
    "valid_ids, test_ids": "(n,): numbers of the samples in their data set",
    "valid_labels, test_labels": "(n,), or (n, T) where each step has a class; -1: no label",
    "valid_published, test_published": "the same shape: classes by the published evaluation",
    "valid_deployed, test_deployed": "likewise by the deployed evaluation",
    "valid_speakers, test_speakers": "(n,): where the data set knows who spoke",
    "class_names": "(K,): where the classes have names",
    "test_events": "(n, T, C): frames of some test samples, where each step has a class",
    "test_inputs, test_outputs, test_targets": "of a reconstruction: some test images",
}


class Key(NamedTuple):
    """A key of a config file: its value as written, and the comment beside it."""

    value: str
    comment: str


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    first, *rest = (
        "".join(f"| {cell.replace('|', chr(92) + '|')} " for cell in row) + "|"
        for row in (heading, *rows)
    )
    return "\n".join([first, re.sub(r"[^|]+", "---", first), *rest]) + "\n"


def code(text: str) -> str:
    """As code in a cell of a table."""
    return f"`{text}`" if text else ""


def head(path: Path) -> tuple[str, str]:
    """The comment at a config file's start: the command in it, if there is one, and the rest."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    lines = [line for line in lines if not line.startswith("@package")]
    commands = [line for line in lines if line.startswith("python train.py")]
    text = " ".join(line for line in lines if line not in commands)
    return (commands[0] if commands else ""), text


def keys(path: Path) -> dict[str, Key]:
    """The keys at the top level of a config file."""
    found: dict[str, Key] = {}
    last = ""
    for line in path.read_text().splitlines():
        match = re.match(r"(\w+):(?: +([^#]*?))?(?: +# ?(.*))?$", line)
        if match and match[1] != "defaults":
            last = match[1]
            found[last] = Key(match[2] or "", match[3] or "")
        elif last and (more := re.match(r" +# ?(.*)$", line)):
            old = found[last]
            found[last] = Key(old.value, f"{old.comment} {more[1]}")
        elif not line.startswith(" "):
            last = ""
    return found


def files(group: str) -> dict[str, Path]:
    """The config files of a group by name."""
    return {path.stem: path for path in sorted((CONFIGS / group).glob("*.yaml"))}


def meanings(group: str) -> dict[str, str]:
    """For each key of a group a comment that some file of it has."""
    found: dict[str, str] = {"name": NAME}
    for path in sorted(files(group).values(), key=lambda path: path.stem != "base"):
        for name, key in keys(path).items():
            if key.comment:
                found.setdefault(name, key.comment)
    return found


def group_tables(group: str) -> str:
    """A table of keys for every file of a group."""
    known, parts = meanings(group), []
    for name, path in files(group).items():
        _, text = head(path)
        rows = [
            (f"`{group}.{key}`", code(value), comment or known[key])
            for key, (value, comment) in keys(path).items()
            if key != "name"
        ]
        parts.append(f"### {group}={name}\n{text}\n\n" + table(("key", "value", "meaning"), rows))
    return "\n".join(parts)


def list_of(group: str, leave_out: Iterable[str] = ()) -> str:
    """A table with what each file of a group is."""
    rows = []
    for name, path in files(group).items():
        if name in leave_out:
            continue
        command, text = head(path)
        rows.append((f"`{name}`", code(command), text))
    heading = ("name", "command", "what it is")
    if not any(row[1] for row in rows):
        return table((heading[0], heading[2]), ((row[0], row[2]) for row in rows))
    return table(heading, rows)


def model_changes() -> str:
    """What the spiking networks say beside ``model=base``."""
    base, rows = keys(CONFIGS / "model" / "base.yaml"), []
    for name, path in files("model").items():
        own = {key: value.value for key, value in keys(path).items() if key != "name"}
        if name != "base" and set(own) <= set(base) and "defaults:" in path.read_text():
            _, text = head(path)
            changed = ", ".join(f"`{key}={value}`" for key, value in own.items())
            rows.append((f"`{name}`", text, changed))
    return table(("`model=`", "what it is", "what it changes"), rows)


def configuration() -> str:
    """The page of all config keys."""
    static = [
        f"### model={name}\n{head(path)[1]}\n\n"
        + table(("key", "value", "meaning"), [
            (f"`model.{key}`", code(value), comment or meanings("model")[key])
            for key, (value, comment) in keys(path).items() if key != "name"
        ])
        for name, path in files("model").items()
        if name == "base" or name in ("mlp", "convnet", "resnet18", "autoencoder")
    ]  # fmt: skip
    top = [
        (f"`{name}`", code(key.value), key.comment)
        for name, key in keys(CONFIGS / "config.yaml").items()
        if name != "hydra"
    ]
    return "\n".join([
        "# Configuration\n" + MADE,
        "Every key may stand on the command line: `optim.lam=0.2`. `python train.py --cfg job` prints what a command",
        "line amounts to. What wins over what: the command line, `debug=`, this machine's own settings",
        "([configs/local](../configs/local/README.md)), `hparams_search=`, `experiment=`, `configs/config.yaml`,",
        "the recipe of the data set and the optimizer, the files of the groups. The keys of a group are the arguments",
        "of the class that its `name` stands for: [adding to snnbreg](../CONTRIBUTING.md).\n",
        "## The whole run\n", table(("key", "value", "meaning"), top),
        "## trainer\n", group_tables("trainer"),
        "## dataset\n", group_tables("dataset"),
        "## model\n", *static, "### Other networks\n", model_changes(),
        "## optim\n", group_tables("optim"),
        "## scheduler\n", group_tables("scheduler"),
        "## logger\n", group_tables("logger"),
        "## debug, hparams_search, experiment\n", list_of("debug"), list_of("hparams_search"), list_of("experiment"),
        "## Recipes\nChosen by themselves, for a data set and an optimizer.\n", recipes(),
        "## A cluster: hydra/launcher=slurm\n" + head(CONFIGS / "hydra/launcher/slurm.yaml")[1] + "\n",
        table(("key", "value", "meaning"), [
            (f"`hydra.launcher.{name}`", code(key.value), key.comment)
            for name, key in keys(CONFIGS / "hydra/launcher/slurm.yaml").items() if name != "name"
        ]),
    ])  # fmt: skip


def recipes() -> str:
    """What the recipes set."""
    rows = []
    for path in sorted((CONFIGS / "recipe").rglob("*.yaml")):
        group, settings = "", []
        for line in path.read_text().splitlines():
            match = re.match(r"( *)(\w+):(?: +([^#]*?))?(?: +#.*)?$", line)
            if match and not match[1]:
                group = match[2]
                if group == "defaults" and match[3]:
                    settings.append(f"those of `{match[3].strip('[]').split(',')[0]}`")
            elif match and len(match[1]) == 2:
                settings.append(f"`{group}.{match[2]}{'=' if match[3] else ''}{match[3] or ''}`")
        name = path.relative_to(CONFIGS / "recipe").with_suffix("").as_posix()
        rows.append((f"`{name}`", ", ".join(settings), head(path)[1]))
    return table(("recipe", "settings", "why"), rows)


def described(entries: Mapping[str, str], heading: str) -> str:
    """A table of names and what they are."""
    rows = ((", ".join(f"`{n}`" for n in name.split(", ")), text) for name, text in entries.items())
    return table((heading, "what it is"), rows)


def run_folder() -> str:
    """The page of what a run leaves."""
    return "\n".join([
        "# What a run leaves\n" + MADE,
        "In its folder, `outputs/DATASET_OPTIM/TIME`, or `hydra.run.dir=FOLDER`. `snnbreg.load_run(FOLDER)` reads it",
        "back. Two evaluations are reported: **published**, whole delays and the current spread (sigma) of the delay",
        "kernels, as in the papers; **deployed**, whole delays and sigma 0: what a chip runs. In the names below",
        "`{measure}` is `acc` where classes are told apart, and `mse` where images are reconstructed.\n",
        "## Files\n", described(FILES, "file"),
        "## metrics.csv\nA cell is empty where an epoch has no such figure. `*` stands for the name of a layer or of a",
        "weight matrix. Rates, accuracies and densities are fractions, not per cent; lr and λ have no unit.\n",
        described(COLUMNS, "column"),
        "## summary.json\nA figure that was not reached is `null`.\n", described(SUMMARY, "key"),
        "## predictions.npz\n`numpy.load(\"predictions.npz\")`; K classes.\n", described(PREDICTIONS, "array"),
        "An exported network's files are described in [From a run to a chip](deploy.md).",
    ])  # fmt: skip


def versions() -> str:
    """The page of the versions that the tests ran with."""
    rows = []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([^; ]+)(?:; *(.*))?", line):
            rows.append((f"`{match[1]}`", match[2], (match[3] or "").replace('"', "")))
    return "\n".join([
        "# Versions tested\n" + MADE,
        "The tests ran with these, on Linux and Python 3.11; `pip install -c constraints.txt` takes them. Older ones from",
        "the bounds in `pyproject.toml` on are expected to work and not tested. Another build of torch, 2.6 or newer, is",
        "kept where it is installed first.\n",
        table(("package", "version", "where"), rows),
    ])  # fmt: skip


PAGES = {
    "configuration.md": configuration,
    "run_folder.md": run_folder,
    "versions.md": versions,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (ROOT / "docs" / page).write_text(write().rstrip() + "\n")
