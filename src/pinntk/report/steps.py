"""How the steps of Gauss-Newton phases went along the trainings of one problem."""

from __future__ import annotations

from matplotlib.figure import Figure

from pinntk.report.curves import LINES, positive
from pinntk.report.table import Row, method_title

PANELS = {"radius": "length of the step", "damping": "λ", "gain_ratio": "gain ratio"}
"""Columns of metrics.csv, and what they are called."""
ASKED = "least_ratio"
"""The gain ratio that was asked of a step."""


def steps(row: Row) -> Figure | None:
    """Radius, lambda and gain ratio against the iteration; a line per trial, a colour per setting.

    Other phases log a damping and a gain ratio, too: what counts are the iterations that have a radius. The gain ratio
    that was asked of a step is drawn thinly beside that which it had.

    Returns:
        the figure; None where no trial of the row has a radius in its log.
    """
    settings = [(method, setting) for method, cell in row.cells.items() for setting in cell.settings]
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    panels = dict(zip(PANELS, figure.subplots(1, len(PANELS)), strict=True))
    drawn = False
    for k, (method, setting) in enumerate(settings):
        label = f"{method_title(method)} {setting.settings_hash}"
        for run in setting.runs:
            if "radius" not in run.columns:
                continue
            inside = set(run.columns["radius"][0])
            lines = {}
            for name in (*PANELS, ASKED):
                points = [point for point in zip(*run.columns.get(name, ((), ())), strict=True) if point[0] in inside]
                lines[name] = positive([n for n, _ in points], [value for _, value in points])
            look = {"color": f"C{k % 10}", "linestyle": LINES[k // 10 % len(LINES)], "label": label}
            for name, panel in panels.items():
                panel.plot(*lines[name], **look, linewidth=1.0, marker=".", markersize=2)
            look["label"] = f"_asked of {label.removeprefix('_')}"
            panels["gain_ratio"].plot(*lines[ASKED], **look, linewidth=0.7, alpha=0.5, drawstyle="steps-mid")
            label, drawn = f"_{label.removeprefix('_')}", True  # one entry in the legend per setting
    if not drawn:
        return None
    for name, panel in panels.items():
        panel.set(xlabel="iteration", ylabel=PANELS[name], yscale="log")
    handles, labels = panels["radius"].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(row.title)
    return figure
