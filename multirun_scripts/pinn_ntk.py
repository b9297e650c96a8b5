"""adam against pinn_ntk from run folders: the error along the training, and Algorithm 1's weights.

    python multirun_scripts/pinn_ntk.py runs/pinn_ntk

prints the errors as a Markdown table and writes pinn_ntk.png there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from run_folders import chosen, results

from pinntk.reading import columns


def label(result: dict[str, Any], folder: Path) -> str:
    """The method, how it balances where it does, and its fixed weights where there are any."""
    method = yaml.safe_load((folder / "config.yaml").read_text())["method"]
    weights = [f"{name} × {weight:g}" for name, weight in method["weights"].items() if weight != 1]
    return ", ".join([result["method"], *([method["balance"]] if "balance" in method else []), *weights])


def main() -> None:
    """Draw, and print the table."""
    root = chosen("runs/pinn_ntk")
    found = dict(results(root, "result.json"))
    if not found:
        sys.exit(f"no result.json in {root}; multirun_scripts/pinn_ntk.sh makes them")
    problems = sorted({result["pde"] for result in found.values()})
    figure = Figure(figsize=(10, 3.6 * len(problems)), layout="constrained")
    panels: Any = figure.subplots(len(problems), 2, squeeze=False)
    print("| problem | method | seed | L2RE | iterations | seconds |")
    print("|---|---|---|---|---|---|")
    for (left, right), pde in zip(panels, problems, strict=True):
        for folder, result in sorted(found.items(), key=lambda item: label(item[1], item[0])):
            if result["pde"] != pde:
                continue
            name, curves = label(result, folder), columns(folder / "metrics.csv")
            print(
                f"| {pde} | {name} | {result['seed']} | {result['l2re']:.3g} | {result['steps']}"
                f" | {result['seconds']:.0f} |"
            )
            left.plot(*curves["l2re"], label=name)
            for term in [key for key in curves if key.startswith("lambda_")]:
                iterations, values = curves[term]
                right.plot(iterations, np.array(values), label=f"{name}: {term.removeprefix('lambda_')}")
        left.set(title=pde, yscale="log", xlabel="iteration", ylabel="L2RE")
        right.set(yscale="log", xlabel="iteration", ylabel="λ (Algorithm 1)")
        left.legend(frameon=False, fontsize=8)
        right.legend(frameon=False, fontsize=7)
    figure.savefig(root / "pinn_ntk.png", dpi=130)


if __name__ == "__main__":
    main()
