"""Table 2 inside another document, between two marks: medians, and the published figures in brackets."""

from __future__ import annotations

from pathlib import Path

from pinntk.common.errors import BadInput
from pinntk.common.files import write_atomically
from pinntk.report.table import Cell, Row, Table, method_title
from pinntk.report.text import NOT_KNOWN, number

BEGIN, END = "<!-- table 2 -->", "<!-- end of table 2 -->"


def around(path: Path) -> tuple[str, str]:
    """What stands before and after the place of the table, the marks included.

    Raises:
        BadInput: the file cannot be read, or does not have each mark once, in their order.
    """
    allowed = f"allowed: a file with one {BEGIN} and, below it, one {END}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise BadInput(f"--readme {path}: {reason}; {allowed}") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise BadInput(f"--readme {path}: has {text.count(BEGIN)} × {BEGIN} and {text.count(END)} × {END}; {allowed}")
    return text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]


def put(path: Path, around: tuple[str, str], table: Table) -> None:
    """Write the table into the file.

    Args:
        path: the file.
        around: what stands before and after the table.
        table: of the runs.

    Raises:
        BadInput: the file cannot be written.
    """
    text = f"\n\n{block(table)}\n\n".join(around)
    try:
        write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"--readme {path}: {reason}; allowed: a file that can be written") from error


def block(table: Table) -> str:
    """The table as Markdown, and a line that says how to read it; which trials did not complete stands in a second."""
    head = ["problem", *map(method_title, table.methods)]
    lines = [_line(head), "|---" * len(head) + "|"]
    lines += [_line([row.title, *(_cell(cell, row) for cell in row.cells.values())]) for row in table.rows]
    counts = sorted({cell.usual.trials for row in table.rows for cell in row.cells.values() if cell.usual})
    trials = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(*counts)
    lines += [
        "",
        "Median L2RE of the completed trials of the setting with the lowest median, and in brackets the published"
        f" figure; bold: the row's lowest; a dash: no run, nothing published. Trials of a setting: {trials}.",
    ]
    short = [_short(row, method, cell) for row in table.rows for method, cell in row.cells.items()]
    if any(short):
        lines += ["", f"Not all trials completed: {'; '.join(filter(None, short))}."]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _cell(cell: Cell, row: Row) -> str:
    usual = cell.usual
    if usual is not None and usual.unmeasured:
        ours = NOT_KNOWN
    else:
        ours = number(cell.median)
        if cell.median is not None and cell.median == row.best_median:
            ours = f"**{ours}**"
    return f"{ours} ({number(cell.published)})"


def _short(row: Row, method: str, cell: Cell) -> str:
    usual = cell.usual
    if usual is None or usual.completed == usual.trials:
        return ""
    return f"{row.title}, {method_title(method)}: {usual.completed} of {usual.trials}"
