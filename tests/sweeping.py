"""What tests of sweeps share: a callback that lets chosen jobs end badly, the command line in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conftest import FAST, spoken

TRAIN = Path(__file__).parents[1] / "train.py"
WATCHER = '''
import os, signal, time
from pathlib import Path
import pytorch_lightning as pl

class Watcher(pl.Callback):
    """Notes who trains what, in files that only grow, and lets some seeds come to a bad end."""

    def __init__(self, folder, killed=None, broken=None, terminated=None, slow=0.0):
        self.folder, self.slow = Path(folder), slow
        self.ends = {killed: signal.SIGKILL, terminated: signal.SIGTERM}
        self.broken = broken

    def note(self, name, text):
        with (self.folder / name).open("a") as file:
            file.write(text + "\\\\n")

    def on_train_start(self, trainer, method):
        self.note("started", f"{method.seed} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
        if method.seed == self.broken:
            raise ZeroDivisionError("a bug")
        if self.ends.get(method.seed):
            os.kill(os.getpid(), self.ends[method.seed])

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        time.sleep(self.slow)
        while (self.folder / "hold").exists():
            time.sleep(0.05)

    def on_train_end(self, trainer, method):
        if method.finished:
            self.note("finished", f"{method.seed}")
'''.replace("\\\\n", "\\n")
LAUNCHERS = {
    "basic": [],
    "local": ["hydra/launcher=local", "hydra.launcher.jobs=2"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=0", "+hydra.launcher.ray.init.num_cpus=2"],
    "slurm": ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.parameters.gpus_per_node=0"],
}
"""Words for each launcher that works on any machine; slurm's jobs go through submitit, without Slurm."""


def start(folder: Path, *words: str, **watcher: Any) -> subprocess.Popen[str]:
    """Start a sweep of `FAST` runs, watched; its output goes to files in the folder."""
    (folder / "watcher.py").write_text(WATCHER)
    watched = {"_target_": "watcher.Watcher", "folder": str(folder), **watcher}
    words = (*FAST, "-m", *(f"+callbacks.watcher.{key}={value}" for key, value in watched.items()), *words)
    environment = {**os.environ, "PYTHONPATH": str(folder), "RAY_AUTH_MODE": "disabled"}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, str(TRAIN), *words], cwd=folder, env=environment, stdout=out, stderr=err, text=True
        )


def sweep(folder: Path, *words: str, **watcher: Any) -> tuple[int, str, str]:
    """Run a sweep to its end: exit code, output, errors."""
    code = start(folder, *words, **watcher).wait(timeout=400)
    return code, (folder / "out").read_text(), spoken((folder / "err").read_text())


def noted(folder: Path, name: str) -> list[list[str]]:
    """The lines that the watcher has written, as words."""
    path = folder / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def until(condition: Any, seconds: float = 200) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def results(folder: Path) -> dict[str, bytes]:
    """result.json by the name of the run folder."""
    return {path.parent.name: path.read_bytes() for path in folder.glob("runs/**/result.json")}


def completed(folder: Path) -> dict[str, bytes]:
    """Those of completed runs."""
    return {name: text for name, text in results(folder).items() if json.loads(text)["status"] == "completed"}


def rows(out: str) -> list[Sequence[str]]:
    """The table at the end, its rows as words."""
    lines = out.split("\njob  status")[-1].splitlines()[1:]
    end = next(
        k for k, line in enumerate(lines) if re.fullmatch(r"\d+ (completed|failed|interrupted|not run)(, .*)?", line)
    )
    return [line.split(maxsplit=3) for line in lines[:end]]


def kill(process: subprocess.Popen[str]) -> None:
    """As `kill -9`: this process alone, not its jobs."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
