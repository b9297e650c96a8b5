"""Three tables in Markdown of a folder's completed runs: settings of three seeds or more, each method's best, all runs.

python multirun_scripts/beyond_table.py results/beyond    # without a folder: runs/beyond
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from statistics import median

from run_folders import completed

from pinntk.report.reading import Run, distinct
from pinntk.runs.published import TABLE_2, PublishedRow

TO_REACH = {
    "convection": ("1e-4", "1e-6"),
    "wave, a = 4": ("5e-4", "5e-6"),
    "wave, a = 5": ("1e-3", "1e-5"),
    "reaction": ("1e-4", "1e-6"),
    "burgers": ("5e-5", "1e-7"),
    "heat2d": ("3e-2", "3e-3"),
}
"""Errors that were set as a goal, and as an aim, before any of these runs."""
SEEDS = 3


def number(value: float | None) -> str:
    """Two digits: "1.9e-5"."""
    return "–" if value is None else f"{value:.1e}".replace("e-0", "e-").replace("e+00", "")


def by_settings(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Runs that differ by their seed alone, by seed."""
    ordered = sorted(runs, key=lambda run: (run.column, run.settings_hash, run.seed))
    for _, group in itertools.groupby(ordered, key=lambda run: (run.column, run.settings_hash)):
        yield list(group)


def trials(row: PublishedRow, runs: list[Run]) -> Iterator[str]:
    """The settings of a problem with enough seeds, lowest median first."""
    groups = [group for group in by_settings(runs) if len(group) >= SEEDS]
    for group in sorted(groups, key=lambda group: median(run.result["l2re"] for run in group)):
        errors = [float(run.result["l2re"]) for run in group]
        seconds = [round(run.result["seconds"]) for run in group]
        discrete = group[0].result.get("method_figures", {}).get("discrete_l2re")
        yield (
            f"| {row.title} | `{group[0].column}` | {', '.join(map(number, errors))} | **{number(median(errors))}** |"
            f" {' | '.join(TO_REACH[row.title])} | {number(min(row.l2re.values()))} | {number(discrete)} |"
            f" {min(seconds)}–{max(seconds)} s | {group[0].settings_hash} |"
        )


def one_each(row: PublishedRow, runs: list[Run], methods: list[str]) -> str:
    """The lowest error of each method with seed 0, whatever the settings."""
    cells = []
    for method in methods:
        own = [run for run in runs if run.column == method and run.seed == 0]
        best = min(own, key=lambda run: float(run.result["l2re"]), default=None)
        cells.append("–" if best is None else f"{number(best.l2re)} ({best.result['seconds']:.0f} s)")
    return f"| {row.title} | {' | '.join(cells)} |"


def head(*names: str) -> None:
    """Print the first two lines of a table."""
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")


def main() -> None:
    """Print the tables."""
    _, found = completed("runs/beyond", "result.json", "beyond.sh")
    found = distinct(found)
    rows = [(row, [run for run in found if row.fits(run.pde, run.parameters)]) for row in TABLE_2]
    head(
        "problem",
        "method",
        "seeds",
        "median",
        "to reach",
        "aim",
        "published",
        "discrete solution",
        "training",
        "settings",
    )
    for row, runs in rows:
        for line in trials(row, runs):
            print(line)
    print()
    methods = sorted({run.column for run in found})
    head("problem", *(f"`{method}`" for method in methods))
    for row, runs in rows:
        print(one_each(row, runs, methods))
    print()
    head("problem", "method", "settings", "seed", "L2RE", "training", "iterations", "threads")
    for row, runs in rows:
        for run in itertools.chain.from_iterable(by_settings(runs)):
            print(
                f"| {row.title} | {run.column} | {run.settings_hash} | {run.seed} | {number(run.l2re)} |"
                f" {run.result['seconds']:.0f} s | {run.steps} | {run.result.get('threads', '–')} |"
            )


if __name__ == "__main__":
    main()
