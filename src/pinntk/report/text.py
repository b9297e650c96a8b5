"""Table 2 as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json

from pinntk.report.table import Cell, Row, Setting, Table, method_title

NO_RUN = "no run"
NOT_KNOWN = "not known"
LEGEND = (
    "L2RE of ours: lowest over the completed trials; then their median and spread (highest − lowest), the number of"
    " trials and what became of those that did not complete; in brackets the settings' hash, width and budget."
    ' "Not known": the problem has no reference to measure an error against.'
    " Trials of different settings are never mixed: a cell shows each setting, the best first. Bold: the lowest of ours"
    " and the lowest of the published figures in each row."
)


def number(value: float | None) -> str:
    """Three digits as the paper writes them, 1.23e-2; a dash for none."""
    if value is None:
        return "–"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits}e{int(exponent):+d}"


def trials(setting: Setting) -> str:
    """Number of trials, and what became of those that did not complete: "10 trials, 1 failed"."""
    parts = [f"{setting.trials} trial{'s' if setting.trials != 1 else ''}"]
    counts = {"failed": setting.failed, **{name: setting.count(name) for name in ("interrupted", "unfinished")}}
    return ", ".join(parts + [f"{count} {name}" for name, count in counts.items() if count])


def details(setting: Setting) -> list[str]:
    """What stands behind the lowest error: median, spread, trials, name of the setting."""
    several = len(setting.errors) > 1
    parts = [f"median {number(setting.median)}", f"spread {number(setting.spread)}"] if several else []
    hard = ", hard conditions" if setting.hard else ""
    return [*parts, trials(setting), f"[{setting.settings_hash}, w{setting.width}, {setting.budget}{hard}]"]


def ours(cell: Cell, row: Row) -> list[tuple[str, bool, list[str]]]:
    """Per setting of a cell: the lowest error as text, whether it is the row's best, and the details."""
    return [
        (NOT_KNOWN if s.unmeasured else number(s.lowest), s.lowest is not None and s.lowest == row.best, details(s))
        for s in cell.settings
    ]


def is_best_published(cell: Cell, row: Row) -> bool:
    """Whether the cell has the row's lowest published figure."""
    return cell.published is not None and cell.published == row.best_published


def notes_of(table: Table) -> list[str]:
    """Everything that is to be said below the table."""
    return [*(f"{row.title}: {row.note}." for row in table.rows if row.note), *other_notes(table)]


def other_notes(table: Table) -> list[str]:
    """The same without the rows' own: what was left out, and in what the settings of a cell differ."""
    differing = [
        f"{row.title}, {method_title(method)}, {setting.settings_hash}: {setting.differs}"
        for row in table.rows
        for method, cell in row.cells.items()
        for setting in cell.settings
        if setting.differs
    ]
    return [*table.notes, *differing]


def markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [
        "| problem | " + " | ".join(map(method_title, table.methods)) + " |",
        "|---" * (1 + len(table.methods)) + "|",
    ]
    for row in table.rows:
        cells = []
        for cell in row.cells.values():
            found = ours(cell, row)
            parts = [f"{f'**{low}**' if best else low} ({'; '.join(more)})" for low, best, more in found] or [NO_RUN]
            if cell.published is not None:
                figure = number(cell.published)
                parts.append(f"published {f'**{figure}**' if is_best_published(cell, row) else figure}")
            cells.append("<br>".join(parts))
        cells = [cell.replace("|", "\\|") for cell in (row.title, *cells)]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {note}" for note in notes_of(table)]
    return "\n".join(["# Table 2", "", *lines, "", LEGEND, "", *notes]).rstrip() + "\n"


COLUMNS = (
    "problem pde parameters method settings_hash width depth budget lowest median highest spread trials completed"
    " failed interrupted unfinished best published best_published differs note"
).split()


def comma_separated(table: Table) -> str:
    """The table as CSV: a line per problem, method and setting, one with 0 trials where there is none; all digits."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for method, cell in row.cells.items():
            common = {
                "problem": row.title,
                "pde": row.pde,
                "parameters": json.dumps(dict(row.parameters)),
                "method": method,
                "published": cell.published,
                "best_published": int(is_best_published(cell, row)),
                "note": row.note,
            }
            for s in cell.settings:
                names = "settings_hash width depth budget lowest median highest spread trials failed differs".split()
                found = {name: getattr(s, name) for name in names}
                counts = {"interrupted": s.count("interrupted"), "unfinished": s.count("unfinished")}
                best = int(s.lowest is not None and s.lowest == row.best)
                writer.writerow({**common, **found, **counts, "completed": s.completed, "best": best})
            if not cell.settings:
                writer.writerow({**common, "trials": 0, "best": 0})
    return out.getvalue()


SPECIAL = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
SPECIAL |= {"^": r"\textasciicircum{}", "−": "$-$", "–": "--", "…": r"\dots{}"}


def tex(text: str) -> str:
    """Text with LaTeX's special signs escaped."""
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def _bold(text: str) -> str:
    return f"\\textbf{{{text}}}"


def latex(table: Table) -> str:
    """The table as LaTeX, to be input as it is; it needs no package."""
    head = " & ".join(["problem", *(tex(method_title(method)) for method in table.methods)])
    lines = [
        "% Bold: the lowest of ours and the lowest of the published figures in each row.",
        "\\begin{tabular}{l" + "l" * len(table.methods) + "}",
        "\\hline",
        head + r" \\",
        "\\hline",
    ]
    for row in table.rows:
        cells = []
        for cell in row.cells.values():
            parts = []
            for low, best, more in ours(cell, row):
                parts += [_bold(low) if best else tex(low), *(f"{{\\scriptsize {tex(line)}}}" for line in more)]
            parts = parts or [NO_RUN]
            if cell.published is not None:
                figure = number(cell.published)
                shown = _bold(figure) if is_best_published(cell, row) else figure
                parts.append(f"{{\\scriptsize published {shown}}}")
            cells.append("\\begin{tabular}[t]{@{}l@{}}" + r" \\ ".join(parts) + "\\end{tabular}")
        lines.append(" & ".join([tex(row.title), *cells]) + r" \\")
    lines += ["\\hline", "\\end{tabular}", *(f"% {note}" for note in (LEGEND, *notes_of(table)))]
    return "\n".join(lines) + "\n"
