"""Tables in Markdown of the runs of zoo.sh: every method on every problem, and the best method's trials.

    python multirun_scripts/zoo_table.py results/zoo    # without a folder: runs/zoo

A cell of the first is the median L2RE of a method's setting with the most seeds, in brackets how many where there are
several; "failed" where no run of the method completed, a dash where there is none. Bold: the row's lowest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from beyond_table import by_settings, head, number
from table2_lessons import column

from pinntk.common.errors import BadInput
from pinntk.report.reading import Run, distinct, find_runs

ROWS: dict[str, tuple[str, str]] = {
    "allen_cahn": ("1.9e-6", "1e-4"),
    "kdv": ("8.2e-11", "1e-4"),
    "kuramoto_sivashinsky": ("5.1e-7", "1e-1"),
    "schroedinger": ("2.0e-3", "1e-4"),
    "gray_scott": ("1.4e-2", "1e-1"),
    "kovasznay": ("~1e-7", "1e-6"),
    "taylor_green": ("–", "1e-5"),
    "cavity": ("1.1e-4", "1e-2"),
    "helmholtz2d": ("~1e-7", "1e-6"),
    "poisson2d_multiscale": ("4.5e-14", "1e-4"),
    "poisson_nd, 5 dimensions": ("3e-16", "1e-5"),
    "poisson_nd, 10 dimensions": ("6e-12", "1e-4"),
    "burgers, ν = 0.001": ("2.7e-7", "1e-4"),
    "convection, β = 100": ("–", "–"),
    "heat_inverse": ("–", "ν within two standard errors"),
}
"""Of every row the best published error of a network trained on the equation alone, and the goal."""


def row_of(run: Run) -> str:
    """The row of a run: its problem, with the coefficient that is not the default."""
    parameters = run.parameters
    if run.pde == "poisson_nd":
        return f"poisson_nd, {parameters['dim']} dimensions"
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
    """Print the table of all methods."""
    methods = sorted({column(run) for runs in rows.values() for run in runs})
    head("problem", *(f"`{method}`" for method in methods))
    for title, runs in rows.items():
        cells = [cell([run for run in runs if column(run) == method]) for method in methods]
        lowest = min(value for value, _ in cells)
        texts = [f"**{text}**" if value == lowest < float("inf") else text for value, text in cells]
        print(f"| {title} | {' | '.join(texts)} |")


def trials(title: str, runs: Sequence[Run]) -> str:
    """A line of the second table: the method with the lowest error among those with the most seeds."""
    methods = {column(run) for run in runs}
    groups = [found for method in sorted(methods) if (found := best([run for run in runs if column(run) == method]))]
    if not groups:
        return f"| {title} | no completed run |"
    found = min(groups, key=lambda group: (-len(group), _median(group)))
    errors = [float(run.result["l2re"]) for run in found]
    seconds = [round(run.result["seconds"]) for run in found]
    took = "–".join(map(str, sorted({min(seconds), max(seconds)})))
    published, goal = ROWS[title]
    return (
        f"| {title} | `{column(found[0])}` | {', '.join(map(number, errors))} | **{number(median(errors))}** | {goal} |"
        f" {published} | {number(found[0].result.get('fresh_loss'))} | {found[0].result['parameters']:,} |"
        f" {found[0].steps:,} | {took} s | {found[0].settings_hash} |"
    )


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
    head(
        "problem", "method", "seeds", "median", "to reach", "published", "loss at fresh points", "parameters",
        "iterations", "training", "settings",
    )  # fmt: skip
    for title, runs in rows.items():
        print(trials(title, runs))
    print()
    for run in rows["heat_inverse"]:
        for name, value in (run.result.get("estimates") or {}).items():
            print(f"heat_inverse, {column(run)}, seed {run.seed}: {name} {value}")


if __name__ == "__main__":
    main()
