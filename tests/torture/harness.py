"""What all rounds of torture share: how a trial is counted, how a run is judged, how a table is made of it."""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from conftest import Child, Ended, assert_same_run, result_of, spoken
from started import command

from pinntk.common.loading import load as load_module
from pinntk.report.status import main as status

load_module("pinntk.runs.run")  # once, for all children


@dataclass
class Tally:
    """One kind of mishap.

    Attributes:
        what: was done to the runs.
        expected: of them, and has been looked at in every trial.
        tried: trials.
        ended: how many came to which end, in a few words.
        lost: a line for each state, result or file that was there before and is not, or cannot be gone on from.
        wrong: a line for each end state that is not the undisturbed one's, each traceback, each wrong exit code.
    """

    what: str
    expected: str
    tried: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def count(self, end: str) -> None:
        """One more trial, with its end."""
        self.tried += 1
        self.ended[end] += 1

    def row(self) -> str:
        """A row of the table in Markdown."""
        ends = ", ".join(f"{number} {end}" for end, number in self.ended.most_common())
        return f"| {self.what} | {self.expected} | {self.tried}: {ends} | {len(self.lost)} | {len(self.wrong)} |"


Round = Callable[[int, random.Random, Path], Iterable[Tally]]
"""Does so many trials in an empty folder."""


LIMIT = [math.inf]
"""Seconds after which a round does not begin another trial."""


def trials(count: int) -> Iterator[int]:
    """Their numbers, as long as the time allows."""
    started = time.monotonic()
    for k in range(count):
        if time.monotonic() - started > LIMIT[0]:
            return
        yield k


def refused(ended: Ended) -> str | None:
    """What is wrong with how bad input ended; None where it was exit code 2 and one line."""
    lines = spoken(ended.err).splitlines()
    if ended.code != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
        return f"exit code {ended.code} with {len(lines)} lines: {' / '.join(lines[-2:])[:200]}"
    return None


def one_line(ended: Ended) -> str | None:
    """What is wrong with how a run that could not go on ended; None where it was exit code 1 or 2 and one line."""
    lines = spoken(ended.err).splitlines()
    if ended.code not in (1, 2) or len(lines) != 1 or "Traceback" in ended.out:
        return f"exit code {ended.code} with {len(lines)} lines: {' / '.join(lines[-2:])[:200]}"
    return None


class Undisturbed:
    """Runs that nothing has happened to, each made once.

    Args:
        folder: in which they are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, tuple[Path, float]] = {}

    def __call__(self, method: str, words: Sequence[str] | None = None) -> tuple[list[str], Path, float]:
        """The words of a run, its folder, and the seconds that it takes; ``words`` if not those of `command`."""
        chosen = list(words or command(method))
        if method not in self._made:
            place = self.folder / method
            place.mkdir(parents=True)
            started = time.monotonic()
            ended = Child(place, chosen).wait()
            assert ended.code == 0, f"{method}: {ended.err}"
            (result,) = place.glob("runs/**/result.json")
            self._made[method] = result.parent, time.monotonic() - started
        return chosen, *self._made[method]


def differs(whole: Path, folder: Path) -> str | None:
    """How a run differs from the undisturbed one, in a line; None: bit for bit in no way."""
    try:
        assert_same_run(whole, folder)
    except (AssertionError, OSError, ValueError, KeyError) as error:
        return (str(error) or repr(error)).strip().split("\n")[0][:200]
    return None


def place_of(whole: Path, folder: Path) -> Path:
    """Where the same run is below another folder."""
    return folder / whole.relative_to(whole.parents[6])


def broken_files(root: Path, output: str | Path = "status") -> list[str]:
    """A line for each file below a folder that is not whole, one where status cannot look at it; ``output`` as of
    `Child`."""
    found = []
    for path in root.glob("runs/**/result.json"):
        try:
            result_of(path.parent)
        except (AssertionError, ValueError) as error:
            found.append(f"{path}: {error}")
    for path in root.glob("runs/**/last.ckpt"):
        try:
            torch.load(path, weights_only=True)
        except Exception as error:  # a broken file can raise anything
            found.append(f"{path}: {error}")
    if any(root.glob("runs/**/config.yaml")):
        ended = Child(root, ["runs"], body=status, output=output).wait()
        if ended.code or "cannot be read" in ended.out:
            found.append(f"status: exit code {ended.code}: {(ended.err or ended.out).strip().splitlines()[-1]}")
    return found


def after(child: Child, seconds: float, act: Callable[[], object]) -> Ended:
    """Wait, do something, and give the end of the child."""
    time.sleep(seconds)
    act()
    return child.wait()


def signalled(child: Child, number: int) -> Callable[[], object]:
    """Send the child a signal; it has not been waited for, so its number is still its own."""
    return lambda: os.kill(child.pid, number)
