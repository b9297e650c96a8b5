"""Figure 1a from run folders: the drift of the kernel against the iteration, by width, mean and spread over trials.

    python multirun_scripts/fig1a.py runs/fig1a

writes fig1a.png and fig1a.csv there.
"""

from __future__ import annotations

import sys

from run_folders import chosen, write_csv

from pinntk.errors import BadInput
from pinntk.reading import find_runs
from pinntk.report.kernel import CALLBACK, COLUMNS, figure_1a
from pinntk.report.pictures import png
from pinntk.report.series import find_series
from pinntk.report.write import put


def main() -> None:
    """Draw, and write the numbers."""
    folder = chosen("runs/fig1a")
    try:
        series = find_series(find_runs(folder)[0], CALLBACK)
    except BadInput as error:
        sys.exit(str(error))
    if not series:
        sys.exit(f"no ntk_drift.npz in {folder}; multirun_scripts/fig1a.sh makes them")
    figure, rows = figure_1a(series)
    put(folder / "fig1a.png", png(figure))
    write_csv(folder / "fig1a.csv", COLUMNS, rows)


if __name__ == "__main__":
    main()
