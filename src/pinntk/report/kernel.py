"""Figure 1a, the drift of the kernel, and the kernel's spectra: from what `pinntk.callbacks.NTKDrift` saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pinntk.common.arrays import Array
from pinntk.common.plots import eigenvalues
from pinntk.report.reading import Run
from pinntk.report.series import Series, labels

CALLBACK = "ntk_drift"
BLOCKS = ("K", "K_uu", "K_rr")
COLUMNS = (
    "pde width trials iteration drift_mean drift_std drift_uu_mean drift_rr_mean norm_mean norm_uu_mean norm_rr_mean"
    " effective_rank_mean method settings_hash"
).split()
PANELS_ACROSS = 3


def stacked(trials: Sequence[Run]) -> dict[str, Array]:
    """Arrays (trials, n, 3) of drift, largest eigenvalue and effective rank, at the n iterations that all have."""
    saved = [run.arrays(f"{CALLBACK}.npz") for run in trials]
    common = sorted(set.intersection(*(set(one["iteration"].tolist()) for one in saved)))
    picked = [np.isin(one["iteration"], common) for one in saved]
    names = ("drift", "largest", "effective_rank")
    found = {name: np.stack([one[name][rows] for one, rows in zip(saved, picked, strict=True)]) for name in names}
    return {"iteration": np.array(common), **found}


def figure_1a(series: Sequence[Series]) -> tuple[Figure, list[list[Any]]]:
    """The drift against the iteration, a panel per problem and a curve per width: mean and spread over the trials.

    Returns:
        the figure, and its numbers in the order of `COLUMNS`.
    """
    across = min(PANELS_ACROSS, len(series))
    down = math.ceil(len(series) / across)
    figure = Figure(figsize=(4.2 * across, 3.6 * down), layout="constrained")
    panels: Any = figure.subplots(down, across, squeeze=False)
    for panel in panels.flat[len(series) :]:
        panel.remove()
    rows: list[list[Any]] = []
    for panel, one, title in zip(panels.flat, series, labels(series), strict=False):
        for k, (width, trials) in enumerate(one.widths.items()):
            saved = stacked(trials)
            drift, largest, rank = (saved[name] for name in ("drift", "largest", "effective_rank"))
            mean, spread = drift[:, :, 0].mean(0), drift[:, :, 0].std(0)
            # Drift of K_uu and K_rr, norms of K, K_uu, K_rr and the effective rank of K.
            more = np.concatenate([drift.mean(0)[:, 1:], largest.mean(0), rank.mean(0)[:, :1]], axis=1)
            panel.plot(saved["iteration"], mean, color=f"C{k}", label=f"m = {width}")
            panel.fill_between(saved["iteration"], mean - spread, mean + spread, color=f"C{k}", alpha=0.2, linewidth=0)
            numbers = zip(saved["iteration"].tolist(), mean, spread, more, strict=True)
            rows += [
                [trials[0].pde, width, len(trials), n, *(f"{x:.5g}" for x in (a, b, *others)), one.method, name]
                for n, a, b, others in numbers
                for name in [trials[0].settings_hash]
            ]
        panel.set_title(title, fontsize=9 if "\n" in title else None, wrap=True)
        panel.set(xlabel="iteration", ylim=(0, None))
        panel.legend(frameon=False, fontsize=8)
    for panel in panels[:, 0]:
        panel.set_ylabel("‖K(0) − K(t)‖₂ / ‖K(0)‖₂")
    return figure, rows


def kernel_spectra(series: Sequence[Series]) -> Figure:
    """Eigenvalues of K, K_uu and K_rr at start (dashed) and end, by width; of the trial with the lowest seed."""
    figure = Figure(figsize=(12, 3.6 * len(series)), layout="constrained")
    panels: Any = figure.subplots(len(series), len(BLOCKS), squeeze=False)
    for line, one, title in zip(panels, series, labels(series), strict=True):
        firsts = {width: trials[0].arrays(f"{CALLBACK}.npz") for width, trials in one.widths.items()}
        for panel, block in zip(line, BLOCKS, strict=True):
            curves = {}
            for k, (width, saved) in enumerate(firsts.items()):
                # A leading underscore keeps a curve out of the legend.
                for when, style, label in (("start", "--", f"_{width}"), ("end", "-", f"m = {width}")):
                    curves[label] = saved[f"spectrum_{when}_{block}"], {"color": f"C{k}", "linestyle": style}
            eigenvalues(panel, curves)
            panel.set_title(block)
            if panel.lines:
                panel.legend(frameon=False, fontsize=8)
        line[0].set_ylabel(f"{title}\neigenvalue", fontsize=9)
    return figure
