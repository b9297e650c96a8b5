"""What of a run is shown as a table, whatever shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinntk.callbacks.conditioning import Conditioning

Row = Mapping[str, str | float | int | bool | None]
"""Values by column."""
ESTIMATE = ("unknown", "value", "standard_error", "reason")
FIGURES = ("factor", "drop_tolerance", "condition", "kappa", "error", "defect", "entries", "reason")
"""Columns of the condition numbers, as `pinntk.callbacks.Conditioning` writes them."""


def tables(folder: Path, result: Mapping[str, Any]) -> dict[str, list[Row]]:
    """The tables of a run that has any.

    Args:
        folder: of the run.
        result: the content of result.json.

    Returns:
        By name the rows, which all have the same columns: ``loss_by_term``; ``error_by_field`` of a system with a
        reference; ``unknowns``, the estimated numbers; ``condition_numbers``, first without a preconditioner. None has
        the name of a picture, beside which it is shown.

    Raises:
        OSError, ValueError: conditioning.json cannot be read.
    """
    terms, fields = result.get("terms") or {}, result.get("l2re_by_field") or {}
    estimates = result.get("estimates") or {}
    found: dict[str, list[Row]] = {
        "loss_by_term": [{"term": name, "loss": loss} for name, loss in terms.items()],
        "error_by_field": [{"field": name, "l2re": error} for name, error in fields.items()],
        "unknowns": [_picked({"unknown": name, **figures}, ESTIMATE) for name, figures in estimates.items()],
        "condition_numbers": _conditioning(folder / Conditioning.file),
    }
    return {name: rows for name, rows in found.items() if rows}


def _conditioning(path: Path) -> list[Row]:
    if not path.exists():
        return []
    record = json.loads(path.read_text())
    if "plain" not in record:  # no condition numbers could be had
        return []
    every = [{"factor": "none", **record["plain"]}, *record["preconditioned"]]
    return [_picked(one, FIGURES) for one in every]


def _picked(row: Row, columns: Sequence[str]) -> Row:
    return {name: row.get(name) for name in columns}


def markdown(rows: Sequence[Row]) -> str:
    """A table as Markdown.

    Example::

        >>> print(markdown([{"term": "residual", "loss": 0.25}, {"term": "boundary", "loss": None}]))
        | term | loss |
        | --- | --- |
        | residual | 0.25 |
        | boundary |  |
    """
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_cell(one[name]) for name in head] for one in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")
