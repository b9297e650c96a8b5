"""For how long the kernel's forecast is within 10 %, from run folders, as a Markdown table.

    python multirun_scripts/forecast_table.py runs/forecast

The horizon is in units of ``1/lambda_max``, the reciprocal of the kernel's largest eigenvalue; a ``>`` says that the
forecast was still right at the end of the descent. Beside it the loss at the horizon relative to that at the start.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from run_folders import Array, chosen, saved


def row(result: dict[str, Any], forecast: Mapping[str, Array]) -> tuple[str, ...]:
    """Problem, width, the method before the forecast, its iterations, horizon, loss there, seed."""
    iteration, horizon, end = int(forecast["iteration"]), float(forecast["horizon"]), float(forecast["time"][-1])
    return (
        result["pde"],
        str(result["width"]),
        result["method"] if iteration else "none",
        str(iteration),
        f"{'> ' if horizon >= end else ''}{horizon:.3g}",
        f"{float(forecast['horizon_loss']):.2g}",
        str(result["seed"]),
    )


def main() -> None:
    """Print the table."""
    folder = chosen("runs/forecast")
    rows = sorted(
        {row(*run) for run in saved(folder, "ntk_forecast.npz")},
        key=lambda r: (r[0], int(r[1]), int(r[3]), r[2], int(r[6])),
    )
    if not rows:
        sys.exit(f"no ntk_forecast.npz in {folder}; multirun_scripts/forecast.sh makes them")
    print("| problem | width | trained by | iterations | horizon (1/λ_max) | loss there | seed |")
    print("|---|---|---|---|---|---|---|")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
