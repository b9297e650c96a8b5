"""How long Table 2 takes on this machine: what each cell's runs took where results/table2 was made, scaled.

    python multirun_scripts/table2_forecast.py            # what is left to do in runs/table2
    python multirun_scripts/table2_forecast.py --jobs 8   # with that many beside each other

The scale is the time of one short run of the table here (``pde=convection method=adam``, a tenth of its iterations)
over what as many iterations took there. That runs beside each other slow each other down is not in it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from pinntk.common.errors import BadInput
from pinntk.report.reading import Run, distinct, find_runs
from pinntk.report.table import title_of
from pinntk.runs.published import METHODS, TABLE_2

ROOT = Path(__file__).parents[1]
TRIALS, FRAME = 5, 8.0
"""Trials of `conf/experiment/table2.yaml`; seconds that a run takes beside its training."""
Cell = tuple[str, str]


def trials_of(folder: Path) -> dict[Cell, list[Run]]:
    """Completed runs of the paper's methods by problem and method; none where there is no such folder."""
    found: dict[Cell, list[Run]] = defaultdict(list)
    try:
        runs, _ = find_runs(folder)
    except BadInput:
        return found
    for run in distinct(runs):
        if run.status == "completed" and run.method in METHODS:
            found[title_of(run), run.method].append(run)
    return found


def scale(recorded: Sequence[Run]) -> float:
    """Time of an iteration of adam on convection here over that of the recorded runs."""
    steps = max(1, recorded[0].steps // 10)
    with tempfile.TemporaryDirectory() as folder:
        words = ["pde=convection", "method=adam", f"method.steps={steps}", "threads=1", "logger=none", "seed=100"]
        command = [sys.executable, str(ROOT / "train.py"), *words, f"runs_dir={folder}"]
        subprocess.run(command, check=True, capture_output=True)
        result = json.loads(next(Path(folder).rglob("result.json")).read_text())
    return float(result["seconds"]) / steps / median(run.result["seconds"] / run.steps for run in recorded)


def lines(recorded: Mapping[Cell, list[Run]], done: Mapping[Cell, list[Run]], factor: float, jobs: int) -> list[str]:
    """The forecast: by method the runs that are left and their minutes on one core, and all of it by so many jobs."""
    said, total, unknown = [], 0.0, 0
    for method in METHODS:
        left, seconds = 0, 0.0
        for row in TABLE_2:
            cell = row.title, method
            runs = max(0, TRIALS - len({run.seed for run in done.get(cell, [])} & set(range(TRIALS))))
            left += runs
            if recorded.get(cell):
                seconds += runs * (FRAME + factor * median(run.result["seconds"] for run in recorded[cell]))
            else:
                unknown += runs
        total += seconds
        said.append(f"{method:12} {left:3} runs  {seconds / 60:5.0f} min")
    said.append(
        f"all of them  {total / 60:5.0f} min on one core, about {math.ceil(total / 60 / jobs)} with {jobs} at a time"
    )
    return said + ([f"not in it: {unknown} runs of cells without a recorded time"] if unknown else [])


def main() -> None:
    """Print the forecast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=Path, default=ROOT / "results" / "table2")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "table2", help="what is completed already")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scale", type=float, help="instead of a short run here")
    options = parser.parse_args()
    recorded = trials_of(options.recorded)
    calibrating = recorded.get(("convection", "adam"), [])
    if options.scale is None and not calibrating:
        sys.exit(f"{options.recorded}: has no run of adam on convection; allowed: a folder that has, or --scale")
    factor = options.scale if options.scale is not None else scale(calibrating)
    print(f"this machine takes {factor:.2f} times as long as where {options.recorded} was made")
    print("\n".join(lines(recorded, trials_of(options.runs), factor, options.jobs)))


if __name__ == "__main__":
    main()
