"""Run the notebooks of ``docs/notebooks``: ``python scripts/notebooks.py [--write] [NAME...]``.

Each runs in a kernel of its own and in an empty folder; an error ends the command. ``--write``
keeps what cells printed and drew. Needs the extra ``docs``.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


def clean(text: str, folder: str) -> str:
    """What a cell printed, without colours and without the name of the folder."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n").replace(folder + "/", "")


def execute(path: Path, write: bool) -> None:
    """Run one notebook."""
    book = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(book, timeout=600, kernel_name="python3", resources=resources)
        client.execute()
        real = str(Path(folder).resolve())
    print(f"{path.name}: {time.perf_counter() - start:.0f} s")
    if not write:
        return
    for cell in book.cells:
        cell.metadata = {}
        if "outputs" not in cell:
            continue
        printed = "".join(output.get("text", "") for output in cell.outputs)
        drawn = [output for output in cell.outputs if "text" not in output]
        if printed:
            drawn.insert(0, nbformat.v4.new_output("stream", text=clean(printed, real)))
        cell.outputs = drawn
    nbformat.write(book, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--write", action="store_true", help="keep the output in the files")
    options = parser.parse_args()
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        if not options.names or notebook.stem in options.names:
            execute(notebook, options.write)
