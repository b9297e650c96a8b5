"""What the runs in a folder are doing: ``python -m pinntk.status runs``, on a terminal until Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pinntk.common.errors import Arguments, refusing, show
from pinntk.report.reading import Run, find_runs
from pinntk.runs.folder import LOCK, PROGRESS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SECONDS_BETWEEN_LOOKS = 2.0
STATES = ("running", "failed", "interrupted", "finished")
"""In the order in which they are shown."""
HEAD = ("state", "problem", "method", "iteration", "L2RE", "loss", "fresh", "left", "trained", "seed", "setting")
"""What matters most first: a narrow terminal cuts the rest."""


@dataclass(frozen=True)
class Line:
    """A run as it is shown.

    Attributes:
        state: one of `STATES`.
        run: the folder.
        iteration, total: done and to do; None where unknown.
        l2re: the last that was measured.
        loss, fresh: the last losses, on the trained and on fresh points.
        known: whether there is a reference, without which none is measured.
        seconds: of training so far, known when a run has ended.
        left: seconds to go, of a run that is at work.
        reason: why it failed.
    """

    state: str
    run: Run
    iteration: int | None
    total: int | None
    l2re: float | None
    loss: float | None
    fresh: float | None
    known: bool
    seconds: float | None
    left: float | None
    reason: str | None

    def cells(self) -> list[str]:
        """The texts below `HEAD`."""
        run = self.run
        if self.iteration is None:
            iteration = "starting" if self.state == "running" else "–"
        else:
            iteration = f"{self.iteration:,}" + (f" / {self.total:,}" if self.total is not None else "")
        problem = " ".join([run.pde, *(f"{name}={_text(value)}" for name, value in run.parameters.items())])
        setting = f"w{run.width} {run.budget} {run.settings_hash}"
        error = "–" if self.known else "not known"
        if self.l2re is not None:
            error = f"{self.l2re:.2e}"
        losses = ["–" if loss is None else f"{loss:.2e}" for loss in (self.loss, self.fresh)]
        times = [duration(self.left), duration(self.seconds)]
        return [self.state, problem, run.method, iteration, error, *losses, *times, str(run.seed), setting]


def _text(value: Any) -> str:
    """A coefficient: numbers to four digits, words, switches and lists as one types them."""
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else show(value)


def duration(seconds: float | None) -> str:
    """Seconds as one reads them: 42 s, 3:05, 2:07:30."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"


def at_work(folder: Path) -> bool:
    """Whether a process holds the folder's lock; the system takes it from one that has ended, however it ended.

    A shared lock, given back at once: nothing is written, and several may look at the same time.
    """
    try:
        file = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    if fcntl is None:  # the lock itself, then, and for a moment
        os.close(file)
        try:
            with FileLock(folder / LOCK, timeout=0):
                return False
        except Timeout:
            return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(file)


def look(run: Run, now: float) -> Line:
    """What a run is doing.

    Args:
        run: its folder, as it was read.
        now: seconds since 1970.
    """
    result = run.result
    ended = run.status in ("completed", "failed")
    running = not ended and at_work(run.folder)
    progress = {} if ended else _progress(run.folder)
    seconds, reason = result.get("seconds"), result.get("reason")
    if ended or (not running and run.status == "interrupted"):
        state = {"completed": "finished"}.get(run.status, run.status)
        total = progress.get("total_iterations")
        error, loss, fresh = (result.get(key) for key in ("l2re", "loss", "fresh_loss"))
        known, steps = run.reference_known, result.get("steps")
        return Line(state, run, steps, total, error, loss, fresh, known, seconds, None, reason)
    iteration, total = progress.get("iteration"), progress.get("total_iterations")
    left = None
    if running and progress.get("seconds_left") is not None:
        left = max(0.0, progress["seconds_left"] - max(0.0, now - (progress.get("written") or now)))
    state, known = "running" if running else "interrupted", bool(progress.get("reference_known", True))
    error, loss, fresh = (progress.get(key) for key in ("l2re", "loss", "fresh_loss"))
    return Line(state, run, iteration, total, error, loss, fresh, known, seconds, left, None)


def _progress(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / PROGRESS).read_text())
    except (OSError, ValueError):  # the run has not got so far
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if value is None or isinstance(value, int | float)}


def table(root: Path, height: int | None = None) -> str:
    """All runs below a folder, those at work first.

    Args:
        root: where the run folders are.
        height: lines that there is room for; None: any number.

    Raises:
        BadInput: there is no such folder, or no run in it.
    """
    runs, problems = find_runs(root)
    lines = sorted((look(run, time.time()) for run in runs), key=lambda line: STATES.index(line.state))
    counts = ", ".join(f"{sum(line.state == state for line in lines)} {state}" for state in STATES)
    rows = [list(HEAD), *(line.cells() for line in lines)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    body = [text + (f"  {line.reason}" if line.reason else "") for text, line in zip(texts[1:], lines, strict=True)]
    room = len(body) if height is None else max(1, height - 3 - len(problems))
    if len(body) > room:
        body = [*body[: room - 1], f"and {len(body) - room + 1} more"]
    return "\n".join([f"{counts}: {root}", texts[0], *body, *problems])


def main(words: Sequence[str] | None = None) -> int:
    """Show the table, once or again and again; the exit code: 0, or 2 for bad input."""
    parser = Arguments("python -m pinntk.status", "What the runs in a folder are doing.")
    parser.add_argument("runs", type=Path, help="the folder of the runs, for example runs")
    parser.add_argument("--once", action="store_true", help="print once, also on a terminal")

    def body() -> int:
        options = parser.parse_args(words)
        if options.once or not sys.stdout.isatty():
            print(table(options.runs))
            return 0
        while True:
            columns, height = shutil.get_terminal_size()
            lines = [line[: columns - 1] for line in table(options.runs, height).splitlines()]
            # Home, each line with what is left of an older one erased, then everything below: no flicker.
            print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    try:
        return refusing(body)
    except KeyboardInterrupt:
        print()
        return 0
