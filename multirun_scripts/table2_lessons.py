"""What Table 2's runs say of one method beside another: medians, and a rank-sum test over the trials of each problem.

    python multirun_scripts/table2_lessons.py results/table2

The test is Mann and Whitney's U, two-sided and exact, on the final L2RE of all completed trials; with five trials a
side its smallest p is 0.008. "Better" is said at p < 0.05 after Holm's correction over the rows of a comparison,
else "no difference shown". ``--at-equal-time`` compares the last errors measured before the shorter side's median
training ended, which for a learning rate that falls to zero is to the disadvantage of the one that is cut.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from scipy.stats import mannwhitneyu

from pinntk.common.errors import BadInput
from pinntk.report.reading import Run, distinct, find_runs
from pinntk.report.table import title_of

COMPARISONS = (
    ("pinn_ntk", "adam"),
    ("gdnd", "adam_lbfgs"),
    ("pcpinn direct", "pcpinn solved"),
    ("pcpinn applied", "pcpinn solved"),
    ("pcpinn_gdnd direct", "gdnd"),
    ("pcpinn_gdnd direct", "pcpinn direct"),
)
LEVEL = 0.05


def column(run: Run) -> str:
    """The method; for those of the preconditioned loss its form, and with slabs of time how many."""
    form = (run.result.get("method_figures") or {}).get("form")
    slabs = (run.config.get("method") or {}).get("slabs") or 1
    return (run.method if form is None else f"{run.method} {form}") + (f", {slabs} slabs" if slabs > 1 else "")


def error(run: Run, seconds: float | None) -> float | None:
    """The final error, or the last one measured within so many seconds of training."""
    if seconds is None:
        return run.l2re
    clock = dict(zip(*run.columns.get("seconds", ([], [])), strict=True))
    iterations, errors = run.columns.get("l2re", ([], []))
    known = [e for i, e in zip(iterations, errors, strict=True) if clock.get(i, seconds + 1.0) <= seconds]
    return known[-1] if known else None


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order of the given ones."""
    order = sorted(range(len(p)), key=lambda k: p[k])
    steps = ((len(p) - rank) * p[k] for rank, k in enumerate(order))
    raised = itertools.accumulate(steps, max)
    corrected = dict(zip(order, (min(1.0, value) for value in raised), strict=True))
    return [corrected[k] for k in range(len(p))]


def compare(runs: Sequence[Run], first: str, second: str, *, at_equal_time: bool) -> list[str]:
    """Lines of a Markdown table: problem, both sides' figures, p, the verdict; none where one is missing."""
    rows: list[tuple[str, list[float], list[float], float | None]] = []
    for title in dict.fromkeys(sorted(title_of(run) for run in runs)):
        here = [run for run in runs if title_of(run) == title and run.status == "completed"]
        sides = [[run for run in here if column(run) == name] for name in (first, second)]
        if not all(sides):
            continue
        limit = min(median(run.result["seconds"] for run in side) for side in sides) if at_equal_time else None
        ours, theirs = ([e for run in side if (e := error(run, limit)) is not None] for side in sides)
        if ours and theirs:
            rows.append((title, ours, theirs, limit))
    if not rows:
        return []
    p = holm([float(mannwhitneyu(a, b, alternative="two-sided", method="exact").pvalue) for _, a, b, _ in rows])
    return [line(*row, corrected, first, second) for row, corrected in zip(rows, p, strict=True)]


def line(title: str, a: list[float], b: list[float], limit: float | None, p: float, first: str, second: str) -> str:
    """One of these lines."""
    verdict = "no difference shown" if p >= LEVEL else f"{first if median(a) < median(b) else second} better"
    sides = [f"{median(side):.1e} ({min(side):.1e} – {max(side):.1e}, {len(side)})" for side in (a, b)]
    when = "end" if limit is None else f"{limit:.0f} s"
    return f"| {title} | {when} | {sides[0]} | {sides[1]} | {p:.3f} | {verdict} |"


def main() -> None:
    """Print a table for every comparison that has runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("results/table2"))
    parser.add_argument("--at-equal-time", action="store_true")
    options = parser.parse_args()
    try:
        runs = distinct(find_runs(options.runs)[0])
    except BadInput as problem:
        sys.exit(str(problem))
    for first, second in COMPARISONS:
        if lines := compare(runs, first, second, at_equal_time=options.at_equal_time):
            print(f"\n**{first}** against **{second}**: median L2RE (range, trials)\n")
            print(f"| problem | at | {first} | {second} | p | |\n|---|---|---|---|---|---|")
            print("\n".join(lines))


if __name__ == "__main__":
    main()
