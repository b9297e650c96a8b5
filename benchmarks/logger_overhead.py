"""What the loggers cost: the same short run in fresh processes with each of them, in turn.

Printed is the median of the differences to ``logger=csv`` of the same round, in seconds of the clock; W&B is kept
offline and without an account.

    python benchmarks/logger_overhead.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
RUN = ["pde=poisson1d", "method=adam", "budget=smoke", "threads=1"]
LOGGERS = ("csv", "wandb", "tensorboard", "[wandb,tensorboard]")


def seconds(logger: str) -> float:
    """Of one run in an empty folder, from the start of its process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, TRAIN, *RUN, f"logger={logger}"],
            cwd=folder,
            env={**os.environ, "WANDB_MODE": "offline"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - started


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = [{logger: seconds(logger) for logger in LOGGERS} for _ in range(parser.parse_args().rounds)]
    print("| logger | run | more than csv, median (least to most) |")
    print("|---|---|---|")
    for logger in LOGGERS:
        more = sorted(of_round[logger] - of_round["csv"] for of_round in rounds)
        run = statistics.median(of_round[logger] for of_round in rounds)
        print(f"| {logger} | {run:.1f} s | {statistics.median(more):.1f} ({more[0]:.1f} to {more[-1]:.1f}) s |")


if __name__ == "__main__":
    main()
