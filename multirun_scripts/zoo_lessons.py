"""Whether kernel, Hessian or condition numbers predict how well each method does: rank correlations over problems.

    python multirun_scripts/zoo_lessons.py runs/zoo --spectra results/zoo/spectra [--csv all.csv] [--png all.png]

For every predictor of `zoo_spectra.py`, every method and two targets Spearman's rho over the problems that have both:
``error``, the method's median L2RE on the problem, and ``rank``, its place among the methods there: 1 is the lowest
error, and those without a completed run share the last place. p is two-sided: exact, over all orders, up to `EXACT`
problems, by Student's t above that; beside it p after Holm's correction over all tests that are made. How many of the
tests stay below 0.05 is said first, be it none.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata, spearmanr
from table2_lessons import LEVEL, column, holm

from pinntk.common.arrays import Array
from pinntk.common.errors import BadInput
from pinntk.common.files import write_atomically
from pinntk.report.pictures import png
from pinntk.report.reading import Run, distinct, find_runs
from pinntk.report.table import title_of

EXACT = 8
FEWEST = 4
"""Problems from which on a correlation is computed: of three even a perfect one has p = 1/3."""
Errors = dict[str, dict[str, float | None]]
"""By problem and method; None: it has no completed run there."""


@dataclass(frozen=True)
class Correlation:
    """One test."""

    target: str
    """"error" or "rank"."""
    method: str
    predictor: str
    problems: int
    rho: float
    p: float
    corrected: float = 1.0


def errors_of(runs: Sequence[Run]) -> Errors:
    """The median error of the completed trials of the setting with the most of them, the lowest median of equals."""
    trials: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        found = trials[title_of(run), column(run)]
        if run.l2re is not None:
            found[run.settings_hash].append(run.l2re)
    errors: Errors = defaultdict(dict)
    for (problem, method), settings in trials.items():
        best = min(settings.values(), key=lambda each: (-len(each), median(each)), default=None)
        errors[problem][method] = None if best is None else median(best)
    return errors


def ranks_of(errors: Errors) -> dict[str, dict[str, float]]:
    """By problem the place of each method that was tried there; equal errors share theirs."""
    found = {}
    for problem, by_method in errors.items():
        values = [np.inf if error is None else error for error in by_method.values()]
        found[problem] = dict(zip(by_method, rankdata(values).tolist(), strict=True))
    return found


@cache
def _orders(n: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(n))))


def spearman(x: Array, y: Array) -> tuple[float, float]:
    """rho and its two-sided p; nan where one of them is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    rho, p = spearmanr(x, y)
    if len(x) <= EXACT:
        a, b = (rankdata(values) - (len(x) + 1) / 2 for values in (x, y))
        p = np.mean(np.abs(b[_orders(len(x))] @ a) >= abs(a @ b) - 1e-9)
    return float(rho), float(p)


def correlations(errors: Errors, predictors: Mapping[str, Mapping[str, float | None]]) -> list[Correlation]:
    """All tests, the smallest p first.

    Args:
        errors: of the methods.
        predictors: by problem and name; None where the problem has none.
    """
    ranks, tests = ranks_of(errors), []
    methods = sorted({method for by_method in errors.values() for method in by_method})
    names = list(dict.fromkeys(name for one in predictors.values() for name in one))
    for target, method, name in itertools.product(("error", "rank"), methods, names):
        of_target: Mapping[str, Mapping[str, float | None]] = errors if target == "error" else ranks
        pairs = [
            (float(x), float(y))
            for problem, one in predictors.items()
            if (x := one.get(name)) is not None and (y := of_target.get(problem, {}).get(method)) is not None
        ]
        if len(pairs) < FEWEST:
            continue
        rho, p = spearman(*np.array(pairs).T)
        if not np.isnan(rho):
            tests.append(Correlation(target, method, name, len(pairs), rho, p))
    raised = holm([test.p for test in tests])
    made = [Correlation(*list(vars(test).values())[:-1], corrected=p) for test, p in zip(tests, raised, strict=True)]
    return sorted(made, key=lambda test: (test.p, -abs(test.rho)))


