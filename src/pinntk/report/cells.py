"""The page's main table: a cell that is read at a glance, and behind a click all settings that were run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from pinntk.report.table import Cell, Row, Setting, Table, method_title
from pinntk.report.text import NO_RUN, NOT_KNOWN, number, trials

BEST, WORST = -4, 2
"""Orders of magnitude against the published figure that have colours of their own; beyond them the last ones."""
SWATCHES = {-4: "÷ 10⁴", -3: "÷ 1000", -2: "÷ 100", -1: "÷ 10", 0: "as published", 1: "× 10", 2: "× 100"}
WIDTH, HEIGHT, MARGIN = 78, 12, 3
"""Of a cell's picture of its trials, in pixels."""
SETTINGS = "settings width depth budget lowest median spread trials differs".split()
"""Columns of the table behind a cell."""


def orders(ours: float, published: float) -> int:
    """By how many orders of magnitude an error is away from the published one, rounded, and kept in the scale.

    Example::

        >>> orders(2e-3, 1.9e-2), orders(1e-9, 1e-2), orders(2e-2, 1e-2), orders(0.0, 1.0)
        (-1, -4, 0, -4)
    """
    return BEST if ours == 0 else max(BEST, min(WORST, round(math.log10(ours / published))))


def decades(row: Row) -> tuple[int, int]:
    """The powers of ten between which all of a row's dots and published figures lie; at least one decade."""
    values = [error for cell in row.cells.values() if cell.usual for error in cell.usual.errors]
    values += [cell.published for cell in row.cells.values() if cell.published is not None]
    logarithms = [math.log10(value) for value in values if value > 0] or [-1.0]
    low, high = math.floor(min(logarithms)), math.ceil(max(logarithms))
    return low, max(high, low + 1)


