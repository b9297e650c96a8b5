"""What a whole run of the command line takes besides its training: imports, start, end, memory.

Each run is a process of its own with an empty folder, as a user starts it; the first warms up and is not counted.
Seconds by the clock, and of the processor in all: on a machine with other work those say more. ``start`` is everything
between the imports and the training (configuration, checks, reference), ``end`` everything after it (last evaluation,
result, picture), ``exit`` what Python takes to leave.

    python benchmarks/frame.py [--repeats 5] [--target 6] [words of the command line]
"""

import argparse
import builtins
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORDS = ["pde=poisson1d", "method=adam", "budget=smoke", "threads=1"]
PHASES = ("imports", "start", "training", "end", "exit", "clock", "processor", "memory")


@contextmanager
def imports_timed(spent: list[float]) -> Iterator[None]:
    """Inside, ``spent`` gets the seconds of each import that is not part of another."""
    original: Callable[..., Any] = builtins.__import__
    inside = False

    def timed(*args: Any, **more: Any) -> Any:
        nonlocal inside
        if inside:
            return original(*args, **more)
        inside, begin = True, time.perf_counter()
        try:
            return original(*args, **more)
        finally:
            inside = False
            spent.append(time.perf_counter() - begin)

    builtins.__import__ = timed
    try:
        yield
    finally:
        builtins.__import__ = original


def child(words: list[str], path: Path) -> int:
    """One run, and when it came to what, in seconds of `time.time`."""
    spent: list[float] = []
    with imports_timed(spent):
        from pinntk.common.loading import load
        from pinntk.launch.cli import main

        load("pinntk.runs.components")
        load("pinntk.runs.run")
    run: Any = importlib.import_module("pinntk.runs.run")
    stamps: list[float] = []
    fit = run.fit

    def stamped(*args: Any) -> None:
        stamps.append(time.time())
        try:
            fit(*args)
        finally:
            stamps.append(time.time())

    run.fit = stamped
    code = main(words)
    path.write_text(json.dumps([sum(spent), *stamps, time.time()]))
    return code


def one(words: list[str]) -> dict[str, float]:
    """Seconds of a run's parts, and its largest resident memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stamps.json")
        command = [sys.executable, __file__, "--child", str(path), *words]
        started = time.time()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
        imports, trains, trained, done = json.loads(path.read_text())
    return {
        "imports": imports,
        "start": trains - started - imports,
        "training": trained - trains,
        "end": done - trained,
        "exit": ended - done,
        "clock": ended - started,
        "processor": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss / 1024,
    }


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[3:], Path(sys.argv[2]))
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("words", nargs="*", default=WORDS, help="of the command line")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--target", type=float, default=6.0, help="seconds by the clock")
    options = parser.parse_args()
    one(options.words)  # warms up
    runs = [one(options.words) for _ in range(options.repeats)]
    for name in PHASES:
        values = [run[name] for run in runs]
        unit = "MB" if name == "memory" else "s"
        shown = f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f}) {unit}"
        met = statistics.median(values) <= options.target
        verdict = f": target of {options.target:g} s {'met' if met else 'missed'}" if name == "clock" else ""
        print(f"{name:<10} {shown}{verdict}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
