"""Figure 1b and Theorem 3 from run folders: the Hessian of L_r at initialisation against the width.

    python multirun_scripts/fig1b.py runs/fig1b

writes fig1b.png and fig1b.csv there: spectral norms, mean and spread over trials, and, for the widths that are small
enough, the share of the entries above a hundredth of the largest, of the Hessian and of its part beyond Gauss-Newton.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from run_folders import chosen, saved, write_csv

TOLERANCE = 1e-2
NORMS = ("hessian", "gauss_newton", "remainder", "ratio")
ENTRIES = ("entries_hessian", "entries_remainder")
Found = dict[str, dict[int, dict[str, list[float]]]]


def collect(folder: Path) -> Found:
    """Problem -> width -> figure -> one number per trial."""
    found: Found = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for result, arrays in saved(folder, "hessian_norm.npz"):
        figures = found[result["pde"]][result["width"]]
        for name in NORMS:
            figures[name].append(float(arrays[name][0, 0]))
        for name in ENTRIES:
            if name in arrays:
                column = int(np.flatnonzero(np.isclose(arrays["tolerances"], TOLERANCE))[0])
                figures[name].append(float(arrays[name][0, column]))
    return found


def curve(
    panel: Axes, widths: dict[int, dict[str, list[float]]], name: str, style: str, color: str, label: str
) -> None:
    """Mean and spread of a figure against the width, where there are such."""
    points = [(width, np.array(figures[name])) for width, figures in sorted(widths.items()) if name in figures]
    if points:
        x = np.array([width for width, _ in points])
        mean, spread = (np.array([f(values) for _, values in points]) for f in (np.mean, np.std))
        panel.plot(x, mean, style, marker=".", color=color, label=label)
        # The spread of few trials may reach below 0, where a logarithm has no place for it.
        lower = np.maximum(mean - spread, mean / 10)
        panel.fill_between(x, lower, mean + spread, color=color, alpha=0.2, linewidth=0)


def main() -> None:
    """Draw, and write the numbers."""
    folder = chosen("runs/fig1b")
    found = collect(folder)
    if not found:
        sys.exit(f"no hessian_norm.npz in {folder}; multirun_scripts/fig1b.sh makes them")
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    rows = []
    for k, (pde, widths) in enumerate(sorted(found.items())):
        curve(left, widths, "hessian", "-", color=f"C{k}", label=pde)
        curve(middle, widths, "ratio", "-", color=f"C{k}", label=pde)
        if sum("entries_hessian" in figures for figures in widths.values()) > 1:
            curve(right, widths, "entries_hessian", "-", color=f"C{k}", label=f"{pde}, Hessian")
            curve(right, widths, "entries_remainder", ":", color=f"C{k}", label=f"{pde}, remainder")
        for width, figures in sorted(widths.items()):
            for name in (*NORMS, *ENTRIES):
                if name in figures:
                    trials = np.array(figures[name])
                    rows.append([pde, width, len(trials), name, f"{trials.mean():.5g}", f"{trials.std():.5g}"])
    left.set(xscale="log", yscale="log", xlabel="width", ylabel="‖∇²L_r‖₂ at initialisation")
    middle.set(xscale="log", yscale="log", xlabel="width", ylabel="‖remainder‖₂ / ‖∇²L_r‖₂")
    right.set(xscale="log", ylim=(0, None), xlabel="width", ylabel=f"share of entries above {TOLERANCE:g} × largest")
    for panel in (left, middle, right):
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "fig1b.png", dpi=130)
    write_csv(folder / "fig1b.csv", ["pde", "width", "trials", "figure", "mean", "std"], rows)


if __name__ == "__main__":
    main()
