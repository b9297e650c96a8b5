"""The documentation site: it is made without warnings, leads nowhere that is not there, and says what was measured."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(900)  # the site takes half a minute on an idle machine


def test_every_section_of_the_readme_has_its_place() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    sections = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    elsewhere = {"Problems, references, methods", "More"}  # in parts, see docs/hooks/catalogue.py; links
    missing = set(sections) - set(re.findall(r"include README\.md ## (.+?) -->", text)) - elsewhere
    assert not missing, f"in no page of docs/: {sorted(missing)}; docs/how_to has examples of <!-- include ... -->"


class Links(HTMLParser):
    """What a page leads to, and the names to which others may lead in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.names: set[str] = {""}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in {"href", "src"} and value is not None:
                self.targets.add(value)
            if key in {"id", "name"} and value is not None:
                self.names.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made as `make docs` makes it."""
    for needed in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # of the theme, about what comes after mkdocs
    ended = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=850, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr
    return folder


@pytest.mark.slow
def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Links(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 70
    broken = []
    for page, links in pages.items():
        for link in links.targets:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            place = (page.parent / unquote(url.path)).resolve() if url.path else page
            place = place / "index.html" if place.is_dir() else place
            there = place.is_file() and (place not in pages or unquote(url.fragment) in pages[place].names)
            broken += [] if there else [f"{page.relative_to(site)}: {link}"]
    assert not broken


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:[^>]+>|<link[^>]+stylesheet[^>]+href=\"?https?:[^>]+>"
    )
    assert [path for path in site.rglob("*.html") if loads.search(path.read_text())] == []


@pytest.mark.slow
def test_each_problem_and_method_has_its_page(site: Path) -> None:
    for group, folder in (("pde", "problems"), ("method", "methods")):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            html = (site / folder / path.stem / "index.html").read_text()
            text = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", html))
            assert f"{group}={path.stem}" in text
            assert path.relative_to(ROOT).as_posix() in text
            assert "Measured" in text


@pytest.mark.slow
def test_medians_are_those_of_the_results(site: Path) -> None:
    """From the files themselves, without the report's code."""
    errors: dict[str, dict[int, float]] = defaultdict(dict)
    for path in (ROOT / "results").rglob("result.json"):
        result = json.loads(path.read_text())
        if (result["pde"], result["method"], result["status"]) == ("convection", "adam", "completed"):
            errors[result["settings_hash"]][result["seed"]] = result["l2re"]
    assert max(len(trials) for trials in errors.values()) >= 5
    html = (site / "problems/convection/index.html").read_text()
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    plain = [[re.sub("<[^>]+>", "", cell).strip() for cell in row] for row in rows]
    shown = {row[-1]: row for row in plain if len(row) == 10 and row[0].split(",")[0] == "adam"}
    assert shown.keys() == errors.keys()
    for name, trials in errors.items():
        assert float(shown[name][1]) == float(f"{statistics.median(trials.values()):.2e}")
        assert float(shown[name][2]) == float(f"{min(trials.values()):.2e}")
        assert int(shown[name][3]) == len(trials)


@pytest.mark.slow
def test_formulas_are_there_without_scripts(site: Path) -> None:
    for name, at_least in (("kernel", 40), ("second_order", 40)):
        html = (site / "theory" / name / "index.html").read_text()
        assert html.count("<math ") >= at_least
        assert "arithmatex" not in html
        assert "$" not in re.sub("<[^>]+>", "", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
