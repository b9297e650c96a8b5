"""Figure 1b and Theorem 3 from run folders: the Hessian of L_r at initialisation against the width.

    python multirun_scripts/fig1b.py runs/fig1b

writes fig1b.png and fig1b.csv there: spectral norms, mean and spread over trials, and, for the widths that are small
enough, the share of the entries above a hundredth of the largest, of the Hessian and of its part beyond Gauss-Newton.
"""

from __future__ import annotations

import sys

from run_folders import chosen, write_csv

from pinntk.errors import BadInput
from pinntk.reading import find_runs
from pinntk.report.hessian import CALLBACK, COLUMNS, figure_1b
from pinntk.report.pictures import png
from pinntk.report.series import find_series
from pinntk.report.write import put


def main() -> None:
    """Draw, and write the numbers."""
    folder = chosen("runs/fig1b")
    try:
        series = find_series(find_runs(folder)[0], CALLBACK)
    except BadInput as error:
        sys.exit(str(error))
    if not series:
        sys.exit(f"no hessian_norm.npz in {folder}; multirun_scripts/fig1b.sh makes them")
    figure, rows = figure_1b(series)
    put(folder / "fig1b.png", png(figure))
    write_csv(folder / "fig1b.csv", COLUMNS, rows)


if __name__ == "__main__":
    main()
