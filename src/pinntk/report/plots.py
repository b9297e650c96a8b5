"""Error against seconds of training: of all methods of a problem in one plot that one can zoom into."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pinntk.report.curves import positive
from pinntk.report.reading import Run
from pinntk.report.table import Cell, Row, Setting, method_title, short_title
from pinntk.report.text import number

COLOURS = (
    *("#3b82c4", "#e07b00", "#159e77", "#cc5fa6", "#8a7fd6"),
    *("#b39b00", "#d1495b", "#3ba7bd", "#8c6d4f", "#7f8a94"),
)
"""Told apart with and without red and green, and legible on white and on black."""
DASHES = ("solid", "dash", "dot", "dashdot")
"""When the colours are used up."""
POINTS = 400
"""At most, of a trial."""


def time_plot(row: Row) -> tuple[go.Figure | None, int]:
    """A line per trial, a colour per method; of each method the setting with the lowest median, others on demand.

    A trace's ``meta`` says whether it is of the setting that is shown at once. With the others hidden each method
    still has its entry in the legend.

    Returns:
        the figure, None where no trial has errors with times; and the number of trials with errors but without times.
    """
    figure = go.Figure()
    untimed = 0
    for k, (method, cell) in enumerate(row.cells.items()):
        first = True
        for setting in _ordered(cell):
            lines = [(run, line) for run in setting.runs if (line := timed(run)) is not None]
            untimed += sum("l2re" in run.columns for run in setting.runs) - len(lines)
            for n, (run, (seconds, errors)) in enumerate(lines):
                look = {"color": COLOURS[k % len(COLOURS)], "dash": DASHES[k // len(COLOURS) % len(DASHES)]}
                figure.add_scatter(
                    x=seconds,
                    y=errors,
                    name=escape(short_title(method)),
                    legendgroup=method,
                    showlegend=first and n == 0,
                    visible=first,
                    meta={"shown": first},
                    mode="lines" if len(seconds) > 1 else "markers",
                    line={**look, "width": 1.8 if first else 1},
                    opacity=1.0 if first else 0.6,
                    hovertemplate=_hover(run, setting, method),
                )
            first = first and not lines
    if not figure.data:
        return None, untimed
    axes: dict[str, Any] = {"xaxis": {"title": {"text": "seconds of training"}, "type": "log"}}
    axes["yaxis"] = {"title": {"text": "L2RE"}, "type": "log", "exponentformat": "power", "dtick": 1}
    figure.update_layout(template="none", hovermode="closest", showlegend=True, **axes)
    return figure, untimed


def timed(run: Run) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Seconds and errors along a training, at most `POINTS` of them, the last among them; None where there are none."""
    found = run.columns
    if "l2re" not in found or "seconds" not in found:
        return None
    at = dict(zip(*found["seconds"], strict=True))
    pairs = [(at[n], error) for n, error in zip(*found["l2re"], strict=True) if n in at]
    seconds, errors = positive([time for time, _ in pairs], [error for _, error in pairs])
    if not seconds:
        return None
    kept = np.unique(np.linspace(0, len(seconds) - 1, min(POINTS, len(seconds))).round().astype(int))
    return np.array(seconds, dtype=np.float32)[kept], np.array(errors, dtype=np.float32)[kept]


def _ordered(cell: Cell) -> list[Setting]:
    """A cell's settings, the one that the table shows first."""
    return sorted(cell.settings, key=lambda setting: setting is not cell.usual)


def _hover(run: Run, setting: Setting, method: str) -> str:
    end = f", ends at {number(run.l2re)}" if run.l2re is not None else f", {run.status}"
    about = f"{method_title(method)}, seed {run.seed}{end}"
    which = f"{setting.settings_hash}, w{setting.width}, {setting.budget}"
    return f"L2RE %{{y:.2e}} after %{{x:.4~g}} s<br>{escape(about)}<br>{escape(which)}<extra></extra>"
