"""What `zoo_spectra.py` measured, drawn: every problem's kernel at the start, and its training on the way.

    python multirun_scripts/zoo_pictures.py results/zoo/spectra --png results/zoo/spectra.png

Upper panels: the eigenvalues of K_uu and of K_rr over the largest, at initialisation. Lower panels: the drift of K,
``|K(t) - K(0)| / |K(0)|``, and the remainder's share of the Hessian of the whole loss, ``|H - J^T J| / |H|``, along a
short run of adam; problems whose records have no ``along`` are left out there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from zoo_lessons import read_records

from pinntk.common.errors import BadInput
from pinntk.common.files import write_atomically
from pinntk.common.plots import ROUNDING
from pinntk.report.pictures import png

BLOCKS = ("K_uu", "K_rr")


def picture(records: Sequence[Mapping[str, Any]]) -> Figure:
    """The four panels, a colour for each problem."""
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    panels = figure.subplots(2, 2)
    colours = matplotlib.colormaps["tab20"]
    for k, record in enumerate(records):
        style = {"color": colours(k % colours.N), "linestyle": "-" if k % 2 else "--", "linewidth": 1.3}
        for panel, block in zip(panels[0], BLOCKS, strict=True):
            values = np.array(record["eigenvalues"]["start"][block], dtype=float)
            if len(values):
                panel.plot(np.arange(1, len(values) + 1), values / values[0], **style)
        way = record.get("along")
        x, drift = ([], []) if way is None else (way["iteration"][1:], way["drift"]["K"][1:])  # 0 at first
        alone = sum(other["pde"] == record["pde"] for other in records) == 1
        panels[1, 0].plot(x, drift, label=record["pde" if alone else "problem"], **style)
        if way is not None:
            panels[1, 1].plot(way["hessian_iteration"], way["remainder"]["L"], **style)
    for panel, block in zip(panels[0], BLOCKS, strict=True):
        panel.set(xscale="log", yscale="log", ylim=(ROUNDING, 2), xlabel="number", title=f"eigenvalues of {block}")
        panel.set_ylabel("over the largest")
    panels[1, 0].set(xlabel="iteration of adam", ylabel="‖K(t) − K(0)‖₂ / ‖K(0)‖₂", yscale="log")
    panels[1, 0].set_title("drift of the kernel")
    panels[1, 1].set(xlabel="iteration of adam", ylabel="‖H − JᵀJ‖₂ / ‖H‖₂", yscale="log")
    panels[1, 1].set_title("remainder's share of the Hessian")
    figure.legend(*panels[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spectra", type=Path, nargs="?", default=Path("results/zoo/spectra"))
    parser.add_argument("--png", type=Path, required=True)
    options = parser.parse_args()
    try:
        records = read_records(options.spectra)
    except BadInput as error:
        sys.exit(str(error))
    write_atomically(options.png, partial(Path.write_bytes, data=png(picture(records))))


if __name__ == "__main__":
    main()
