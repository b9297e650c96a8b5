"""Error and loss along the trainings of one problem."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from pinntk.report.table import Row, method_title

LINES = ("-", "--", ":", "-.")
"""Ten colours are soon used up; then the next kind of line."""


def curves(row: Row) -> tuple[Figure, int] | None:
    """L2RE against training time, and L2RE and loss against the iteration; a line per trial, a colour per setting.

    Of a problem without a reference: the loss against both.

    Returns:
        the figure, and the number of trials whose files have no times; None where no trial of the row has a log.
    """
    settings = [(method, setting) for method, cell in row.cells.items() for setting in cell.settings]
    measured = any("l2re" in run.columns for _, setting in settings for run in setting.runs)
    known = measured or any(run.reference_known for _, setting in settings for run in setting.runs)
    shown = ("l2re", "loss") if known else ("loss",)
    figure = Figure(figsize=(13 if known else 9, 4), layout="constrained")
    by_time, *by_iteration = figure.subplots(1, 1 + len(shown))
    drawn = untimed = 0
    for k, (method, setting) in enumerate(settings):
        label = f"{method_title(method)} {setting.settings_hash}"
        for run in setting.runs:
            found = run.columns
            look = {"color": f"C{k % 10}", "linestyle": LINES[k // 10 % len(LINES)], "linewidth": 1.0, "label": label}
            for panel, name in zip(by_iteration, shown, strict=True):
                if name in found:
                    panel.plot(*positive(*found[name]), **look)
                    drawn += 1
            if shown[0] in found:
                untimed += "seconds" not in found
                at = dict(zip(*found.get("seconds", ([], [])), strict=True))
                pairs = [(at[n], error) for n, error in zip(*found[shown[0]], strict=True) if n in at]
                if pairs:
                    by_time.plot(*positive(*zip(*pairs, strict=True)), **look)
                label = f"_{label}"  # one entry in the legend per setting
    if not drawn:
        return None
    names = {"l2re": "L2RE", "loss": "loss (each method's own)"}
    by_time.set(xlabel="seconds of training", ylabel=names[shown[0]], yscale="log")
    for panel, name in zip(by_iteration, shown, strict=True):
        panel.set(xlabel="iteration", ylabel=names[name], yscale="log")
    if untimed and not by_time.lines:
        by_time.set_axis_off()
        by_time.text(0.5, 0.5, "no times were recorded", transform=by_time.transAxes, ha="center")
    handles, labels = by_iteration[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(row.title)
    return figure, untimed


def positive(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points of a line without those that a logarithmic axis cannot show."""
    kept = [(a, b) for a, b in zip(x, y, strict=True) if 0 < b < float("inf")]
    return [a for a, _ in kept], [b for _, b in kept]
