"""The commands: ``snnbreg COMMAND ...``, or ``python -m snnbreg COMMAND ...``.

What they do stands in ``snnbreg/commands/COMMAND.py``. Nothing here imports torch, so that help and
mistakes are answered at once.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """A command of one line of help; ``options`` adds its arguments to a parser."""

    help: str
    options: Callable[[ArgumentParser], None]


def _evaluate(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="run folder, or one that snnbreg export made")
    add("overrides", nargs="*", metavar="KEY=VALUE",
        help="split=train|valid|test, checkpoint=best|last|FILE, evaluation=published|deployed, "
        "dataset.root, dataset.cache, dataset.eval_batch_size, device, model.engine")  # fmt: skip


def _export(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="run folder, or one that holds run folders")
    add(
        "overrides",
        nargs="*",
        metavar="RUN or KEY=VALUE",
        help="more run folders; dataset.root, dataset.cache, dataset.eval_batch_size, model.engine",
    )
    add("--out", required=True, metavar="DIR",
        help="where the files go; of many exports, each goes to DIR/RUN/exports/BITS, unless it\n"
        "is there: the same command goes on, and snnbreg report DIR compares them")  # fmt: skip
    add("--bits", type=_bits, default=[32], metavar="BITS",
        help="of a weight: 32 are floats; 8, 6, 4 whole numbers; several: 8,4 (32)")  # fmt: skip
    add("--finetune", type=int, default=0, metavar="EPOCHS",
        help="of training with rounded weights on the found support (%(default)s)")  # fmt: skip
    add("--samples", type=int, default=100, metavar="N",
        help="test samples that make check runs (%(default)s)")  # fmt: skip
    add("--layout", choices=("auto", "lists", "rows"), default="auto",
        help="of weights in C: lists of non-zero ones or full rows; auto: the smaller")  # fmt: skip
    add("--checkpoint", default="best", help="best, last or a file (%(default)s)")


def _report(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="holds run folders, at any depth")
    add("--output", metavar="DIR", help="default: FOLDER/report; with --tables: none")
    add("--figures", nargs="+", metavar="NAME", help="default: all; a wrong name lists them")
    add("--tables", nargs="+", metavar="NAME",
        help="print these, such as paired, and draw nothing; needs no matplotlib")  # fmt: skip
    add("--ignore", nargs="+", metavar="KEY", default=[],
        help="settings by which runs are not told apart: keys that older runs lack")  # fmt: skip


def _reproduce(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "target",
        help="figure1 to figure5, table1, table2 or all; bregman_figure2 to _figure4,\n"
        "bregman_table1 to _table3; delays",
    )
    add("overrides", nargs="*", metavar="KEY=VALUE", help="for every run, such as device=cuda")
    add("--dataset", default="spoken_digits", help="any of configs/dataset (%(default)s)")
    add("--root", help="folder of the data set's files (dataset.root)")
    add("--seeds", type=_integers, default="0,1,2", help="separated by commas (%(default)s)")
    add("--lambdas", type=_numbers, default="0,0.01,0.05,0.1,0.25,0.5,1,2,5,10",
        help="the grid (%(default)s)")  # fmt: skip
    add("--epochs", type=int, help="instead of the data set's own number")
    _study_options(add, "outputs/study/DATASET", "outputs/figures/DATASET")


def _rivals(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="for every run, such as device=cuda")
    add("--dataset", default="spoken_digits", help="one of configs/rivals.yaml (%(default)s)")
    add("--root", help="folder of the data set's files (dataset.root)")
    add("--methods", type=lambda text: text.split(","), default=[],
        help="some of configs/rivals.yaml, separated by commas (all)")  # fmt: skip
    add("--seeds", type=_integers, default="0,1,2", help="separated by commas (%(default)s)")
    add("--epochs", type=int, help="instead of the experiment's own number")
    add("--trials", action="store_true", help="choose all learning rates anew")
    _study_options(add, "outputs/study/rivals_DATASET", "outputs/figures/rivals_DATASET")


def _study_options(add: Callable[..., object], runs: str, output: str) -> None:
    add("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (%(default)s)")
    add("--runs", metavar="DIR", help=f"folder of the runs ({runs})")
    add("--output", metavar="DIR", help=f"folder of what is drawn ({output})")
    add("--any-code", action="store_true", help="take finished runs of other versions of the code")
    add("--dry-run", action="store_true", help="list the runs and what is done of them")


def _tune(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="for every run")
    add("--trials", type=int, default=30, help="how many more (%(default)s)")
    add("--lr", type=_range, default="1e-3,3e-2", metavar="LOW,HIGH",
        help="where optim.lr is searched, on a logarithmic scale (%(default)s)")  # fmt: skip
    add("--lam", type=_range, default="1e-2,2", metavar="LOW,HIGH",
        help="where optim.lam is searched, likewise (%(default)s)")  # fmt: skip
    add("--folder", default="outputs/tune", metavar="DIR",
        help="of the study, whose trials share all other settings (%(default)s)")  # fmt: skip


def _width(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of the sparse network, as for train")
    add("--densities", type=_numbers, default="0.5,0.2,0.1,0.05,0.02", metavar="D,D",
        help="of the sparse network, separated by commas (%(default)s)")  # fmt: skip


def _compare(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("first", help="run folder")
    add("second", help="run folder")
    add("--tolerance", type=float, default=0.0, metavar="R",
        help="largest relative difference of equal numbers")  # fmt: skip


def _prepare(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset",
        help="audio (recordings of your own), arabic_commands, shd, ssc, nmnist, ...;\n"
        "pack-spoken-digits bins FOLDER into one file")  # fmt: skip
    add("folder", nargs="?", help="where it is made from files of your own: the folder with them")
    add("--root", metavar="DIR", help="folder for the files (default: the user's cache)")
    add("--speakers", metavar="WHERE",
        help="of audio: a CSV file with columns file, speaker (and split); a pattern such as\n"
        "'([a-z]+)_', whose group is the speaker, for the start of file names; or none, to\n"
        "divide by recordings (default: what stands before _, if that looks like speakers)",
        )  # fmt: skip
    add("--seed", type=int, default=0, help="of audio's splits and nerve fibres (%(default)s)")
    add("--seconds", type=float, default=0.95,
        help="how much of each recording is heard, from its beginning (%(default)s)")  # fmt: skip
    add("--jobs", type=int, help="recordings at a time (default: one per core)")
    add("--output", metavar="FILE", help="of pack-spoken-digits (default: inside the package)")


def _predict(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="run folder of a network that was trained on spoken words")
    add("files", nargs="+", metavar="FILE", help="WAV or FLAC, one word each")
    add("--evaluation", choices=("published", "deployed"), default="deployed",
        help="deployed (default): whole delays, as a chip runs it")  # fmt: skip


def _dashboard(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--project", default="snnbreg", help="default: snnbreg, as logger.project")
    add("--entity", default="", help="user or team; default: the account's own")
    add("--group", help="show this sweep alone: the name of its folder")
    add("--panels", metavar="FILE", help="default: configs/wandb_dashboard.yaml")
    add("--print", action="store_true", help="print the specification as JSON and save nothing")


STUDY = """\
the study of the LBI paper: run what is missing of it, then draw a figure or a table

