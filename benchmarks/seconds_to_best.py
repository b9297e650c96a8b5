"""Seconds of training until the paper's best figure of a problem is reached, for every run in run folders that has it.

Reads what the runs have measured themselves, at their ``evaluate_every``: the first measurement at or below the
figure. Runs at different settings are named by their hash; runs that do not reach it are listed as such.

    python benchmarks/seconds_to_best.py runs [runs ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from pinntk.report.reading import columns, find_runs
from pinntk.runs.published import TABLE_2


def main() -> None:
    """Print a table in Markdown."""
    print("| problem | best published | method | settings | seed | seconds | iteration | L2RE then | L2RE at the end |")
    print("|---|---|---|---|---|---|---|---|---|")
    runs = [run for root in sys.argv[1:] for run in find_runs(Path(root))[0] if run.l2re is not None]
    for row in TABLE_2:
        best = min(row.l2re.values())
        for run in runs:
            found = columns(run.folder / "metrics.csv") if row.fits(run.pde, run.parameters) else {}
            if "seconds" not in found:  # of another problem, or made before seconds were recorded
                continue
            seconds = dict(zip(*found["seconds"], strict=True))
            reached = [(i, e) for i, e in zip(*found["l2re"], strict=True) if e <= best and i in seconds]
            then = f"{seconds[reached[0][0]]:.0f} | {reached[0][0]} | {reached[0][1]:.1e}" if reached else "– | – | –"
            of_run = f"{run.column} | {run.settings_hash} | {run.seed} | {then} | {run.l2re:.1e}"
            print(f"| {row.title} | {best:.2e} | {of_run} |")


if __name__ == "__main__":
    main()
