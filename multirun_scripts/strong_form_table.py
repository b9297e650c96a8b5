"""Tables in Markdown of the runs of strong_form.sh: the strong form alone, by settings, and all runs.

python multirun_scripts/strong_form_table.py results/strong_form    # without a folder: runs/strong_form

Beside them ``curves.png`` in that folder, the error of every run of a row's first settings against seconds, with the
numbers in ``curves.csv``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from statistics import median

from beyond_table import by_settings, head, number
from matplotlib.figure import Figure
from run_folders import completed, write_figure

from pinntk.report.reading import Run, distinct

ROWS: dict[str, tuple[Callable[[Run], bool], str, str, str]] = {
    "convection": (lambda run: run.pde == "convection", "5.4e-6 (β = 50, A100)", "2e-6", "1e-7"),
    "wave, a = 4": (lambda run: run.pde == "wave" and run.parameters["a"] == 4, "1.2e-15 (H100)", "1e-6", "1e-9"),
    "wave, a = 5": (lambda run: run.pde == "wave" and run.parameters["a"] == 5, "1.3e-2", "1e-5", "1e-8"),
    "reaction": (lambda run: run.pde == "reaction", "2.9e-5", "2e-8", "1e-9"),
    "burgers": (lambda run: run.pde == "burgers", "4.9e-9 (RTX 3090)", "1e-7", "5e-9"),
    "heat2d": (lambda run: run.pde == "heat2d", "0.998", "2e-2", "3e-3"),
    "poisson1d": (lambda run: run.pde == "poisson1d", "–", "1e-10", "1e-13"),
}
"""Of every row its runs, the best published error of a network trained on the equation alone, the goal, the aim."""


def rank(runs: list[Run]) -> tuple[int, float]:
    """Settings with more seeds first, then those with the lower median."""
    return -len(runs), median(run.result["l2re"] for run in runs)


def along(run: Run) -> Iterator[tuple[float, float]]:
    """Seconds of training and the error behind them, where both were measured."""
    columns = run.columns
    at = dict(zip(*columns.get("seconds", ([], [])), strict=True))
    yield from ((at[n], error) for n, error in zip(*columns.get("l2re", ([], [])), strict=True) if n in at)


def curves(rows: dict[str, list[Run]]) -> Figure:
    """Error against seconds; a colour per row, a line per run."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for k, (title, runs) in enumerate(rows.items()):
        for number_, run in enumerate(runs):
            points = list(along(run))
            if points:
                look = {"color": f"C{k}", "lw": 1.2, "marker": "o" if len(points) == 1 else None}
                axes.plot(*zip(*points, strict=True), label=None if number_ else title, **look)
    axes.set(xlabel="seconds of training, one thread", ylabel="L2RE", yscale="log", ylim=(None, 3))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=2)
    return figure


def main() -> None:
    """Print the tables."""
    folder, found = completed("runs/strong_form", "result.json", "strong_form.sh")
    groups = [(title, list(by_settings(filter(row[0], distinct(found)))), row) for title, row in ROWS.items()]
    head("problem", "method", "hard", "seeds", "median", "to reach", "aim", "published", "training", "settings")
    for title, settings, (_, published, goal, aim) in groups:
        for runs in sorted(settings, key=rank):
            errors = [float(run.result["l2re"]) for run in runs]
            seconds = [round(run.result["seconds"]) for run in runs]
            hard = "yes" if runs[0].config["network"].get("hard") else "no"
            print(
                f"| {title} | `{runs[0].column}` | {hard} | {', '.join(map(number, errors))} |"
                f" **{number(median(errors))}** | {goal} | {aim} | {published} | {min(seconds)}–{max(seconds)} s |"
                f" {runs[0].settings_hash} |"
            )
    print()
    head("problem", "method", "hard", "settings", "seed", "L2RE", "loss", "training", "iterations", "threads")
    for title, settings, _ in groups:
        for run in itertools.chain.from_iterable(settings):
            hard = "yes" if run.config["network"].get("hard") else "no"
            print(
                f"| {title} | {run.column} | {hard} | {run.settings_hash} | {run.seed} | {number(run.l2re)} |"
                f" {number(run.result.get('loss'))} | {run.result['seconds']:.0f} s | {run.steps} |"
                f" {run.result.get('threads', '–')} |"
            )
    best = {title: min(settings, key=rank) for title, settings, _ in groups if settings}
    lines = [(title, run.seed, *pair) for title, runs in best.items() for run in runs for pair in along(run)]
    write_figure(folder / "curves", curves(best), ("problem", "seed", "seconds", "l2re"), lines)


if __name__ == "__main__":
    main()
