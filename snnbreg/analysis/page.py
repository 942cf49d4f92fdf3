"""A study on one page: an HTML file with everything in it, readable on a desk and on a phone."""

from __future__ import annotations

import base64
import html
import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snnbreg.analysis import canvas, gallery
from snnbreg.analysis.commands import sweep_commands
from snnbreg.analysis.gallery import FIGURES, draw, write_figures, write_tables
from snnbreg.analysis.groups import newest
from snnbreg.analysis.studies import datasets, of_dataset
from snnbreg.analysis.study_tables import summary_sentence
from snnbreg.analysis.tables import Table
from snnbreg.runs import Run, read_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

TITLE = "Sparse spiking networks: what the study found"
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def report(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    names: Sequence[str] = tuple(FIGURES),
    ignore: Sequence[str] = (),
) -> Path:
    """Write the report of all runs below a folder.

    Args:
        folder: with run folders, at any depth.
        output: gets ``report.html``, ``figures/`` and ``tables/``; None: ``FOLDER/report``.
        names: figures to draw, of ``FIGURES``.
        ignore: settings by which runs are not told apart, dotted names.

    Returns:
        The HTML file. It needs no other file and no network.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no run that has ended, or no figure of that name.
    """
    for name in names:
        if name not in FIGURES:
            raise ValueError(f"There is no figure {name!r}; choose from {', '.join(FIGURES)}")
    runs, problems, repeated = _read(folder, ignore)
    target = Path(output) if output is not None else Path(folder) / "report"
    return write_report(runs, target, str(folder), names, problems, repeated)


def report_tables(
    folder: str | os.PathLike[str],
    names: Sequence[str] = tuple(gallery.TABLES),
    ignore: Sequence[str] = (),
) -> list[Table]:
    """The tables of all runs below a folder, without matplotlib.

    Args:
        folder: with run folders, at any depth. ``config.yaml``, ``summary.json`` and
            ``predictions.npz`` of a run are enough for ``paired``.
        names: of ``TABLES``.
        ignore: settings by which runs are not told apart, dotted names.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no run that has ended, no table of that name, or nothing to put into
            any of them.
    """
    runs, problems, _ = _read(folder, ignore)
    for problem in problems:
        log.warning("%s", problem)
    found = gallery.tables(runs, names)
    if not found:
        needs = "; paired needs sparse and dense runs that share two seeds or folds"
        raise ValueError(
            f"The runs below {folder} have nothing for the tables {', '.join(names)}"
            f"{needs if 'paired' in names else ''}"
        )
    return found


def _read(
    folder: str | os.PathLike[str], ignore: Sequence[str]
) -> tuple[list[Run], list[str], int]:
    """Runs without repetitions, messages about unreadable ones, and how many were repetitions."""
    problems: list[str] = []
    found = read_runs(folder, problems)
    for name in ignore:
        if found and not any(name in run.settings for run in found):
            raise ValueError(
                f"No run below {folder} has the setting {name}, which is to be ignored"
            )
    found = [run.without(ignore) for run in found] if ignore else found
    runs = newest(found)
    if not any(run.ended for run in runs):
        more = f"; {len(problems)} could not be read: {problems[0]}" if problems else ""
        raise ValueError(f"{folder} holds no run that has ended ({len(runs)} unfinished{more})")
    stopped = [run for run in runs if not run.ended]
    if stopped:
        epochs = len(stopped[0].history.get("epoch", []))
        problems.append(
            f"{len(stopped)} of {len(runs)} runs did not end and are in no table or figure, "
            f"such as {stopped[0].path} ({stopped[0].status} after {epochs} epochs)"
        )
    return runs, problems, len(found) - len(runs)


def write_report(
    runs: Sequence[Run],
    target: Path,
    source: str,
    names: Sequence[str] = tuple(FIGURES),
    problems: Sequence[str] = (),
    repeated: int = 0,
) -> Path:
    """Write the report of exactly these runs.

    Args:
        runs: without repetitions; at least one has ended.
        target: folder, gets ``report.html``, ``figures/`` and ``tables/``.
        source: the runs' folder, as the commands name it.
        names: figures to draw, of ``FIGURES``.
        problems: messages about runs that could not be read.
        repeated: runs left out because a newer one has the same settings.

    Returns:
        The HTML file.
    """
    tables = write_tables(runs, target / "tables")
    figures = write_figures(runs, target / "figures", names)
    images = {name: _images(name, figure, runs, target) for name, figure in figures.items()}
    path = target / "report.html"
    text = page(runs, tables, images, problems, source, repeated)
    path.write_text(text, encoding="utf-8")
    return path


