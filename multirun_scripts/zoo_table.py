"""Tables in Markdown of the runs of zoo.sh: every method on every problem, the best method's trials, and what has been
published.

    python multirun_scripts/zoo_table.py results/zoo    # without a folder: runs/zoo

A cell of the first is the median L2RE of a method's setting with the most seeds, in brackets how many where there are
several; "failed" where no run of the method completed, a dash where there is none. Bold: the row's lowest, of all
methods. Methods that were not tried on every problem have a table of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from beyond_table import by_settings, head, number
from table2_lessons import column

from pinntk.common.errors import BadInput
from pinntk.report.reading import Run, distinct, find_runs


class Published(NamedTuple):
    """The best published error of a network trained on the equation alone, and the goal that was set."""

    error: str
    goal: str
    work: str = "–"
    """Method and source."""
    machine: str = "–"
    """And its time, where they are known."""
    note: str = ""
    """What is otherwise than here."""


VRBA, DSGNAR = "vRBA", "DSGNAR"
"""Sources are in docs/zoo.md."""
ROWS: dict[str, Published] = {
    "allen_cahn": Published(
        "1.9e-6", "1e-4", VRBA, "GPU", "lowest on the way, of seven weightings: 3.1e-6 at the end, 9.5e-6 unweighted"
    ),
    "kdv": Published("8.2e-11", "1e-4", DSGNAR, "H100, 1,210 s", "four slabs, sine network 4 × 60"),
    "kuramoto_sivashinsky": Published("5.1e-7", "1e-1", DSGNAR, "H100, 5,227 s", "eight slabs, network 4 × 70"),
    "schroedinger": Published("2.0e-3", "1e-4", "Adam, L-BFGS (Raissi et al.)", note="network 5 × 100"),
    "gray_scott": Published("1.4e-2", "1e-1", "causal training in windows", note="PINNacle's best of eleven: 8.0e-2"),
    "kovasznay": Published("~1e-7", "1e-6", "Gauss-Newton (Jnini et al.)"),
    "taylor_green": Published("–", "1e-5"),
    "cavity": Published("1.1e-4", "1e-2", DSGNAR, "H100", "sine network 4 × 60; p up to its mean"),
    "helmholtz2d": Published("~1e-7", "1e-6", "natural gradient, Gauss-Newton", note="1e-5 to 1e-9 in the literature"),
    "poisson2d_multiscale": Published(
        "4.5e-14", "1e-4", DSGNAR, "H100", "another solution: four waves, from 2 to 8 periods, of equal size"
    ),
    "poisson_nd, 5 dimensions": Published("3e-16", "1e-5", DSGNAR, "H100", "1,024 Gabor functions"),
    "poisson_nd, 10 dimensions": Published("6e-12", "1e-4", DSGNAR, "H100", "another solution: the products"),
    "poisson_nd, 10 dimensions, products": Published(
        "6e-12", "–", DSGNAR, "H100", "separable network; 1e-5 by natural gradient"
    ),
    "burgers, ν = 0.001": Published(
        "2.7e-7", "1e-4", VRBA, "RTX 3090", "the best of seven weightings; 1.8e-6 unweighted"
    ),
    "convection, β = 100": Published("–", "–"),
    "heat_inverse": Published("–", "ν within two standard errors"),
}


def row_of(run: Run) -> str:
    """The row of a run: its problem, with the coefficient that is not the default."""
    parameters = run.parameters
    if run.pde == "poisson_nd":
        kind = parameters.get("kind", "cosines")
        return f"poisson_nd, {parameters['dim']} dimensions" + (f", {kind}" if kind != "cosines" else "")
    if run.pde == "burgers":
        return f"burgers, ν = {parameters['nu']:g}"
    if run.pde == "convection":
        return f"convection, β = {parameters['beta']:g}"
    return run.pde


def best(runs: Sequence[Run]) -> list[Run]:
    """The completed runs of the setting with the most seeds, of equals of the one with the lowest median."""
    settings = by_settings(run for run in runs if run.status == "completed" and run.l2re is not None)
    return min(settings, key=lambda group: (-len(group), _median(group)), default=[])


def _median(runs: Sequence[Run]) -> float:
    return median(float(run.result["l2re"]) for run in runs)


def cell(runs: Sequence[Run]) -> tuple[float, str]:
    """Median of a method on a problem, and the cell's text."""
    found = best(runs)
    if not found:
        return float("inf"), "failed" if runs else "–"
    return _median(found), number(_median(found)) + (f" ({len(found)})" if len(found) > 1 else "")


