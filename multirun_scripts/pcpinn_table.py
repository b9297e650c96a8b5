"""The forms of the preconditioned loss side by side, as a Markdown table: median and range over the seeds.

python multirun_scripts/pcpinn_table.py runs/pcpinn
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from run_folders import completed

from pinntk.report.reading import Run
from pinntk.report.table import title_of
from pinntk.runs.published import published_row

FORMS = {"direct": "direct", "applied": "applied", "solved": "fitted to the discrete solution"}


def number(value: float | None) -> str:
    """Two digits: "1.9e-5"."""
    return "–" if value is None else f"{value:.1e}".replace("e-0", "e-")


def figures(run: Run) -> dict[str, Any]:
    """What the method says of itself."""
    found: dict[str, Any] = run.result["method_figures"]
    return found


def key(run: Run) -> tuple[str, int, str]:
    """What runs of one line have in common."""
    return title_of(run), list(FORMS).index(figures(run)["form"]), run.settings_hash


def floors(runs: Iterable[Run]) -> dict[tuple[str, str], float]:
    """By problem and grid the error of the discrete solution, which the runs know that were fitted to it."""
    known = [run for run in runs if figures(run).get("discrete_l2re") is not None]
    return {(title_of(run), grid(run)): float(figures(run)["discrete_l2re"]) for run in known}


def grid(run: Run) -> str:
    """Levels and nodes at each."""
    return " × ".join(map(str, figures(run)["grid"]))


def line(runs: list[Run], floors: Mapping[tuple[str, str], float]) -> str:
    """A line of the table."""
    first, errors = runs[0], [float(run.result["l2re"]) for run in runs]
    row = published_row(first.pde, first.parameters)
    seconds = [round(run.result["seconds"]) for run in runs]
    cells = [
        title_of(first),
        FORMS[figures(first)["form"]],
        ", ".join(map(number, errors)),
        f"**{number(median(errors))}**",
        number(floors.get((title_of(first), grid(first)))),
        grid(first),
        f"{median(figures(run)['applications'] for run in runs):.3g}",
        str(first.steps),
        f"{min(seconds)}–{max(seconds)} s",
        number(row.l2re.get("pcpinn") if row else None),
        first.settings_hash,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    _, runs = completed("runs/pcpinn", "result.json", "pcpinn_forms.sh")
    known = floors(runs)
    head = "problem form L2RE median floor grid applications steps training published settings".split()
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for _, group in itertools.groupby(sorted(runs, key=lambda run: (*key(run), run.seed)), key=key):
        print(line(list(group), known))


if __name__ == "__main__":
    main()