def dots(setting: Setting, published: float | None, axis: tuple[int, int]) -> str:
    """A small picture: a dot per completed trial, and a line at the published figure.

    Args:
        setting: whose trials are shown.
        published: the figure to compare with.
        axis: the powers of ten at the left and the right end of the logarithmic axis.
    """
    low, high = axis
    room = WIDTH - 2 * MARGIN

    def at(value: float) -> str:
        share = (math.log10(value) - low) / (high - low) if value > 0 else 0.0
        return f"{MARGIN + room * min(1.0, max(0.0, share)):.1f}"

    end, middle = MARGIN + room, HEIGHT / 2
    parts = [f'<path class="axis" d="M{MARGIN} {middle:g}H{end}"/>']
    for power in range(low, high + 1):
        parts.append(f'<path class="axis" d="M{at(10.0**power)} {middle - 2:g}v4"/>')
    if published is not None:
        parts.append(f'<path class="published" d="M{at(published)} 1V{HEIGHT - 1}"/>')
    for run in setting.runs:
        if run.l2re is not None:
            label = f"<title>seed {run.seed}: {number(run.l2re)}</title>"
            parts.append(f'<circle cx="{at(run.l2re)}" cy="{middle:g}" r="2.4">{label}</circle>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg {size} role="img" aria-label="{escape(trials(setting))}">{"".join(parts)}</svg>'


def head(names: Iterable[str]) -> str:
    """The head of a table that sorts; what stands behind a comma is smaller."""
    cells = []
    for name in names:
        first, _, rest = name.partition(", ")
        small = f"<small>{escape(rest)}</small>" if rest else ""
        shown = escape(first).replace("_", "_<wbr>")
        cells.append(f'<th scope="col"><button type="button">{shown}{small}</button></th>')
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def main_table(table: Table) -> str:
    """Problems by methods, with what explains it."""
    lines = []
    for k, row in enumerate(table.rows):
        low, high = axis = decades(row)
        cells = "".join(
            _cell(f"cell-{k}-{n}", row, method, cell, axis) for n, (method, cell) in enumerate(row.cells.items())
        )
        note = f'<span class="note" title="{escape(row.note)}"> *</span>' if row.note else ""
        scale = f'<span class="more">1e{low:+d} … 1e{high:+d}</span>'
        shown = escape(row.title).replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
        title = f'<th scope="row" data-value="{escape(row.title)}">{shown}{note}{scale}</th>'
        lines.append(f"<tr>{title}{cells}</tr>")
    heads = head(["problem", *map(method_title, table.methods)])
    body = f"<tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table class="sortable" id="table2">{heads}{body}</table></div>{_legend()}'


def _legend() -> str:
    swatches = "".join(f'<span data-order="{n}">{text}</span>' for n, text in SWATCHES.items())
    return (
        f'<p class="scale">Median against the published figure: {swatches}</p>'
        '<p class="notes">A cell: the median L2RE of the completed trials, of the setting with the lowest median; their'
        " lowest, and ✕ with the number of trials that did not complete; a dot per trial, on the row's logarithmic axis"
        " with a stroke per decade and a long one at the published figure; the published figure. Bold: the row's lowest"
        " median. A click on a cell shows all of its settings, one on a column's head sorts by it.</p>"
    )


def _cell(name: str, row: Row, method: str, cell: Cell, axis: tuple[int, int]) -> str:
    usual, published = cell.usual, cell.published
    data: dict[str, object] = {"problem": row.title, "method": method, "published": published}
    data["value"] = cell.median
    shown = f'<span class="none" title="{NO_RUN}">–</span>'
    if usual is not None:
        data |= {"hash": usual.settings_hash, "median": usual.median, "lowest": usual.lowest}
        data |= {"trials": usual.trials, "completed": usual.completed}
        if usual.median is not None and published is not None:
            data["order"] = orders(usual.median, published)
        shown = _figures(usual, row) + dots(usual, published, axis)
    below = f'<span class="more published">paper {number(published)}</span>' if published is not None else ""
    attributes = "".join(f' data-{key}="{escape(_text(value))}"' for key, value in data.items())
    if usual is None:
        return f"<td{attributes}>{shown}{below}</td>"
    button = f'<button type="button" class="cell" popovertarget="{name}">{shown}{below}</button>'
    return f"<td{attributes}>{button}{_card(name, row, method, cell.settings)}</td>"


def _text(value: object) -> str:
    """An attribute's value: numbers with all digits, what is not known empty."""
    return "" if value is None else value if isinstance(value, str) else repr(value)


def _figures(usual: Setting, row: Row) -> str:
    if usual.median is None:
        text = NOT_KNOWN if usual.unmeasured else "–"
        count = "one trial" if usual.trials == 1 else f"{usual.trials} trials"
        return f'<span class="none">{text}</span><span class="more">{count}{_lost(usual)}</span>'
    best = ' class="best"' if usual.median == row.best_median else ""
    below = f"lowest {number(usual.lowest)}" if len(usual.errors) > 1 else "one trial"
    return f'<span><span{best}>{number(usual.median)}</span>{_lost(usual)}</span><span class="more">{below}</span>'


def _lost(setting: Setting) -> str:
    lost = setting.trials - setting.completed
    return f' <small class="lost" title="{escape(trials(setting))}">✕{lost}</small>' if lost else ""


def _card(name: str, row: Row, method: str, settings: Sequence[Setting]) -> str:
    lines = []
    for s in settings:
        budget = s.budget + (", hard conditions" if s.hard else "")
        errors = [NOT_KNOWN if s.unmeasured else number(s.lowest), number(s.median), number(s.spread)]
        words = [s.settings_hash, str(s.width), str(s.depth or ""), budget, *errors, trials(s)]
        cells = "".join(f"<td>{escape(word)}</td>" for word in words)
        lines.append(f'<tr>{cells}<td class="differs">{escape(s.differs)}</td></tr>')
    heads = "".join(f'<th scope="col">{word}</th>' for word in SETTINGS)
    title = f"{escape(row.title)}, {escape(method_title(method))}"
    return (
        f'<div popover id="{name}" class="card"><p><b>{title}</b></p><div class="wide">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></div>"
    )
