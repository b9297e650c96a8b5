"""Fixtures that run the command line, in this process or in a child that may be killed."""

from __future__ import annotations

import csv
import faulthandler
import json
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pinntk.launch.cli import main
from pinntk.methods import Method
from pinntk.runs.trained import load

pytest.register_assert_rewrite("jacobians", "made", "training")  # a failed assert of theirs shows its values, too

FAST = "pde=poisson1d method=adam budget=smoke threads=1 method.steps=40 method.log_every=10 width=10".split()
"""A run of well under a second."""


def slow_unless(quick: bool, *values: Any) -> Any:
    """A case of a parametrised test, marked slow or not."""
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


class NamedAtOnce:
    """Says which test has failed when it has, not when all have ended: what comes later may not end."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            why = str(report.longreprtext).strip().splitlines()[-1:]
            self._reporter.write_line(f"\nfailed after {report.duration:.0f} s: {report.nodeid}: {''.join(why)[:300]}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # the workers have none
        config.pluginmanager.register(NamedAtOnce(reporter))


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def arrays_of(path: Path) -> dict[str, Any]:
    """What an .npz file holds; the file is closed, which the garbage collector would else do in some later test."""
    with np.load(path) as saved:
        return dict(saved)


class Cli:
    """Runs the command line in an empty folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capture = capture

    def __call__(self, *words: str) -> Ended:
        self._capture.readouterr()
        code = main(words)
        out, err = self._capture.readouterr()
        return Ended(code, out, err)

    def run_folders(self) -> list[Path]:
        """The run folders made so far."""
        return sorted(path.parent for path in self.folder.glob("runs/*/*/*/*/*/*/config.yaml"))

    def run_folder(self) -> Path:
        """The only one."""
        (folder,) = self.run_folders()
        return folder


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """SIGINT as in a shell's foreground: a pytest in the background has it ignored, and so would its children."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What is left on the root logger would tell of later tests, on a stream that is closed by then."""
    root = logging.getLogger()
    before = [*root.handlers], root.level
    yield
    assert (root.handlers, root.level) == before


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long does not say so, for that depends on what else the machine does."""
    monkeypatch.setattr("pinntk.common.doing.say", lambda line: None)


def spoken(text: str) -> str:
    """Of what a process said, all but that something takes long, which depends on what else the machine does."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not re.search(r"\(\d+ s so far\)$|: done, [\d.]+ s$", line))


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path, capsys)


SECONDS = 250.0
"""That a child may take: less than a test (``timeout`` in pyproject.toml), so that it is the child that ends."""


class Child:
    """The command line in a forked child, which has everything imported already.

    One that takes longer than it may ends with code 1, and with what its threads were at as its last words. It trains
    on one thread: OpenMP would wait for ever in it for threads that the parent may have used.

    Args:
        folder: where it runs.
        words: the command line.
        arrange: called in the child first; it may patch what it likes.
        body: runs the words.
        output: where its output goes, without an ending: ``<output>.out``, ``<output>.err``; relative to the folder.
        seconds: that it may take.
    """

    def __init__(
        self,
        folder: Path,
        words: list[str],
        arrange: Callable[[], object] = lambda: None,
        body: Callable[[list[str]], int] = main,
        output: str | Path = "child",
        seconds: float = SECONDS,
    ) -> None:
        self.outputs = [folder / f"{output}.{end}" for end in ("out", "err")]
        for path in self.outputs:
            path.touch()  # there even if it is killed before it opens them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle threads of libraries
            self.pid = os.fork()
        if self.pid == 0:
            faulthandler.dump_traceback_later(
                seconds, exit=True, file=os.open(self.outputs[1], os.O_APPEND | os.O_WRONLY)
            )
            self._work(folder, words, arrange, body)

    def _work(
        self, folder: Path, words: list[str], arrange: Callable[[], object], body: Callable[[list[str]], int]
    ) -> None:
        code = 99
        try:
            os.chdir(folder)
            for stream, path in enumerate(self.outputs, start=1):
                os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            arrange()
            code = body(words)
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:  # nothing may bring the child back into pytest
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> Ended:
        """Exit code (negative: number of the signal that killed it) and output."""
        status = os.waitpid(self.pid, 0)[1]
        out, err = (path.read_text() for path in self.outputs)
        return Ended(os.waitstatus_to_exitcode(status), out, err)


def in_child(folder: Path, words: list[str], arrange: Callable[[], object] = lambda: None) -> Ended:
    """Run the command line in a forked child to its end: exit code and output; arguments as of `Child`."""
    return Child(folder, words, arrange).wait()


def result_of(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "result.json").read_text())
    assert isinstance(content, dict)
    return content


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_network(one: Method, other: Method) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


MAY_DIFFER = {"seconds", "seconds_per_phase", "wall_seconds", "method_figures", "git"}


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit, but for the time that it took and the moment at which it was made."""
    assert_same_network(load(one).method, load(other).method)
    results = [{k: v for k, v in result_of(folder).items() if k not in MAY_DIFFER} for folder in (one, other)]
    assert results[0] == results[1]
    logs = [[{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder)] for folder in (one, other)]
    assert logs[0] == logs[1]
    first, second = arrays_of(one / "solution.npz"), arrays_of(other / "solution.npz")
    np.testing.assert_array_equal(first["prediction"], second["prediction"])