def places(errors: Errors) -> list[str]:
    """Lines of a Markdown table: by method the problems it was tried on, completed, won, and its mean place."""
    ranks, lines = ranks_of(errors), []
    for method in sorted({method for by_method in errors.values() for method in by_method}):
        tried = [problem for problem in errors if method in errors[problem]]
        done = sum(errors[problem][method] is not None for problem in tried)
        own = [ranks[problem][method] for problem in tried]
        lines.append(f"| {method} | {len(tried)} | {done} | {sum(r == 1 for r in own)} | {np.mean(own):.2f} |")
    return lines


def picture(tests: Sequence[Correlation]) -> Figure:
    """rho of every test, predictors against methods, the errors' left and the places' right; ringed: p after Holm's
    correction below `LEVEL`."""
    names = sorted({test.predictor for test in tests})
    methods = sorted({test.method for test in tests})
    figure = Figure(figsize=(3 + 0.84 * len(methods), 1.7 + 0.26 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, target in zip(panels, ("error", "rank"), strict=True):
        values = np.full((len(names), len(methods)), np.nan)
        for test in tests:
            if test.target == target:
                at = names.index(test.predictor), methods.index(test.method)
                values[at] = test.rho
                sure = {"edgecolor": "k", "pad": 1.5, "facecolor": "none"} if test.corrected < LEVEL else None
                axes.text(*at[::-1], f"{test.rho:+.2f}", ha="center", va="center", fontsize=7, bbox=sure)
        image = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto", alpha=0.7)
        axes.set_xticks(range(len(methods)), methods, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_title({"error": "with the error", "rank": "with the place among the methods"}[target], fontsize=10)
    figure.colorbar(image, ax=panels, label="Spearman's rho over the problems")
    return figure


def read_records(folder: Path) -> list[dict[str, Any]]:
    """What `zoo_spectra.py` wrote; BadInput where there is nothing."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not records:
        raise BadInput(f"{folder}: has no .json file; allowed: a folder that multirun_scripts/zoo_spectra.py made")
    return records


def main() -> None:
    """Print the tables, and write all tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("results/zoo"))
    parser.add_argument("--spectra", type=Path, default=Path("results/zoo/spectra"))
    parser.add_argument("--csv", type=Path, help="where all tests are written")
    parser.add_argument("--png", type=Path, help="where their picture is drawn")
    parser.add_argument("--rows", type=int, default=20, help="of the table that is printed (default: 20)")
    options = parser.parse_args()
    try:
        errors = errors_of(distinct(find_runs(options.runs)[0]))
        predictors = {record["problem"]: record["predictors"] for record in read_records(options.spectra)}
    except BadInput as error:
        sys.exit(str(error))
    print("| method | problems | completed | lowest error | mean place |\n|---|---|---|---|---|")
    print("\n".join(places(errors)))
    tests = correlations(errors, predictors)
    below = sum(test.corrected < LEVEL for test in tests)
    both = len(errors.keys() & predictors.keys())
    print(
        f"\n{both} problems have both; {len(tests)} tests, of which {below} stay below {LEVEL} after Holm's correction"
    )
    if not below:
        print("nothing measured here is shown to predict anything")
    print("\n| target | method | predictor | problems | rho | p | p, Holm |\n|---|---|---|---|---|---|---|")
    for t in tests[: options.rows]:
        print(
            f"| {t.target} | {t.method} | {t.predictor} | {t.problems} | {t.rho:+.2f} | {t.p:.4f} | {t.corrected:.3f} |"
        )
    if options.csv:
        text = io.StringIO()
        rows = csv.DictWriter(text, list(Correlation.__dataclass_fields__), lineterminator="\n")
        rows.writeheader()
        rows.writerows(vars(test) for test in tests)
        write_atomically(options.csv, partial(Path.write_bytes, data=text.getvalue().encode()))
    if options.png:
        write_atomically(options.png, partial(Path.write_bytes, data=png(picture(tests))))


if __name__ == "__main__":
    main()
