"""What mkdocs does beside reading ``docs/``: its hook, see ``mkdocs.yml``.

Pages are plain Markdown whose links work in the repository. Here they are made to work on the site:
the README, the results and notebooks become pages of it, links to other files of the repository
become plain text. The finished pages are then searched for links that lead nowhere and for anything
that a browser would fetch from another place.
"""

from __future__ import annotations

import json
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PACKAGES = ("optim", "models", "schedulers", "functional", "datasets", "training", "runs", "deploy")
BORROWED = {  # page of the site: file of the repository
    "overview.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
    "results/README.md": "results/README.md",
    "results/features.md": "results/features.md",
    "results/deploy/README.md": "results/deploy/README.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie elsewhere, the pictures in them, and the packages' reference."""

    def add(page: str, **content: Any) -> None:
        if page not in files.src_uris:
            files.append(File.generated(config, page, **content))

    for page, source in BORROWED.items():
        add(page, abs_src_path=str(ROOT / source))
    for source in [*BORROWED.values(), *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]:
        for picture, _, target in LINK.findall((ROOT / source).read_text()):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
            if picture and not path.startswith("docs/"):
                add(path, abs_src_path=str(ROOT / path))
    for name in PACKAGES:
        add(f"api/{name}.md", content=f"# snnbreg.{name}\n\n::: snnbreg.{name}\n")
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            text = notebook((ROOT / "docs" / file.src_uri).read_text())
            add(file.src_uri.replace(".ipynb", ".md"), content=text)
    return files


def notebook(text: str) -> str:
    """A notebook as Markdown: its text, its code, and what the code printed and drew."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                parts.append(f"![result](data:image/png;base64,{data['image/png'].strip()})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as the site has them."""
    source = BORROWED.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    at = posixpath.dirname(source)
    pages = {path: target for target, path in BORROWED.items()}
    pages |= {f"snnbreg/{name}/__init__.py": f"api/{name}.md" for name in PACKAGES}

    def rewritten(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if urlsplit(target).scheme or not path:
            return match.group()
        path = posixpath.normpath(posixpath.join(at, path))
        place = pages.get(path) or path.removeprefix("docs/").replace(".ipynb", ".md")
        if place not in files.src_uris:
            if picture or not (ROOT / path).exists():
                raise PluginError(f"{source} links to {target}, which does not exist")
            return text
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"{picture}[{text}]({posixpath.relpath(place, here)}{hash_}{anchor})"

    pieces = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        piece if piece.startswith("```") else LINK.sub(rewritten, piece) for piece in pieces
    )


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The theme's script for searching without a server comes from this site."""
    path = posixpath.relpath("assets/iframe-worker.js", posixpath.dirname(page.url) or ".")
    return output.replace("https://unpkg.com/iframe-worker/shim", path)


class _Page(HTMLParser):
    """The links, anchors and fetched files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if values.get("rel") != "canonical" and tag == "link" and "href" in values:
            self.fetched.add(values["href"])
        if tag in ("script", "img", "iframe") and "src" in values:
            self.fetched.add(values["src"])


def mistakes(site: Path) -> list[str]:
    """What is wrong with the pages of a built site: dead links, and what comes from elsewhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        for link in sorted(page.links | page.fetched):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    found.append(f"{path.relative_to(site)} fetches {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            there = pages[target].anchors if target in pages else {anchor}
            if not target.exists() or (anchor and anchor not in there):
                found.append(f"{path.relative_to(site)} links to {link}, which does not exist")
    return found


def on_post_build(config: Any) -> None:
    """Refuse a site with dead links, or one that needs another server."""
    found = mistakes(Path(config.site_dir).resolve())
    if found:
        raise PluginError("\n".join(["The site has mistakes:", *found]))
