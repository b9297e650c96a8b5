"""Figure 1a from run folders: the drift of the kernel against the iteration, by width, mean and spread over trials.

    python multirun_scripts/fig1a.py runs/fig1a

writes fig1a.png and fig1a.csv there.
"""

from __future__ import annotations

from run_folders import completed, write_figure

from pinntk.report.kernel import CALLBACK, COLUMNS, figure_1a
from pinntk.report.series import find_series


def main() -> None:
    """Draw, and write the numbers."""
    folder, runs = completed("runs/fig1a", f"{CALLBACK}.npz", "fig1a.sh")
    figure, rows = figure_1a(find_series(runs, CALLBACK))
    write_figure(folder / "fig1a", figure, COLUMNS, rows)


if __name__ == "__main__":
    main()
