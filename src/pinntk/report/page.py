"""The report as one page, index.html, that needs no other file and no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from pinntk.report.pictures import Picture, slug
from pinntk.report.reading import Run
from pinntk.report.table import Cell, Row, Table, method_title
from pinntk.report.text import LEGEND, NO_RUN, NOT_KNOWN, is_best_published, number, other_notes, ours

SHOWN = 2
"""Settings of a cell that are shown at once; the others unfold."""

SETTINGS = (
    "problem method settings width depth budget lowest median spread trials failed interrupted unfinished published"
).split()
"""Columns of the table of all settings."""

STYLE = """
body { font: 1rem/1.45 system-ui, sans-serif; color: #222; }
body { margin: 0 auto; padding: 0.5rem 1rem 3rem; max-width: 80rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.35rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th, td { white-space: nowrap; }
tbody th { background: #fff; position: sticky; left: 0; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #06c; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
.more, .note { display: block; color: #666; font-size: 0.75rem; }
.note { white-space: normal; font-weight: normal; max-width: 12rem; }
.none { color: #999; }
figure { margin: 1.2rem 0; } figure img { width: 100%; min-width: 36rem; max-width: 62rem; height: auto; }
figcaption, .notes, footer { color: #555; font-size: 0.85rem; max-width: 55rem; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, k) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[k].dataset.value ?? row.cells[k].textContent.trim();
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");  // what has no value is last both ways
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
"""


def page(root: str, runs: Sequence[Run], table: Table, pictures: Sequence[Picture], problems: Sequence[str]) -> str:
    """The page's HTML.

    Args:
        root: where the runs were found, as it was named.
        runs: all of them.
        table: Table 2 of them.
        pictures: in the order of their sections.
        problems: what could not be read or drawn.
    """
    sections = [("Table 2", _table_2(table)), ("All settings", _all_settings(table))]
    if ended := _not_completed(runs):
        sections.append(("Failed, interrupted, unfinished", ended))
    if problems:
        sections.append(("Not readable", _list(problems)))
    for name, members in groupby(pictures, key=lambda picture: picture.section):
        sections.append((name, "".join(map(_figure, members))))
    links = "".join(f'<a href="#{slug(name)}">{escape(name)}</a> ' for name, _ in sections)
    body = "".join(f'<h2 id="{slug(name)}">{escape(name)}</h2>\n{content}\n' for name, content in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>pinntk report</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Report on {escape(root)}</h1>
<p>{escape(summary(runs))}</p>
<nav>{links}</nav>
{body}
<script>{SCRIPT}</script>
</body>
</html>
"""


def summary(runs: Iterable[Run]) -> str:
    """How many runs there are and what became of them."""
    statuses = [run.status for run in runs]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    return f"{len(statuses)} runs: {counts}"


def _head(names: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _table_2(table: Table) -> str:
    lines = []
    for row in table.rows:
        cells = "".join(_cell(cell, row) for cell in row.cells.values())
        note = f'<span class="note">{escape(row.note)}</span>' if row.note else ""
        title = f'<th scope="row" data-value="{escape(row.title)}">{escape(row.title)}{note}</th>'
        lines.append(f"<tr>{title}{cells}</tr>")
    head = _head(["problem", *map(method_title, table.methods)])
    return (
        f'<div class="wide"><table class="sortable" id="table2">{head}<tbody>{"".join(lines)}</tbody></table></div>'
        f'<p class="notes">{escape(LEGEND)} A click on a column\'s head sorts by it.</p>{_list(other_notes(table))}'
    )


def _cell(cell: Cell, row: Row) -> str:
    parts = []
    for low, best, more in ours(cell, row):
        lines = "".join(f'<span class="more">{escape(line)}</span>' for line in more)
        parts.append(f"<div>{f'<b>{low}</b>' if best else low}{lines}</div>")
    if len(parts) > SHOWN + 1:
        rest = "".join(parts[SHOWN:])
        parts[SHOWN:] = [f"<details><summary>{len(parts) - SHOWN} other settings</summary>{rest}</details>"]
    if not parts:
        parts = [f'<span class="none">{NO_RUN}</span>']
    if cell.published is not None:
        figure = number(cell.published)
        bold = f"<b>{figure}</b>" if is_best_published(cell, row) else figure
        parts.append(f'<div class="published">published {bold}</div>')
    value = "" if cell.lowest is None else repr(cell.lowest)
    return f'<td data-value="{value}">{"".join(parts)}</td>'


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
    return f'<div class="wide"><table class="sortable" id="settings">{_head(SETTINGS)}{body}</table></div>'


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


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    alt = escape(f"{picture.section}: {picture.title}")
    return (
        f'<figure><div class="wide"><img alt="{alt}" loading="lazy" src="data:image/png;base64,{data}"></div>'
        f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption></figure>\n"
    )
