"""The report as one page, index.html, that needs no other file and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from plotly.offline import get_plotlyjs

from pinntk.report import cells
from pinntk.report.pictures import UNREADABLE, Picture, slug
from pinntk.report.plots import time_plot
from pinntk.report.reading import Run
from pinntk.report.slices import solution
from pinntk.report.table import Row, Table, method_title, short_title
from pinntk.report.text import NOT_KNOWN, notes_of, number

SETTINGS = (
    "problem method settings width depth budget lowest median spread trials failed interrupted unfinished published"
).split()
"""Columns of the table of all settings."""
SOLUTIONS = "Solutions"
OPEN = ("Figure 1",)
"""Sections whose pictures are shown at once; those of the others unfold."""


@dataclass(frozen=True)
class Viewer:
    """What the page shows of the solutions of one problem: by method, with what is to be said, the data."""

    problem: str
    solutions: dict[str, tuple[str, str]]


def viewers(table: Table, complain: Callable[[str], None]) -> list[Viewer]:
    """Of each problem the best run of each method that has a solution.npz on a grid that can be drawn.

    Args:
        table: of the runs.
        complain: is told, in a line, what could not be read.
    """
    made = []
    for row in table.rows:
        found: dict[str, tuple[str, str]] = {}
        for method, cell in row.cells.items():
            run = cell.settings[0].best_run if cell.settings else None
            if run is None or not (run.folder / "solution.npz").is_file():
                continue
            try:
                data = solution(run)
            except UNREADABLE as error:
                complain(f"{run.folder / 'solution.npz'}: cannot be drawn: {str(error) or error!r}".splitlines()[0])
                continue
            if data is not None:
                known = f"L2RE {number(run.l2re)}" if run.reference_known else "no reference is known"
                found[method] = (f"{known}, seed {run.seed} of {run.settings_hash}", _json(data))
        if found:
            made.append(Viewer(row.title, found))
    return made


def page(
    root: str,
    runs: Sequence[Run],
    table: Table,
    pictures: Sequence[Picture],
    solutions: Sequence[Viewer],
    problems: Sequence[str],
) -> str:
    """The page's HTML.

    Args:
        root: where the runs were found, as it was named.
        runs: all of them.
        table: Table 2 of them.
        pictures: in the order of their sections.
        solutions: those that can be looked at moment by moment.
        problems: what could not be read or drawn.
    """
    drawn = {name: list(members) for name, members in groupby(pictures, key=lambda picture: picture.section)}
    sections = [("Table 2", f"{cells.main_table(table)}{_folded('Notes', _list(notes_of(table)))}")]
    if times := "".join(map(_time_plot, table.rows)):
        sections.append(("Error against time", f'{TOGGLES}<div class="plots">{times}</div>'))
    if solutions:
        sections.append((SOLUTIONS, "".join(map(_viewer, solutions))))
    sections.append(("All settings", _folded("All settings that were run", _all_settings(table))))
    if ended := _not_completed(runs):
        sections.append(("Failed, interrupted, unfinished", ended))
    if problems:
        sections.append(("Not readable", _list(problems)))
    for name, members in drawn.items():
        figures = "".join(map(_figure, members))
        shown = figures if name in OPEN else _folded(f"{len(members)} as PNG", figures)
        sections.append((f"{name}, pictures" if name == SOLUTIONS else name, shown))
    links = "".join(f'<a href="#{slug(name)}">{escape(name)}</a> ' for name, _ in sections)
    body = "".join(
        f'<section id="{slug(name)}"><h2>{escape(name)}</h2>\n{content}</section>\n' for name, content in sections
    )
    here = Path(__file__)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>pinntk report</title>
<style>{here.with_name("page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header><h1>Report on {escape(root)}</h1>
<p>{escape(summary(runs))}</p></header>
<nav>{links}</nav>
{body}
<script type="text/plain" id="plotly">{get_plotlyjs()}</script>
<script>{here.with_name("page.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def summary(runs: Iterable[Run]) -> str:
    """How many runs there are and what became of them."""
    statuses = [run.status for run in runs]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    return f"{len(statuses)} runs: {counts}"


def _json(data: object) -> str:
    return in_script(json.dumps(data, separators=(",", ":")))


def in_script(text: str) -> str:
    """JSON for a script element, which some of what begins with "<" would end."""
    return text.replace("<", "\\u003c")


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def _all_settings(table: Table) -> str:
    lines = []
    for row in table.rows:
        for method, cell in row.cells.items():
            for s in cell.settings:
                words = [row.title, method_title(method), s.settings_hash]
                shown = "".join(f"<td>{escape(word)}</td>" for word in words)
                budget = escape(s.budget) + (", hard conditions" if s.hard else "")
                shown += f"<td>{s.width}</td><td>{s.depth or ''}</td><td>{budget}</td>"
                shown += _number(s.lowest, NOT_KNOWN if s.unmeasured else "") + _number(s.median) + _number(s.spread)
                counts = (s.trials, s.failed, s.count("interrupted"), s.count("unfinished"))
                shown += "".join(f"<td>{count}</td>" for count in counts) + _number(cell.published)
                lines.append(f"<tr>{shown}</tr>")
    body = f"<tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table class="sortable" id="settings">{cells.head(SETTINGS)}{body}</table></div>'


def _number(value: float | None, none: str = "") -> str:
    return f'<td data-value="">{none}</td>' if value is None else f'<td data-value="{value!r}">{number(value)}</td>'


def _not_completed(runs: Iterable[Run]) -> str:
    lines = []
    for run in runs:
        if run.status != "completed":
            reason = run.result.get("reason")
            lines.append(f"{run.status}: {run.folder}" + (f": {reason}" if reason else ""))
    return _list(sorted(lines))


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


TOGGLES = (
    '<p class="toggles"><label><input type="checkbox" id="every-setting"> all settings</label>'
    ' <label><input type="checkbox" id="linear-time"> linear time</label></p>'
)


def _time_plot(row: Row) -> str:
    figure, untimed = time_plot(row)
    if figure is None:
        return ""
    missing = f"<figcaption>{untimed} trials recorded no times and are missing.</figcaption>" if untimed else ""
    data = in_script(figure.to_json())
    return (
        f'<figure class="time" data-problem="{escape(row.title)}"><h3>{escape(row.title)}</h3><div class="plot"></div>'
        f'{missing}<script type="application/json">{data}</script></figure>'
    )


def _viewer(viewer: Viewer) -> str:
    name = slug(viewer.problem)
    choices = "".join(
        f'<label><input type="radio" name="solution-{name}" value="{escape(about)}"{" checked" if k == 0 else ""}>'
        f'{escape(short_title(method))}<script type="application/json">{data}</script></label>'
        for k, (method, (about, data)) in enumerate(viewer.solutions.items())
    )
    return (
        f'<details class="solution" data-problem="{escape(viewer.problem)}"><summary>{escape(viewer.problem)}</summary>'
        f'<div class="choices">{choices}</div><label class="field">field <select></select></label>'
        '<label class="moment"><output></output> <input type="range" min="0" value="0"></label>'
        '<p class="notes"></p><div class="plot"></div></details>\n'
    )


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    alt = escape(f"{picture.section}: {picture.title}")
    return (
        f'<figure><div class="wide"><img alt="{alt}" loading="lazy" src="data:image/png;base64,{data}"></div>'
        f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption></figure>\n"
    )
