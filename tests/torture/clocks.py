"""A clock that jumps by years, forwards and backwards, and files whose times are anything."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Child
from harness import Tally, Undisturbed, after, broken_files, differs, place_of, signalled, trials
from started import WORDS

JUMPS = (-2e9, -4e8, -3600.0, 0.0, 3600.0, 4e8)
"""Seconds; the first leads to before 1970."""


def clock_jumps(count: int, rng: random.Random, folder: Path) -> Iterator[Tally]:
    """`time.time` jumps at every second look; the run is killed, all its files get times by chance, and it goes on."""
    tally = Tally(
        "a clock that jumps by hours and decades while a run trains, is killed and goes on; files of any time",
        "as without: the end is bit for bit that of the undisturbed run",
    )
    undisturbed = Undisturbed(folder / "undisturbed")
    methods = list(WORDS)
    for k in trials(count):
        method, place = methods[k % len(methods)], folder / f"clock{k}"
        words, whole, seconds = undisturbed(method)
        place.mkdir()
        chance = random.Random(rng.random())

        def jumping(chance: random.Random = chance) -> None:
            now = time.time
            pytest.MonkeyPatch().setattr(time, "time", lambda: now() + chance.choice(JUMPS))

        child = Child(place, words, jumping)
        after(child, rng.uniform(0.3, 0.9) * seconds, signalled(child, signal.SIGKILL))
        for path in place.glob("runs/**/*"):
            moment = rng.choice((0.0, 1e9, 4e9))
            os.utime(path, (moment, moment))
        tally.lost += broken_files(place)
        ended = Child(place, words, jumping).wait()
        tally.count("went on")
        if ended.code:
            tally.lost.append(f"clock {k}, {method}: exit code {ended.code}: {ended.err.strip()[-200:]}")
        elif difference := differs(whole, place_of(whole, place)):
            tally.wrong.append(f"clock {k}, {method}: {difference}")
    yield tally
