"""Seconds that `pinntk.report` and `pinntk.status` take over a thousand run folders, each in a process of its own.

One tiny run is trained; the others are copies of its folder under other names, with other numbers: six problems, five
methods, settings of which each has ten seeds, one in twenty not completed. Seconds of the clock, and of the processor,
which say more beside other work.

    python benchmarks/thousand.py [--runs 1000] [--rows 200] [--profile]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

WORDS = "pde=poisson1d method=adam budget=smoke threads=1 method.steps=40 method.log_every=10 width=10".split()
PROBLEMS = ("burgers", "convection", "heat2d", "poisson1d", "reaction", "wave")
METHODS = ("adam", "adam_lbfgs", "gdnd", "pcpinn", "pinn_ntk")
SEEDS = 10
TARGETS = {"report": 60.0, "status": 5.0}
"""Seconds of the clock."""


def template(folder: Path) -> Path:
    """A run folder, of a run that is trained here."""
    subprocess.run([sys.executable, "-m", "pinntk", *WORDS], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (result,) = folder.glob("runs/**/result.json")
    return result.parent


def copies(source: Path, root: Path, count: int, rows: int) -> None:
    """So many run folders; their metrics.csv has so many rows."""
    rng = random.Random(0)
    result: dict[str, Any] = json.loads((source / "result.json").read_text())
    config: dict[str, Any] = yaml.safe_load((source / "config.yaml").read_text())
    files = {
        path.relative_to(source): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and path.name not in ("result.json", "config.yaml", "metrics.csv")
    }
    for k in range(count):
        setting, seed = divmod(k, SEEDS)
        pde, method = PROBLEMS[setting % len(PROBLEMS)], METHODS[setting // len(PROBLEMS) % len(METHODS)]
        status, name = "failed" if k % 20 == 7 else "completed", f"{setting:012x}"
        folder = root / pde / method / "w10" / "smoke" / name / f"seed{seed}"
        error = 10 ** rng.uniform(-5, 0)
        changed = {"pde": pde, "method": method, "seed": seed, "settings_hash": name, "status": status, "l2re": error}
        for place, content in files.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(content)
        (folder / "result.json").write_text(json.dumps({**result, **changed}, indent=2))
        other = {**config, "seed": seed, "points": {**config["points"], "interior": 100 + setting}}
        (folder / "config.yaml").write_text(yaml.safe_dump(other, sort_keys=False))
        lines = [f"{10 * i},{rng.random()},{error * rows / (i + 1)},{rng.random()},{0.01 * i}" for i in range(rows)]
        (folder / "metrics.csv").write_text("\n".join(["iteration,loss,l2re,residual,seconds", *lines, ""]))


def seconds(module: str, words: list[str], folder: Path, profile: Path | None) -> tuple[float, float]:
    """Of the clock and of the processor, for one command in a process of its own."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    recorded = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    command = [sys.executable, *recorded, "-m", module, *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Make the folders, time both commands, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200, help="of each metrics.csv")
    parser.add_argument("--profile", action="store_true", help="leave report.prof and status.prof here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "one").mkdir()
        copies(template(folder / "one"), folder / "runs", options.runs, options.rows)
        for name, target in TARGETS.items():
            profile = Path(os.getcwd(), f"{name}.prof") if options.profile else None
            clock, processor = seconds(f"pinntk.{name}", ["runs"], folder, profile)
            print(
                f"{name}: {options.runs} runs: {clock:.1f} s, {processor:.1f} s of the processor; target {target:g} s"
            )


if __name__ == "__main__":
    main()
