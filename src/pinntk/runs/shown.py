"""What a run looks like in a notebook: its history as a table, itself as a page."""

from __future__ import annotations

import base64
import csv
import html
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pinntk.common.arrays import Array
from pinntk.loggers.metrics_csv import read_rows

PICTURE = "solution.png"


def frame(columns: Mapping[str, Any]) -> Any:
    """Columns as a pandas DataFrame where pandas is installed, else as they are.

    Example::

        >>> list(frame({"loss": np.array([2.0, 1.0])})["loss"] > 1.5) == [True, False]
        True
    """
    if importlib.util.find_spec("pandas") is None:
        return dict(columns)
    import pandas

    return pandas.DataFrame(dict(columns))


def history(folder: Path) -> dict[str, Array]:
    """The columns of a run's metrics.csv, (n,) each; nan where a row has no value. None at all where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / "metrics.csv"
    if not path.exists():
        return {}
    try:
        rows = dict(sorted(read_rows(path)))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    names = dict.fromkeys(name for row in rows.values() for name in row)
    values = {name: np.array([float(row.get(name, math.nan)) for row in rows.values()]) for name in names}
    return {"iteration": np.array(list(rows), dtype=int)} | values


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts as HTML.

    Example::

        >>> grid([], [["u < v"]])
        "<table><tr><td style='text-align:left'>u &lt; v</td></tr></table>"
    """
    lines = [("th", head), *(("td", row) for row in rows)] if head else [("td", row) for row in rows]
    texts = (
        "".join(f"<{tag} style='text-align:left'>{html.escape(text)}</{tag}>" for text in row) for tag, row in lines
    )
    return f"<table>{''.join(f'<tr>{text}</tr>' for text in texts)}</table>"


def picture(folder: Path) -> str:
    """A run's picture as HTML that holds it; nothing where there is none."""
    path = folder / PICTURE
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<img alt='{PICTURE}' style='max-width:100%' src='data:image/png;base64,{data}'>"
