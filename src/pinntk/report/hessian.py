"""Figure 1b, the norm of the Hessian, and the Hessian's spectra: from what `pinntk.callbacks.HessianNorm` saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pinntk.common.plots import share_above
from pinntk.report.series import Series, labels

CALLBACK = "hessian_norm"
TOLERANCE = 1e-2
"""Entries above this part of the largest are counted."""
NORMS = ("hessian", "gauss_newton", "remainder", "ratio")
ENTRIES = ("entries_hessian", "entries_remainder")
COLUMNS = "pde width trials figure mean std method settings_hash".split()
Figures = dict[int, dict[str, list[float]]]
"""Width -> figure -> one number per trial."""


def at_start(series: Series) -> Figures:
    """The figures of L_r where the runs began."""
    found: Figures = {}
    for width, trials in series.widths.items():
        figures = found.setdefault(width, {})
        for run in trials:
            saved = run.arrays(f"{CALLBACK}.npz")
            for name in NORMS:
                figures.setdefault(name, []).append(float(saved[name][0, 0]))
            for name in ENTRIES:
                if name in saved:
                    column = int(np.flatnonzero(np.isclose(saved["tolerances"], TOLERANCE))[0])
                    figures.setdefault(name, []).append(float(saved[name][0, column]))
    return found


def _curve(panel: Axes, widths: Figures, name: str, style: str, colour: str, label: str) -> None:
    """Mean and spread of a figure against the width, where there are such."""
    points = [(width, np.array(figures[name])) for width, figures in widths.items() if name in figures]
    if points:
        x = np.array([width for width, _ in points])
        mean, spread = (np.array([f(values) for _, values in points]) for f in (np.mean, np.std))
        panel.plot(x, mean, style, marker=".", color=colour, label=label)
        # The spread of few trials may reach below 0, where a logarithm has no place for it.
        lower = np.maximum(mean - spread, mean / 10)
        panel.fill_between(x, lower, mean + spread, color=colour, alpha=0.2, linewidth=0)


def figure_1b(series: Sequence[Series]) -> tuple[Figure, list[list[Any]]]:
    """Norms of the Hessian of L_r at the start against the width, the part beyond Gauss-Newton, and shares of entries.

    Returns:
        the figure, and its numbers in the order of `COLUMNS`.
    """
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    rows: list[list[Any]] = []
    for k, (one, label) in enumerate(zip(series, labels(series), strict=True)):
        widths = at_start(one)
        _curve(left, widths, "hessian", "-", f"C{k}", label)
        _curve(middle, widths, "ratio", "-", f"C{k}", label)
        if sum("entries_hessian" in figures for figures in widths.values()) > 1:
            _curve(right, widths, "entries_hessian", "-", f"C{k}", f"{label}, Hessian")
            _curve(right, widths, "entries_remainder", ":", f"C{k}", f"{label}, remainder")
        for width, figures in widths.items():
            first = one.widths[width][0]
            for name in (*NORMS, *ENTRIES):
                if name in figures:
                    found = np.array(figures[name])
                    numbers = [name, f"{found.mean():.5g}", f"{found.std():.5g}"]
                    rows.append([first.pde, width, len(found), *numbers, one.method, first.settings_hash])
    left.set(xscale="log", yscale="log", xlabel="width", ylabel="‖∇²L_r‖₂ at the start")
    middle.set(xscale="log", yscale="log", xlabel="width", ylabel="‖remainder‖₂ / ‖∇²L_r‖₂")
    right.set(xscale="log", ylim=(0, None), xlabel="width", ylabel=f"share of entries above {TOLERANCE:g} × largest")
    for panel in (left, middle, right):
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=8)
    return figure, rows


def hessian_spectra(series: Sequence[Series]) -> Figure | None:
    """Shares of eigenvalues above a value at start and end, of L_r and L; of each width's trial with the lowest seed.

    Returns:
        a row of panels per series that has spectra; None where none has.
    """
    found = []
    for one, title in zip(series, labels(series), strict=True):
        curves: dict[str, dict[str, Any]] = {"L_r": {}, "L": {}}
        for width, trials in one.widths.items():
            for key, values in trials[0].arrays(f"{CALLBACK}.npz").items():
                if key.startswith("density_"):
                    _, when, loss = key.split("_", 2)
                    curves[loss][f"m = {width}, {when}"] = values
        if any(curves.values()):
            found.append((title, curves))
    if not found:
        return None
    figure = Figure(figsize=(9, 3.6 * len(found)), layout="constrained")
    panels: Any = figure.subplots(len(found), 2, squeeze=False)
    for line, (title, curves) in zip(panels, found, strict=True):
        for panel, (loss, densities) in zip(line, curves.items(), strict=True):
            if densities:
                share_above(panel, densities)
                panel.set_title(f"{title}: {loss}", fontsize=9)
                panel.legend(frameon=False, fontsize=8)
            else:
                panel.remove()
    return figure
