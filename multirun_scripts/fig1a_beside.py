"""Figure 1a beside the paper's: the drift of the kernel at the last iteration against the width.

    python multirun_scripts/fig1a_beside.py results/fig1a

reads ``fig1a.csv`` (of fig1a.py), ``published.csv`` (``pde,width,drift``, read off the paper's plot) and ``search.csv``
(``setting,pde,width,iteration,drift``, other settings, a trial each) there, and writes ``beside.png``.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pinntk.common.files import write_atomically
from pinntk.report.pictures import png

Lines = dict[str, list[tuple[int, float, float]]]
"""Width, drift and its spread, by the name of a line."""
STYLES: dict[str, dict[str, Any]] = {
    "ours": {"color": "C0", "lw": 2.5, "marker": "o"},
    "paper": {"color": "k", "lw": 2.5, "ls": "--"},
}


def read(folder: Path) -> dict[str, Lines]:
    """The lines of each problem: ours, the paper's, and those of other settings."""
    found: dict[str, Lines] = defaultdict(lambda: defaultdict(list))

    def rows(name: str) -> list[dict[str, str]]:
        with (folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    ours = rows("fig1a.csv")
    last = max(int(row["iteration"]) for row in ours)
    for row in ours:
        if int(row["iteration"]) == last:
            point = int(row["width"]), float(row["drift_mean"]), float(row["drift_std"])
            found[row["pde"]]["ours"].append(point)
    for row in rows("published.csv"):
        found[row["pde"]]["paper"].append((int(row["width"]), float(row["drift"]), 0.0))
    for row in rows("search.csv"):
        found[row["pde"]][row["setting"]].append((int(row["width"]), float(row["drift"]), 0.0))
    return {pde: {name: sorted(points) for name, points in lines.items()} for pde, lines in sorted(found.items())}


def draw(axes: Axes, lines: Lines, names: list[str]) -> None:
    """One problem: ours and the paper's thick, the others thin, of colours by their place among the names."""
    for name, points in lines.items():
        widths, drifts, spreads = zip(*points, strict=True)
        style = STYLES.get(name) or {"color": f"C{names.index(name) % 9 + 1}", "lw": 1, "marker": "."}
        axes.errorbar(widths, drifts, yerr=spreads if name == "ours" else None, label=name, capsize=3, **style)
    axes.set_xscale("log")
    axes.set_xlabel("width")
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def main() -> None:
    """Read, draw, write."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/fig1a")
    try:
        found = read(folder)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}; multirun_scripts/fig1a.sh makes fig1a.csv")
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    names = [name for name in dict.fromkeys(n for lines in found.values() for n in lines) if name not in STYLES]
    for axes, (pde, lines) in zip(panels, found.items(), strict=True):
        draw(axes, lines, names)
        axes.set_title(pde)
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("‖K(0) − K(t)‖₂ / ‖K(0)‖₂ at the last iteration")
    write_atomically(folder / "beside.png", partial(Path.write_bytes, data=png(figure)))


if __name__ == "__main__":
    main()
