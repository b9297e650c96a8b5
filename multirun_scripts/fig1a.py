"""Figure 1a from run folders: the drift of the kernel against the iteration, by width, mean and spread over trials.

    python multirun_scripts/fig1a.py runs/fig1a

writes fig1a.png and fig1a.csv there.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from run_folders import Array, chosen, saved, write_csv

MORE = ("drift_uu_mean", "drift_rr_mean", "norm_mean", "norm_uu_mean", "norm_rr_mean", "effective_rank_mean")


def collect(folder: Path) -> dict[str, dict[int, list[dict[str, Array]]]]:
    """Problem -> width -> what `pinntk.callbacks.NTKDrift` saved, per trial."""
    found: dict[str, dict[int, list[dict[str, Array]]]] = defaultdict(lambda: defaultdict(list))
    for result, arrays in saved(folder, "ntk_drift.npz"):
        trial = {name: arrays[name] for name in ("iteration", "drift", "largest", "effective_rank")}
        found[result["pde"]][result["width"]].append(trial)
    return found


def main() -> None:
    """Draw, and write the numbers."""
    folder = chosen("runs/fig1a")
    found = collect(folder)
    if not found:
        sys.exit(f"no ntk_drift.npz in {folder}; multirun_scripts/fig1a.sh makes them")
    figure = Figure(figsize=(4.2 * len(found), 3.6), layout="constrained")
    panels: Any = np.atleast_1d(figure.subplots(1, len(found), sharey=True))
    rows = []
    for panel, (pde, widths) in zip(panels, sorted(found.items()), strict=True):
        for k, (width, trials) in enumerate(sorted(widths.items())):
            iteration = trials[0]["iteration"]
            drift, largest, rank = (
                np.stack([t[name] for t in trials]) for name in ("drift", "largest", "effective_rank")
            )
            mean, spread = drift[:, :, 0].mean(0), drift[:, :, 0].std(0)
            # Drift of K_uu and K_rr, norms of K, K_uu, K_rr and the effective rank of K.
            more = np.concatenate([drift.mean(0)[:, 1:], largest.mean(0), rank.mean(0)[:, :1]], axis=1)
            panel.plot(iteration, mean, color=f"C{k}", label=f"m = {width}")
            panel.fill_between(iteration, mean - spread, mean + spread, color=f"C{k}", alpha=0.2, linewidth=0)
            rows += [
                [pde, width, len(trials), n, *(f"{x:.5g}" for x in (a, b, *others))]
                for n, a, b, others in zip(iteration.tolist(), mean, spread, more, strict=True)
            ]
        panel.set(title=pde, xlabel="iteration", ylim=(0, None))
    panels[0].set_ylabel("‖K(0) − K(t)‖₂ / ‖K(0)‖₂")
    panels[-1].legend(frameon=False)
    figure.savefig(folder / "fig1a.png", dpi=130)
    write_csv(folder / "fig1a.csv", ["pde", "width", "trials", "iteration", "drift_mean", "drift_std", *MORE], rows)


if __name__ == "__main__":
    main()
