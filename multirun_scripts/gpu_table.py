"""Runs on a CPU beside the same runs on a GPU, as a Markdown table.

python multirun_scripts/gpu_table.py runs/gpu_check    # as gpu_check.sh leaves it: cpu/ and gpu/ in it
"""

from __future__ import annotations

import math

from run_folders import completed

from pinntk.report.reading import Run


def key(run: Run) -> tuple[str, str, str, int, int]:
    """What a run on either processor has in common."""
    return run.pde, run.method, run.budget, run.width, run.seed


def difference(one: float, other: float) -> float:
    """Of two losses, relative to the first."""
    return abs(one - other) / abs(one) if one else math.nan


def main() -> None:
    """Print the table."""
    _, runs = completed("runs/gpu_check", "result.json", "gpu_check.sh")
    on_cpu = {key(run): run for run in runs if run.result["device"] == "cpu"}
    on_gpu = {key(run): run for run in runs if run.result["device"] != "cpu"}
    print(f"On {', '.join(sorted({run.result['device'] for run in on_gpu.values()}))}.\n")
    print("| problem | method | steps | loss on the CPU | on the GPU | relative difference | seconds, CPU | GPU |")
    print("|---|---|---|---|---|---|---|---|")
    for name in sorted(on_cpu.keys() & on_gpu.keys()):
        cpu, gpu = on_cpu[name], on_gpu[name]
        losses = [float(run.result["loss"]) for run in (cpu, gpu)]
        print(
            f"| {cpu.pde} | {cpu.column} | {cpu.steps} | {losses[0]:.6e} | {losses[1]:.6e} |"
            f" {difference(*losses):.1e} | {cpu.result['seconds']:.1f} | {gpu.result['seconds']:.1f} |"
        )


if __name__ == "__main__":
    main()