def everything(rows: dict[str, list[Run]]) -> None:
    """Print the table of the methods that were tried on every problem that has runs, and that of the others."""
    methods = sorted({column(run) for runs in rows.values() for run in runs})
    cells = {
        title: {method: cell([run for run in runs if column(run) == method]) for method in methods}
        for title, runs in rows.items()
    }
    tried = [title for title, runs in rows.items() if runs]
    all_over = [method for method in methods if all(cells[title][method][1] != "–" for title in tried)]
    others = [method for method in methods if method not in all_over]
    _table(cells, all_over)
    print()
    _table({title: cells[title] for title in tried if any(cells[title][m][1] != "–" for m in others)}, others)


def _table(cells: Mapping[str, Mapping[str, tuple[float, str]]], methods: Sequence[str]) -> None:
    head("problem", *(f"`{method}`" for method in methods))
    for title, row in cells.items():
        lowest = min(value for value, _ in row.values())
        texts = [f"**{row[m][1]}**" if row[m][0] == lowest < float("inf") else row[m][1] for m in methods]
        print(f"| {title} | {' | '.join(texts)} |")


def leading(runs: Sequence[Run]) -> list[Run]:
    """The trials of the method with the lowest error among those with the most seeds."""
    methods = {column(run) for run in runs}
    groups = [found for method in sorted(methods) if (found := best([run for run in runs if column(run) == method]))]
    return min(groups, key=lambda group: (-len(group), _median(group)), default=[])


def _took(runs: Sequence[Run]) -> str:
    seconds = [round(run.result["seconds"]) for run in runs]
    return "–".join(map(str, sorted({min(seconds), max(seconds)})))


def trials(title: str, runs: Sequence[Run]) -> str:
    """A line of the second table."""
    found = leading(runs)
    if not found:
        return f"| {title} | no completed run |"
    errors = ", ".join(number(float(run.result["l2re"])) for run in found)
    return (
        f"| {title} | `{column(found[0])}` | {errors} | **{number(_median(found))}** | {ROWS[title].goal} |"
        f" {number(found[0].result.get('fresh_loss'))} | {found[0].result['parameters']:,} |"
        f" {found[0].steps:,} |"
    )


def beside(title: str, runs: Sequence[Run]) -> str:
    """A line of the third table; the time is the whole training's."""
    found, other = leading(runs), ROWS[title]
    ours = f"{number(_median(found))}, {_took(found)} s" if found else "–"
    return f"| {title} | {ours} | {other.error} | {other.work} | {other.machine} | {other.note} |"


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/zoo")
    try:
        found = distinct(find_runs(folder)[0])
    except BadInput as error:
        sys.exit(str(error))
    rows = {title: [run for run in found if row_of(run) == title] for title in ROWS}
    everything(rows)
    print()
    head("problem", "method", "seeds", "median", "to reach", "loss at fresh points", "parameters", "iterations")
    for title, runs in rows.items():
        print(trials(title, runs))
    print()
    head("problem", "here", "published", "by", "on", "what is otherwise there")
    for title, runs in rows.items():
        print(beside(title, runs))
    print()
    for run in rows["heat_inverse"]:
        for name, value in (run.result.get("estimates") or {}).items():
            print(f"heat_inverse, {column(run)}, seed {run.seed}: {name} {value}")


if __name__ == "__main__":
    main()
