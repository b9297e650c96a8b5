"""All files of a report, each written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from pinntk.common.errors import BadInput
from pinntk.common.files import write_atomically
from pinntk.report import readme
from pinntk.report.page import page, summary, viewers
from pinntk.report.pictures import pictures
from pinntk.report.reading import find_runs, without_folder
from pinntk.report.table import make_table
from pinntk.report.text import comma_separated, latex, markdown


def write_report(root: Path, out: Path, document: Path | None = None) -> list[str]:
    """Write a report on all runs below a folder.

    Args:
        root: where the run folders are.
        out: where to write: ``table2.md``, ``.csv`` and ``.tex``, the pictures, and ``index.html`` with all of it.
        document: a text in which the medians are to stand, between the marks of `pinntk.report.readme`.

    Returns:
        what to tell the user, line by line.

    Raises:
        BadInput: there are no runs, ``out`` cannot be written, or the document does not have the marks.
    """
    around = readme.around(document) if document else ("", "")
    runs, problems = find_runs(root)
    lost = without_folder(root)
    table = make_table(runs, lost)
    drawn = pictures(runs, table, problems.append)
    problems += [line for run in runs for line in run.problems]
    files: dict[str, bytes] = {
        "table2.md": markdown(table).encode(),
        "table2.csv": comma_separated(table).encode(),
        "table2.tex": latex(table).encode(),
    }
    for picture in drawn:
        files[f"{picture.name}.png"] = picture.png
        if picture.numbers:
            files[f"{picture.name}.csv"] = lines_of(picture.numbers)
    solutions = viewers(table, problems.append)
    files["index.html"] = page(str(root), runs, table, drawn, solutions, problems).encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(out / name, partial(Path.write_bytes, data=content))
    except OSError as error:
        raise BadInput(f"--out {out}: {error.strerror or error}; allowed: a folder that can be written") from error
    counted = [f"{len(lost)} jobs have no run folder, refused or failed before: see the notes"] if lost else []
    said = [summary(runs), *counted, *problems, f"{len(files)} files in {out}, all of it in {out / 'index.html'}"]
    if document:
        readme.put(document, around, table)
        said.append(f"the table of medians in {document}")
    return said


def lines_of(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as the content of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