The paper is silent on the values of lambda, on which checkpoint is tested and on the start. Here:
lambda from 0 (which is Adam) to 10; a dense start; Adam re-run beside AdaBreg; the checkpoint with
the best validation accuracy of each seed, lambda by the mean of that; density at that checkpoint.
Kill it at any time: the same command runs only what is missing."""

TRAIN = "train"  # its options are those of Hydra
COMMANDS = {
    "evaluate": Command("print the figures of a run's checkpoint, one JSON object", _evaluate),
    "export": Command("sparse weights and C for a chip, proved equal on the test split", _export),
    "report": Command("a page, figures and tables of all runs below a folder", _report),
    "reproduce": Command(STUDY, _reproduce),
    "rivals": Command(
        "Bregman learning and its rivals at equal density: trials, then runs", _rivals
    ),
    "tune": Command("learning rate and lambda by Optuna: good and sparse", _tune),
    "width": Command("dense networks with as many weights as a sparse one has non-zeros", _width),
    "compare": Command("are two runs the same, and where do they first differ", _compare),
    "prepare": Command("download a data set, checked; or turn recordings into events", _prepare),
    "predict": Command("say which words are heard in recordings, one JSON object each", _predict),
    "dashboard": Command("build the panels of a project in Weights & Biases", _dashboard),
}


def _integers(text: str) -> list[int]:
    return [int(entry) for entry in text.split(",")]


def _bits(text: str) -> list[int]:
    found = _integers(text)
    if not set(found) <= {32, 8, 6, 4}:
        raise ValueError("bits are 32, 8, 6 or 4")
    return found


def _numbers(text: str) -> list[float]:
    return [float(entry) for entry in text.split(",")]


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = _numbers(text)
    except ValueError:
        low = high = 0.0
    if not 0 < low <= high:
        raise ArgumentTypeError(f"{text} is no range LOW,HIGH with 0 < LOW <= HIGH")
    return low, high


def usage() -> str:
    """All commands, a line each."""
    lines = ["usage: snnbreg COMMAND ...", "", "  train       train a network: KEY=VALUE ..."]
    lines += [f"  {name:<10}  {command.help.splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "snnbreg COMMAND --help says more."])


def parse(name: str, arguments: Sequence[str]) -> Namespace:
    """The options of a command other than ``train``; leaves the process where they are wrong."""
    parser = ArgumentParser(
        f"snnbreg {name}",
        description=COMMANDS[name].help,
        formatter_class=RawDescriptionHelpFormatter,
    )
    COMMANDS[name].options(parser)
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-sc", "--shell-completion"):  # asked for without the command's name
        words = os.environ.get("COMP_LINE", "").split(" ")
        if len(words) > 1 and words[1] != TRAIN:
            print(
                *(
                    name
                    for name in (TRAIN, *COMMANDS)
                    if len(words) == 2 and name.startswith(words[1])
                )
            )
            return 0
        os.environ["COMP_LINE"] = " ".join(words[:1] + words[2:])
        name, rest = TRAIN, given
    if name in ("-h", "--help"):
        print(usage())
        return 0 if given else 2
    if name not in (TRAIN, *COMMANDS):
        close = difflib.get_close_matches(name, [TRAIN, *COMMANDS], 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"snnbreg has no command {name}.{hint}\n\n{usage()}", file=sys.stderr)
        return 2
    options = rest if name == TRAIN else parse(name, rest)
    # Before torch: threads that wait must not spin, or a busy machine is ten times slower.
    os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
    from snnbreg.assembly import run

    command = importlib.import_module(f"snnbreg.commands.{name}")
    return run(lambda: command.run(options)) or 0
