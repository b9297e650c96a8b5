"""adam against pinn_ntk from run folders: the error along the training, and Algorithm 1's weights.

    python multirun_scripts/pinn_ntk.py runs/pinn_ntk

prints the errors as a Markdown table and writes pinn_ntk.png there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from run_folders import completed

from pinntk.report.reading import Run


def label(run: Run) -> str:
    """The method, how it balances where it does, and its fixed weights where there are any."""
    method = run.config["method"]
    weights = [f"{name} × {weight:g}" for name, weight in method["weights"].items() if weight != 1]
    return ", ".join([run.method, *([method["balance"]] if "balance" in method else []), *weights])


def main() -> None:
    """Draw, and print the table."""
    root, runs = completed("runs/pinn_ntk", "metrics.csv", "pinn_ntk.sh")
    problems = sorted({run.pde for run in runs})
    figure = Figure(figsize=(10, 3.6 * len(problems)), layout="constrained")
    panels: Any = figure.subplots(len(problems), 2, squeeze=False)
    print("| problem | method | seed | L2RE | iterations | seconds |")
    print("|---|---|---|---|---|---|")
    for (left, right), pde in zip(panels, problems, strict=True):
        for run in sorted((run for run in runs if run.pde == pde), key=label):
            name, seconds = label(run), run.result["seconds"]
            print(f"| {pde} | {name} | {run.seed} | {run.l2re:.3g} | {run.steps} | {seconds:.0f} |")
            left.plot(*run.columns["l2re"], label=name)
            for term in [key for key in run.columns if key.startswith("lambda_")]:
                iterations, values = run.columns[term]
                right.plot(iterations, np.array(values), label=f"{name}: {term.removeprefix('lambda_')}")
        left.set(title=pde, yscale="log", xlabel="iteration", ylabel="L2RE")
        right.set(yscale="log", xlabel="iteration", ylabel="λ (Algorithm 1)")
        left.legend(frameon=False, fontsize=8)
        right.legend(frameon=False, fontsize=7)
    figure.savefig(root / "pinn_ntk.png", dpi=130)


if __name__ == "__main__":
    main()