def _images(name: str, figure: Figure, runs: Sequence[Run], target: Path) -> list[str]:
    """An image per data set, so that each is legible on a phone."""
    names = datasets(run for run in runs if run.ended)
    if len(names) == 1:
        return [_image(name, figure, (target / "figures" / f"{name}.svg").read_bytes())]
    drawn = [draw(name, of_dataset(runs, dataset)) for dataset in names]
    return [_image(name, one, canvas.svg(one)) for one in drawn if one is not None]


def page(
    runs: Sequence[Run],
    tables: Sequence[Table],
    figures: Mapping[str, Sequence[str]],
    problems: Sequence[str],
    source: str,
    repeated: int = 0,
) -> str:
    """The HTML of a report.

    Args:
        runs: without repetitions.
        tables: in order.
        figures: image elements by the figure's name.
        problems: messages about runs that could not be read.
        source: the folder, as the commands name it.
        repeated: runs left out because a newer one has the same settings.
    """
    shown = [_figure(name, images, source) for name, images in figures.items()]
    missing = [FIGURES[name].title for name in FIGURES if name not in figures]
    if missing:
        problems = [*problems, f"Not drawn, for want of data: {'; '.join(missing)}."]
    commands = sweep_commands([run for run in runs if run.ended])
    parts = [
        f"<header><h1>{TITLE}</h1><p class='lead'>{html.escape(summary_sentence(runs))}</p>"
        f"<p class='facts'>{html.escape(_facts(runs, repeated))}</p></header>",
        "<nav><a href='#results'>Results</a> <a href='#figures'>Figures</a> "
        "<a href='#runs'>All runs</a> <a href='#again'>Do it again</a></nav>",
        "<section id='results'><h2>Results</h2>",
        *(table.to_html() for table in tables if not table.name.startswith("lambda")),
        "</section><section id='figures'><h2>Figures</h2><div class='grid'>",
        *shown,
        "</div></section><section id='runs'><h2>All runs</h2>",
        *(table.to_html() for table in tables if table.name.startswith("lambda")),
        "</section><section id='again'><h2>Do it again</h2><p>The runs:</p>",
        *(_code(command) for command in commands or ["(their command lines are unknown)"]),
        "<p>This page, its figures and tables:</p>",
        _code(f"snnbreg report {shlex.quote(source)}"),
        "</section>",
    ]
    if problems:
        items = "".join(f"<li>{html.escape(problem)}</li>" for problem in problems)
        parts.append(f"<section id='problems'><h2>Left out</h2><ul>{items}</ul></section>")
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<link rel='icon' href='data:,'><title>{TITLE}</title><style>{STYLE}</style></head>\n"
        "<body><main>" + "\n".join(parts) + "</main></body></html>\n"
    )


def _facts(runs: Sequence[Run], repeated: int) -> str:
    states = Counter(run.status for run in runs)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    seconds = sum(run.figure("seconds") or 0.0 for run in runs)
    day = time.strftime("%Y-%m-%d", time.gmtime(max(run.written for run in runs)))
    again = f"; {repeated} older repetitions left out" if repeated else ""
    return (
        f"{len(runs)} runs ({counts}{again}) on {', '.join(datasets(runs))}; {seconds / 3600:.2g} "
        f"hours of training; the newest of {day}. Accuracies and densities in per cent."
    )


def _figure(name: str, images: Sequence[str], source: str) -> str:
    picture = FIGURES[name]
    command = f"snnbreg report {shlex.quote(source)} --figures {name}"
    return (
        f"<figure id='{name}'><h3>{html.escape(picture.title)}</h3>{''.join(images)}"
        f"<figcaption>{html.escape(picture.caption)}</figcaption>{_code(command)}</figure>"
    )


def _image(name: str, figure: Figure, svg: bytes) -> str:
    panels = " · ".join(axes.get_title(loc="left") for axes in figure.axes if axes.get_visible())
    described = html.escape(f"{FIGURES[name].title}. {panels}".strip(" ·."), quote=True)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    return (
        f"<img alt='{described}' width='{width}' height='{height}' "
        f"src='data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'>"
    )


def _code(command: str) -> str:
    return f"<pre><code>{html.escape(command)}</code></pre>"
