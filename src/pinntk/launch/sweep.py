"""A sweep's jobs: what each does in its process, the record that it leaves, and the table of how all ended."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pinntk.common.doing import doing
from pinntk.common.errors import BadInput, no_room
from pinntk.common.files import write_json
from pinntk.common.loading import load
from pinntk.runs.folder import SWEEP, RunFolder

STATUSES = ("completed", "failed", "interrupted", "not run")
HEAD = ("job", "status", "L2RE", "swept")
STOPPED = (130, 143)
"""Exit codes of what SIGINT and SIGTERM have stopped."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep, as it travels to the process that does it.

    Attributes:
        number: its place in the sweep.
        swept: the overrides in which it differs from the other jobs.
        config: the composed configuration as plain values.
        record: the JSON file that says what became of it.
        cwd: the folder that relative paths in the configuration start from.
        log: the file that takes its output; None: the terminal.
        words: all of its overrides.
    """

    number: int
    swept: str
    config: dict[str, Any]
    record: Path
    cwd: Path
    log: Path | None
    words: tuple[str, ...] = ()

    def __call__(self) -> int:
        """Do the run and record how it ended, whatever happens.

        Returns:
            The exit code: 0 completed, 1 failed, 2 bad input, 130 or 143 stopped by a signal.

        Raises:
            KeyboardInterrupt: SIGINT came where no training was to be stopped.
        """
        os.chdir(self.cwd)
        self.write("running")
        with _output_to(self.log) as terminal:
            print(f"\njob {self.number}: {self.swept}", flush=True)
            try:
                return self._run(terminal)
            except BadInput as error:
                for message in error.messages:
                    print(f"error: {message}", file=sys.stderr)
                return self.write("failed", code=2, reason=error.messages[0])
            except SystemExit as error:  # a signal that came before the first iteration
                return self.write("interrupted", code=int(error.code or 0))
            except KeyboardInterrupt:
                self.write("interrupted", code=130)
                raise
            except Exception as error:  # whatever it is, the other jobs have nothing to do with it
                if line := no_room(error):
                    print(f"error: {line}", file=sys.stderr)
                else:
                    traceback.print_exc()
                text = line or f"{type(error).__name__}: {error}".splitlines()[0]
                return self.write("failed", code=1, reason=text)

    def _run(self, terminal: TextIO) -> int:
        with doing("imports torch and Lightning"):  # which the process that starts the jobs may do without
            load("pinntk.runs.run")
        from pinntk.runs.run import run
        from pinntk.runs.settings import RunSettings

        code = run(self.config, wait=lambda text: print(f"job {self.number}: {text}", file=terminal, flush=True))
        path = RunSettings.read(self.config).folder()
        result = RunFolder(path).result() or {}
        status = "completed" if code == 0 else "interrupted" if code in STOPPED else "failed"
        reason = result.get("reason") if status == "failed" else None
        return self.write(status, code=code, reason=reason, l2re=result.get("l2re"), folder=str(path))

    def write(
        self,
        status: str,
        *,
        code: int = 1,
        reason: str | None = None,
        l2re: float | None = None,
        folder: str | None = None,
    ) -> int:
        """Record the job's state; ``running`` is what a process that dies leaves. Returns the code."""
        state = {"status": status, "code": code, "l2re": l2re, "reason": reason, "folder": folder}
        write_json(self.record, {"job": self.number, "swept": self.swept, "words": list(self.words), **state})
        return code

    def read(self) -> dict[str, Any]:
        """What `write` has recorded last."""
        content = json.loads(self.record.read_text())
        assert isinstance(content, dict)
        return content

    def checkpoint(self) -> Any:
        """For submitit, when Slurm's time limit is near: the same job in the queue again, where the run goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def cores_of(job: Job) -> int:
    """How many cores a run takes: the threads of all its processes."""
    cores: int = job.config["threads"] * job.config["trainer"]["devices"]
    return cores


@contextmanager
def _output_to(log: Path | None) -> Iterator[TextIO]:
    """Send what the process and its libraries print to a file; gives the terminal, for what the user should see."""
    if log is None:
        yield sys.stdout
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as file, os.fdopen(os.dup(1), "w") as terminal:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in enumerate(saved, start=1):
                os.dup2(old, number)
                os.close(old)


def differing(every: Sequence[Sequence[str]]) -> list[str]:
    """Of each list of overrides those that are not in all of them, as text; a single list whole."""
    counts = Counter(word for words in every for word in set(words))
    return [" ".join(w for w in words if counts[w] < len(every) or len(every) == 1) for words in every]


def of_sweep(loggers: Any, name: str) -> Any:
    """The specifications of a job's loggers, with the sweep's name where they ask for it; what else they may be is
    another's to check."""
    if isinstance(loggers, Mapping):
        return {key: of_sweep(value, name) for key, value in loggers.items()}
    return name if loggers == SWEEP else loggers


def records(folder: Path) -> list[dict[str, Any]]:
    """What the jobs of a sweep have recorded, in their order; a job that has not ended is interrupted."""
    found = [json.loads(path.read_text()) for path in folder.glob("job*.json")]
    for record in found:
        if record["status"] == "running":
            record["status"] = "interrupted"
    return sorted(found, key=lambda record: int(record["job"]))


def exit_code(found: Sequence[dict[str, Any]]) -> int:
    """0 where all jobs completed, 2 where only bad input kept them from it, else 1."""
    codes = {record["code"] for record in found if record["status"] != "completed"}
    return 0 if not codes else 2 if codes == {2} else 1


def ending(record: dict[str, Any]) -> list[str]:
    """Job, status, L2RE and what is swept, as texts below `HEAD`."""
    error = "–" if record["l2re"] is None else f"{record['l2re']:.2e}"
    return [str(record["job"]), record["status"], error, record["swept"]]


def table(found: Sequence[dict[str, Any]]) -> str:
    """How the jobs of a sweep ended, a line each, and what to do about those that did not complete."""
    rows = [list(HEAD), *(ending(record) for record in found)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = [texts[0]]
    for text, record in zip(texts[1:], found, strict=True):
        lines.append(f"{text}  ({record['reason']})" if record["reason"] else text)
    counts = Counter(record["status"] for record in found)
    lines.append(", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]))
    if set(counts) - {"completed"}:
        again = "the same command again goes on with what is not completed"
        lines.append(f"{again}; retry_failed=true also retries failed runs" if counts["failed"] else again)
    return "\n".join(lines)
