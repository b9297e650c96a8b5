"""Theorem 2 from run folders: spread of K(0) over seeds, and drift of K, against the width.

    python multirun_scripts/theorem2.py runs/theorem2

writes theorem2.png and theorem2.csv there. The spread is that of single kernels about their mean over the S trials,
``sqrt(sum_s |K_s - mean|_2^2 / (S - 1)) / |mean|_2``; the drift is the mean over the trials of its value at the end.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from run_folders import completed, write_figure

from pinntk.common.arrays import Array
from pinntk.report.reading import Run


def spread(kernels: list[Array]) -> float:
    """Of symmetric matrices about their mean, in the spectral norm, relative to the mean; nan of a single one."""
    if len(kernels) < 2:
        return float("nan")
    mean = np.mean(kernels, axis=0)
    squares = [np.linalg.norm(kernel - mean, 2) ** 2 for kernel in kernels]
    return float(np.sqrt(np.sum(squares) / (len(kernels) - 1)) / np.linalg.norm(mean, 2))


def collect(runs: Iterable[Run]) -> dict[str, dict[int, tuple[list[Array], list[float]]]]:
    """Problem -> width -> kernels at the start and drifts at the end, one of each per trial."""
    found: dict[str, dict[int, tuple[list[Array], list[float]]]] = defaultdict(lambda: defaultdict(lambda: ([], [])))
    for run in runs:
        arrays = run.arrays("ntk_drift.npz")
        if "kernel_start" in arrays:
            kernels, drifts = found[run.pde][run.width]
            kernels.append(arrays["kernel_start"])
            drifts.append(float(arrays["drift"][-1, 0]))
    return found


def main() -> None:
    """Draw, and write the numbers."""
    folder, runs = completed("runs/theorem2", "ntk_drift.npz", "theorem2.sh")
    found = collect(runs)
    if not found:
        sys.exit(f"no ntk_drift.npz with kernel_start in {folder}; multirun_scripts/theorem2.sh makes them")
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = []
    for k, (pde, widths) in enumerate(sorted(found.items())):
        x, figures = [], []
        for width, (kernels, drifts) in sorted(widths.items()):
            x.append(width)
            figures.append([spread(kernels), np.mean(drifts), np.std(drifts)])
            rows.append([pde, width, len(kernels), *(f"{value:.5g}" for value in figures[-1])])
        spreads, means, deviations = np.array(figures).T
        left.plot(x, spreads, marker=".", color=f"C{k}", label=pde)
        right.errorbar(x, means, deviations, marker=".", capsize=2, color=f"C{k}", label=pde)
    left.set(ylabel="spread of K(0) over seeds")
    right.set(ylabel="‖K(0) − K(t)‖₂ / ‖K(0)‖₂ at the end")
    for panel in (left, right):
        panel.set(xscale="log", yscale="log", xlabel="width")
    left.legend(frameon=False)
    header = ["pde", "width", "trials", "spread", "drift_mean", "drift_std"]
    write_figure(folder / "theorem2", figure, header, rows)


if __name__ == "__main__":
    main()
