"""What a logger adds to a whole run: the same command with metrics.csv alone and with the logger as well, in turn.

Each run is a process of its own, as a user starts it, so that imports, W&B's own process and the pictures that go along
are in it. W&B runs offline and without an account. Differences are taken pair by pair, who goes first changing, so that
what else the machine does hits both; on a busy machine the processor's seconds say more than the clock's.

    python benchmarks/logger_overhead.py [wandb tensorboard] [--repeats 3] [--words pde=convection budget=smoke]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
WORDS = ["pde=convection", "method=adam", "budget=smoke"]
TARGET = 5.0
"""Seconds that a logger may add to a run."""


def seconds(words: list[str], logger: str) -> tuple[float, float]:
    """Of the clock and of the processor (without W&B's own process), for one run in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAIN), *words, f"logger={logger}"]
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command, cwd=folder, env={**environment, "WANDB_MODE": "offline"}, check=True, capture_output=True
        )
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("loggers", nargs="*", default=["wandb", "tensorboard"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--words", nargs="+", default=WORDS, help="of the command line")
    options = parser.parse_args()

    seconds(options.words, "csv")  # warms up
    for logger in options.loggers:
        alone: list[tuple[float, float]] = []
        with_it: list[tuple[float, float]] = []
        for repeat in range(options.repeats):
            for name in ("csv", logger) if repeat % 2 else (logger, "csv"):
                (alone if name == "csv" else with_it).append(seconds(options.words, name))
        for i, clock in enumerate(("clock", "processor")):
            one, other = [s[i] for s in with_it], [s[i] for s in alone]
            more = [a - b for a, b in zip(one, other, strict=True)]
            met = "met" if statistics.median(more) < TARGET else "missed"
            print(f"{logger} by the {clock}: {spread(one)} s, csv alone {spread(other)} s")
            print(f"  added {spread(more)} s: target of less than {TARGET:g} {met}", flush=True)


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f})"


if __name__ == "__main__":
    main()
