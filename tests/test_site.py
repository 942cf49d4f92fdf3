"""What becomes of the pages on the site; needs mkdocs, the extra ``docs``."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests_support import load_script

pytest.importorskip("mkdocs")
documentation = load_script("scripts/documentation.py")


def rewritten(text: str, page: str = "lam.md") -> str:
    names = {"lam.md", "results/README.md", "api/optim.md", "notebooks/tour.md", "overview.md"}
    return documentation.on_page_markdown(
        text,
        SimpleNamespace(file=SimpleNamespace(src_uri=page)),
        None,
        SimpleNamespace(src_uris=names),
    )


def test_links_of_the_repository_become_links_of_the_site() -> None:
    assert rewritten("[a](../results/README.md#b)") == "[a](results/README.md#b)"
    assert rewritten("[a](../README.md)") == "[a](overview.md)"
    assert rewritten("[a](notebooks/tour.ipynb)") == "[a](notebooks/tour.md)"
    assert rewritten("[a](../docs/lam.md)", "results/README.md") == "[a](../lam.md)"
    assert rewritten("[a](../snnbreg/optim/__init__.py)") == "[a](api/optim.md)"
    assert rewritten("[a](../snnbreg/cli.py)") == "a"  # no page of the site
    assert rewritten("[a](https://x.org) [b](#c)") == "[a](https://x.org) [b](#c)"
    assert rewritten("```\n[a](../README.md)\n```") == "```\n[a](../README.md)\n```"
    for wrong in ("[a](nowhere.md)", "![a](../README.rst)", "![a](../snnbreg/cli.py)"):
        with pytest.raises(documentation.PluginError, match="does not exist"):
            rewritten(wrong)


def test_dead_links_and_foreign_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<h1 id=x></h1><a href=b.html#y></a><a href=#x></a><a href=https://x.org></a>"
        "<a href=c.html></a><a href=b.html#z></a><script src=https://cdn.org/s.js></script>"
    )
    (tmp_path / "b.html").write_text("<h1 id=y></h1><a href=a.html></a>")
    assert documentation.mistakes(tmp_path.resolve()) == [
        "a.html links to b.html#z, which does not exist",
        "a.html links to c.html, which does not exist",
        "a.html fetches https://cdn.org/s.js",
    ]


def test_a_notebook_becomes_a_page() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# T\n", "text"]},
        {
            "cell_type": "code",
            "source": ["f()"],
            "outputs": [
                {"output_type": "stream", "text": ["out\n"]},
                {"output_type": "display_data", "data": {"image/png": "QQ==", "text/plain": "<F>"}},
                {"output_type": "execute_result", "data": {"text/plain": ["3"]}},
            ],
        },
    ]
    assert documentation.notebook(json.dumps({"cells": cells})) == (
        "# T\ntext\n\n```python\nf()\n```\n\n```text\nout\n```\n\n"
        "![result](data:image/png;base64,QQ==)\n\n```text\n3\n```\n"
    )
