"""Hooks of mkdocs: makes the site's pages out of what the repository has anyway.

README.md, CONTRIBUTING.md and the pages beside results and benchmarks are shown where they are, or by sections: a
page has ``<!-- include README.md ## Sweeps -->`` in the place of a section, or, for what is no section,
``<!-- include README.md "first words" "words of the line after the last" -->``. Links are those of the repository, so
that they work there, too; here they are turned to where the site has the file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api
import catalogue
import formulas
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s#]+)?(#[^)\s]*)?\)")
INCLUDE = re.compile(r"^<!-- include (\S+) (?:(##+ .+)|\"(.*)\" \"(.*)\") -->$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.=\"-])\d+(?:\.\d+)?e[-+]\d+")
FOUND = ["results/*/*.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
ORIGINS: dict[str, str] = {}
"""Where the Markdown of a page of the site stands in the repository; pages that are made have none."""


def place(path: str) -> str:
    """Where on the site a file of the repository is."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists of pages in the places that mkdocs.yml leaves for them."""
    lists: dict[str, list[Any]] = {
        "<problems>": [f"problems/{name}.md" for name in catalogue.names("pde")],
        "<methods>": [f"methods/{name}.md" for name in catalogue.names("method")],
        "<results>": [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("results/*/*.md"))],
        "<api>": [{title: f"api/{package}.md"} for package, title in api.PACKAGES.items()],
    }
    config.nav = filled(config.nav, lists)
    return config


def filled(nav: Any, lists: dict[str, list[Any]]) -> Any:
    if isinstance(nav, dict):
        return {key: filled(value, lists) for key, value in nav.items()}
    if isinstance(nav, list):
        return [
            entry for one in nav for entry in (lists.get(one, [one]) if isinstance(one, str) else [filled(one, lists)])
        ]
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not under docs/, and all that it links to."""
    ORIGINS.clear()
    for file in files.documentation_pages():
        ORIGINS[file.src_uri] = f"docs/{file.src_uri}"
    waiting = [str(path.relative_to(ROOT)) for pattern in FOUND for path in ROOT.glob(pattern)]
    waiting += [path for origin in ["README.md", *ORIGINS.values()] for path in linked(origin)]
    seen = {"README.md", *ORIGINS.values()}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if files.get_file_from_path(place(path)) is None:
            files.append(File.generated(config, place(path), abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            ORIGINS[place(path)] = path
            waiting += linked(path)
    for uri, markdown in {**catalogue.pages(), **api.pages()}.items():
        files.append(File.generated(config, uri, content=markdown))
    return files


def linked(origin: str) -> Iterator[str]:
    """The files of the repository to which one has links."""
    for match in LINK.finditer(FENCE.sub("", (ROOT / origin).read_text())):
        path = resolved(match[2] or "", origin)
        if path:
            yield path


def resolved(link: str, origin: str) -> str | None:
    """The file of the repository that a link means, a folder's README.md for the folder; None if there is none."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link)) if link and ":" not in link else ""
    if path and (ROOT / path).is_dir():
        path += "/README.md"
    return path if path and (ROOT / path).is_file() else None


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    if uri in ORIGINS:
        markdown = turned(markdown, ORIGINS[uri], uri)
    return INCLUDE.sub(lambda match: turned(section(*match.groups()), match[1], uri), markdown)


def section(path: str, heading: str | None, first: str | None, end: str | None) -> str:
    """A part of a file: below a heading, up to the next one of its level; or between two lines that begin so.

    Raises:
        LookupError: the file does not have each of them once.
    """
    text = (ROOT / path).read_text()
    begin = f"{heading}\n" if heading else f"{first}"
    if f"\n{text}".count(f"\n{begin}") != 1:
        raise LookupError(f"{path} has not one line that begins with {begin!r}")
    after = f"\n{text}".split(f"\n{begin}")[1]
    if heading is None:
        if f"\n{after}".count(f"\n{end}") != 1:
            raise LookupError(f"{path} has not one line below {begin!r} that begins with {end!r}")
        return begin + after.split(f"\n{end}")[0]
    level = heading.index(" ")
    inside = re.split(rf"^#{{1,{level}}} ", FENCE.sub(hidden, after), maxsplit=1, flags=re.MULTILINE)[0]
    return re.sub(r"^#(?=#{2,} )", "", after[: len(inside)], flags=re.MULTILINE)  # ### is ## below the page's title


def hidden(match: re.Match[str]) -> str:
    """As many characters, in which there is no heading."""
    return "." * len(match[0])


def turned(markdown: str, origin: str, uri: str) -> str:
    """Links of the repository as links of the site; those to what the site has not, as folders of code, lose theirs."""

    def link(match: re.Match[str]) -> str:
        if not match[2] or ":" in match[2]:
            return match[0]
        path = resolved(match[2], origin)
        if path is None:
            exists = (ROOT / posixpath.dirname(origin) / match[2]).exists()
            return match[1][1:-2] if exists else match[0]  # what does not exist is left for mkdocs to find
        target = posixpath.relpath(place(path), posixpath.dirname(uri) or ".")
        return f"{match[1]}{target}{match[3] or ''})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas; no double colons of docstrings; in tables no line that breaks at the minus of a number like 1e-3."""
    html = formulas.as_mathml(html).replace("::</p>", ":</p>")
    return CELL.sub(lambda cell: NUMBER.sub(r'<span class="number">\g<0></span>', cell[0]), html)
