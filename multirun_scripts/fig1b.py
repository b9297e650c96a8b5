"""Figure 1b and Theorem 3 from run folders: the Hessian of L_r at initialisation against the width.

    python multirun_scripts/fig1b.py runs/fig1b

writes fig1b.png and fig1b.csv there: spectral norms, mean and spread over trials, and, for the widths that are small
enough, the share of the entries above a hundredth of the largest, of the Hessian and of its part beyond Gauss-Newton.
"""

from __future__ import annotations

from run_folders import completed, write_figure

from pinntk.report.hessian import CALLBACK, COLUMNS, figure_1b
from pinntk.report.series import find_series


def main() -> None:
    """Draw, and write the numbers."""
    folder, runs = completed("runs/fig1b", f"{CALLBACK}.npz", "fig1b.sh")
    figure, rows = figure_1b(find_series(runs, CALLBACK))
    write_figure(folder / "fig1b", figure, COLUMNS, rows)


if __name__ == "__main__":
    main()
