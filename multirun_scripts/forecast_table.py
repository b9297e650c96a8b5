"""For how long the kernel's forecast is within 10 %, from run folders, as a Markdown table.

    python multirun_scripts/forecast_table.py runs/forecast

The horizon is in units of ``1/lambda_max``, the reciprocal of the kernel's largest eigenvalue; a ``>`` says that the
forecast was still right at the end of the descent. Beside it the loss at the horizon relative to that at the start.
"""

from __future__ import annotations

from run_folders import completed

from pinntk.report.reading import Run


def row(run: Run) -> tuple[str, ...]:
    """Problem, width, the method before the forecast, its iterations, horizon, loss there, seed."""
    forecast = run.arrays("ntk_forecast.npz")
    iteration, horizon, end = int(forecast["iteration"]), float(forecast["horizon"]), float(forecast["time"][-1])
    return (
        run.pde,
        str(run.width),
        run.method if iteration else "none",
        str(iteration),
        f"{'> ' if horizon >= end else ''}{horizon:.3g}",
        f"{float(forecast['horizon_loss']):.2g}",
        str(run.seed),
    )


def main() -> None:
    """Print the table."""
    _, runs = completed("runs/forecast", "ntk_forecast.npz", "forecast.sh")
    rows = sorted({row(run) for run in runs}, key=lambda r: (r[0], int(r[1]), int(r[3]), r[2], int(r[6])))
    print("| problem | width | trained by | iterations | horizon (1/λ_max) | loss there | seed |")
    print("|---|---|---|---|---|---|---|")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
